package importer

import (
	"context"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// recordPatience bounds the last record of a run that was told to stop.
const recordPatience = 30 * time.Second

// load asks which rows are done.
func (e *engine) load(ctx context.Context) error {
	if e.cfg.DryRun {
		return nil
	}
	text, err := e.cfg.Server.RowsDone(ctx, e.cfg.File.Digest, e.cfg.Aggregate)
	if err != nil && problem.From(err).ExitStatus() == exitRefused {
		return e.cfg.File.Stopped(err)
	}
	if err != nil {
		return fmt.Errorf("ask which rows were imported before: %w", err)
	}
	if e.done, err = ParseRanges(text); err != nil {
		return fmt.Errorf("read which rows were imported before: %w", err)
	}
	e.recorded = e.done.Rows()
	e.summary.Skipped = e.recorded
	return nil
}

// record begins to record the rows done, if at least `least` are new and no record is under way.
func (e *engine) record(ctx context.Context, least uint64) {
	if e.cfg.DryRun || e.recording || e.done.Rows()-e.recorded < least {
		return
	}
	e.recording, e.proven, e.recorded = true, e.recorded, e.done.Rows()
	done := RowsDone{File: e.cfg.File.Digest, Aggregate: e.cfg.Aggregate, Ranges: e.done.String(), Rows: e.done.Rows()}
	go func() { e.records <- e.cfg.Server.RecordRows(ctx, done) }()
}

// endRecord takes the outcome. A record that failed is made again at the end, with what is done by then.
func (e *engine) endRecord(err error) {
	e.recording = false
	if err != nil {
		e.recorded = e.proven
		e.halt(0, fmt.Errorf("record which rows are imported: %w", err))
	}
}

// settleRecord waits for a record under way and makes the last one.
func (e *engine) settleRecord(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordPatience)
	defer cancel()
	if e.recording {
		e.endRecord(<-e.records)
	}
	e.record(ctx, 1)
	if e.recording {
		e.endRecord(<-e.records)
	}
}
