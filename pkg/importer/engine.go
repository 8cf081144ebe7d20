package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const reportAfter = 200 * time.Millisecond

// engine is one run. Everything in it belongs to the goroutine of run; the reader and the callbacks of the server reach it over channels.
type engine struct {
	cfg     Config
	mapper  *rowMapper
	began   time.Time
	summary Summary

	items   chan item                        // from the reader, in file order; closed at its end
	answers chan answer                      // from the server; has room for a whole window, so a callback never waits
	records chan error                       // outcome of the record under way
	done    *Ranges                          // rows stored
	waiting map[event.AggregateID][]*Command // an aggregate with a row under way, and its rows behind that one

	open, openBytes int    // rows read and not answered
	flying          int    // rows under way
	recorded        uint64 // rows in the newest record that succeeded or is under way
	proven          uint64 // rows in the newest record that succeeded, while another is under way
	recording       bool

	finished bool  // nothing more is read
	halted   bool  // nothing more is sent
	failure  error // why the run ends early; the first reason, or of two rows the earlier one
	failRow  uint64
}

// item is one row as the reader hands it over: a command, or why there is none.
type item struct {
	row     row
	command *Command
	problem *problem.Problem
	err     error // about the file as a whole
}

// answer is what the server said to a command.
type answer struct {
	command *Command
	answer  Answer
	err     error
}

func newEngine(cfg Config) *engine {
	e := &engine{
		cfg: cfg, began: time.Now(), done: &Ranges{}, waiting: map[event.AggregateID][]*Command{},
		mapper:  &rowMapper{mapping: cfg.Mapping, aggregate: cfg.Aggregate, digest: cfg.File.Digest, tokens: cfg.Tokens, dryRun: cfg.DryRun},
		summary: Summary{File: cfg.File.Digest, Aggregate: cfg.Aggregate, Total: cfg.File.Rows, Left: cfg.File.Rows, DryRun: cfg.DryRun},
		items:   make(chan item, 64), answers: make(chan answer, cfg.Window), records: make(chan error, 1),
	}
	return e
}

// run owns the reader and every callback of the server: it returns when all have ended.
func (e *engine) run(ctx context.Context) (Summary, error) {
	reading, stopReading := context.WithCancel(ctx)
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx)) // answers are waited for when ctx ends
	defer stopSending()
	go e.read(reading, e.done.clone())
	e.loop(ctx, sending, stopSending)
	stopReading()
	for range e.items { // until the reader has ended
	}
	e.settleRecord(ctx)
	e.summary.Unrecorded = e.done.Rows() - e.recorded
	if e.cfg.DryRun {
		e.summary.Unrecorded = 0
	}
	e.count()
	e.cfg.Report(e.summary)
	return e.summary, e.failure
}

func (e *engine) loop(ctx, sending context.Context, stopSending func()) {
	record, report := time.NewTicker(e.cfg.RecordAfter), time.NewTicker(reportAfter)
	defer record.Stop()
	defer report.Stop()
	stop := ctx.Done()
	var grace <-chan time.Time
	for e.flying > 0 || !e.halted && !e.finished {
		items := e.items
		if e.halted || e.finished || e.open >= e.cfg.Window || e.openBytes >= e.cfg.WindowBytes {
			items = nil
		}
		select {
		case i, more := <-items:
			e.finished = e.finished || !more
			if more {
				e.take(sending, i)
			}
		case a := <-e.answers:
			e.settle(sending, a)
			e.record(sending, e.cfg.RecordEvery)
		case err := <-e.records:
			e.endRecord(err)
		case <-record.C:
			e.record(sending, 1)
		case <-report.C:
			e.count()
			e.cfg.Report(e.summary)
		case <-stop:
			stop, grace = nil, time.After(e.cfg.Grace)
			e.halt(0, fmt.Errorf("import: %w", context.Cause(ctx)))
		case <-grace:
			stopSending()
		}
	}
}

// read maps rows until the file or ctx ends.
func (e *engine) read(ctx context.Context, skip *Ranges) {
	defer close(e.items)
	give := func(i item) bool {
		select {
		case e.items <- i:
			return true
		case <-ctx.Done():
			return false
		}
	}
	in, err := e.cfg.File.open()
	if err != nil {
		give(item{err: err})
		return
	}
	defer in.close()
	rows, err := newRowReader(in, e.cfg.File.Format, e.cfg.File.Comma)
	for err == nil {
		var r row
		if r, err = rows.next(); err == nil {
			i := item{row: r}
			if !skip.Contains(r.number) {
				i.command, i.problem = e.mapper.command(r)
			}
			if !give(i) {
				return
			}
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		give(item{err: e.cfg.File.wrap(err)})
	case in.digest() != e.cfg.File.Digest:
		give(item{err: problem.New(problem.Malformed, "%s was changed while it was imported", e.cfg.File.Path).
			WithHint("the rows of the file as it is now count as another import; look at what was stored first")})
	}
}

// take puts a row into the window.
func (e *engine) take(ctx context.Context, i item) {
	switch {
	case i.err != nil:
		e.finish(0, i.err)
	case i.problem != nil && i.problem.ExitStatus() == exitRefused:
		e.finish(i.row.number, stopped(where(i.row.number, i.row.line), i.problem))
	case i.problem != nil:
		e.reject(i.row.number, i.row.line, i.problem)
	case i.command == nil: // done by an earlier run
	default:
		c := i.command
		e.open, e.openBytes = e.open+1, e.openBytes+c.size()
		if queue, busy := e.waiting[c.Aggregate]; busy {
			e.waiting[c.Aggregate] = append(queue, c)
			return
		}
		e.waiting[c.Aggregate] = nil
		e.send(ctx, c)
	}
}

func (e *engine) send(ctx context.Context, c *Command) {
	e.flying++
	e.cfg.Server.Send(ctx, c, func(a Answer, err error) { e.answers <- answer{c, a, err} })
}

// settle takes an answer and sends the aggregate's next row.
func (e *engine) settle(ctx context.Context, a answer) {
	c := a.command
	e.flying, e.open, e.openBytes = e.flying-1, e.open-1, e.openBytes-c.size()
	switch {
	case a.err == nil && a.answer.Repeated:
		e.summary.Repeated++
		e.done.Add(c.Row)
	case a.err == nil:
		e.summary.Stored++
		e.done.Add(c.Row)
	case isRowsOwn(a.err):
		e.reject(c.Row, c.Line, problem.From(a.err))
	default:
		e.halt(c.Row, stopped(c.where(), a.err))
	}
	queue := e.waiting[c.Aggregate]
	if len(queue) == 0 || e.halted {
		delete(e.waiting, c.Aggregate)
		return
	}
	e.waiting[c.Aggregate] = queue[1:]
	e.send(ctx, queue[0])
}

func (e *engine) reject(row, line uint64, p *problem.Problem) {
	r := Reject{Line: line, Row: row, Code: p.Code, Reason: p.Detail, Hint: p.Hint}
	for _, one := range p.Problems {
		r.Checks = append(r.Checks, one.Detail)
	}
	e.summary.Rejected++
	if err := e.cfg.Rejected(r); err != nil {
		e.halt(row, fmt.Errorf("write down that %s is rejected: %w", where(row, line), err))
	}
}

// finish ends the reading; rows read before are still sent.
func (e *engine) finish(row uint64, why error) {
	e.finished = true
	e.fail(row, why)
}

// halt ends reading and sending; rows under way are still answered.
func (e *engine) halt(row uint64, why error) {
	e.halted = true
	e.fail(row, why)
}

// fail keeps the first reason, and of several rows that fail at the same time the one that stands first in the file.
func (e *engine) fail(row uint64, why error) {
	if e.failure == nil || row > 0 && e.failRow > 0 && row < e.failRow {
		e.failure, e.failRow = why, row
	}
}

func (e *engine) count() {
	s := &e.summary
	s.Left = s.Total - min(s.Total, s.Skipped+s.Stored+s.Repeated+s.Rejected)
	s.Seconds = time.Since(e.began).Seconds()
	if s.Seconds > 0 {
		s.PerSecond = float64(s.Stored) / s.Seconds
	}
}
