package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// errMismatch: the log does not hold what the index was built from; the index is dropped and rebuilt.
var errMismatch = errors.New("index does not fit its log")

// errSwapped: another index has taken the place of the one that was followed.
var errSwapped = errors.New("index was exchanged")

// follower keeps one index up to its log. It is one goroutine that watches, and one that reads.
type follower struct {
	p   *Projector
	x   *index
	dir string
	log zerolog.Logger

	impatient bool // waiting for schemas was in vain
}

// run follows until ctx ends or the log turns out to be of a newer format.
func (f *follower) run(ctx context.Context) {
	for {
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, errSwapped):
			continue
		case errors.Is(err, event.ErrNewerFormat):
			f.log.Error().Err(err).Msg("reader stopped: the log has a newer format than this program knows")
			f.x.progress.failed(stateStopped, err)
			f.p.Notify()
			return
		case f.lost(err):
			f.log.Warn().Err(err).Msg("index dropped, it is rebuilt from the log")
			f.p.metrics.rebuilt(f.x.name)
			if err = f.x.drop(f.dir); err == nil {
				continue
			}
		}
		f.log.Warn().Err(err).Msg("log is not followed now, tried again with the next tick")
		f.x.progress.failed(stateRetrying, err)
		select {
		case <-ctx.Done():
			return
		case <-f.x.woken:
		}
	}
}

// lost reports whether the index must be dropped.
func (f *follower) lost(err error) bool {
	return errors.Is(err, errMismatch) || errors.Is(err, errContent) || errors.Is(err, indexstore.ErrDoubted)
}

// once opens the index, holds its position against the log, and follows the log until an error.
func (f *follower) once(ctx context.Context) error {
	f.impatient = false
	source, err := f.p.config.Store.Open(ctx, f.x.name)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	f.x.setSource(source)
	if f.x.anew.TryLock() { // else one is being built there, or answers from there until it has its name
		err := indexstore.Remove(f.dir + besideSuffix)
		f.x.anew.Unlock()
		if err != nil {
			return fmt.Errorf("remove what a rebuild left: %w", err)
		}
	}
	at, err := f.x.open(f.store(f.dir))
	if err != nil {
		return err
	}
	last, err := f.fits(ctx, source, at)
	if err != nil {
		return err
	}
	if f.x.name == event.Reserved {
		if err := f.x.readSchemas(f.p.schemas); err != nil {
			return err
		}
		f.p.rights.anew()
	}
	began := f.p.config.Now()
	f.log.Info().Uint64("sequence", at.chain.Sequence).Uint64("last", last).Msg("log is followed")
	f.x.progress.begin(at, last)
	f.p.Notify()
	err = f.follow(ctx, source)
	f.log.Debug().Dur("after", f.p.config.Now().Sub(began)).Msg("following ended")
	return err
}

// store says how the index in a folder is opened.
func (f *follower) store(dir string) indexstore.Config {
	c := &f.p.config
	return indexstore.Config{Dir: dir, Key: c.Key, Identity: identity(c.Site, f.x.name), Lookups: true, LookedUp: lookedUp, Freed: keyFreed, Room: c.Room}
}

// fits holds a place of the index against the log: errMismatch if another block, or none, lies there. It gives the log's last sequence.
func (f *follower) fits(ctx context.Context, source eventlog.Log, at place) (last uint64, err error) {
	first, last, err := source.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the bounds of the log: %w", err)
	}
	named := last
	if last, err = readableEnd(ctx, source, first, last); err != nil {
		return last, fmt.Errorf("read the end of the log: %w", err)
	}
	if last < named {
		f.log.Error().Uint64("from", last+1).Uint64("to", named).Msg("messages at the end of the log cannot be read")
	}
	if named < at.chain.Sequence {
		return last, fmt.Errorf("the log ends at %d, the index stands at %d: %w", last, at.chain.Sequence, errMismatch)
	}
	if at.counted == 0 || at.counted < first {
		return last, nil
	}
	m, err := source.Get(ctx, at.counted)
	if errors.Is(err, eventlog.ErrNotFound) {
		return last, fmt.Errorf("message %d is missing: %w", at.counted, errMismatch)
	}
	if err != nil {
		return last, fmt.Errorf("read message %d: %w", at.counted, err)
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return last, fmt.Errorf("message %d: %w: %w", at.counted, err, errMismatch)
	}
	if b.ID != at.chain.Block {
		return last, fmt.Errorf("message %d is block %s, the index was built from block %s: %w", at.counted, b.ID, at.chain.Block, errMismatch)
	}
	return last, nil
}

// follow reads the log until an error, and watches meanwhile.
func (f *follower) follow(ctx context.Context, source eventlog.Log) error {
	r := f.begin(ctx, source)
	defer func() { r.end() }()
	for {
		select {
		case err := <-r.ended:
			return err
		case swap := <-f.x.swaps:
			r.end()
			if err := swap(); err != nil {
				return err
			}
			return errSwapped
		case act := <-f.x.pauses:
			r.end()
			if err := act(); err != nil {
				return err
			}
			r = f.begin(ctx, source)
		case <-f.x.doubted:
			return fmt.Errorf("a query found it: %w", errContent)
		case <-f.x.woken:
			if err := f.survey(ctx, source); err != nil {
				return err
			}
		}
	}
}

// reader is the goroutine that reads a log into the index.
type reader struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
	ended  chan error
}

func (f *follower) begin(ctx context.Context, source eventlog.Log) *reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{cancel: cancel, ended: make(chan error, 1)}
	r.work.Go(func() { r.ended <- f.read(ctx, source) })
	return r
}

// end ends it, and waits for it. What it ended with before does not matter: whoever reads on meets it again.
func (r *reader) end() {
	r.cancel()
	r.work.Wait()
}

// read takes one message after the other into the index; it is the only reader of the log, and everything is decoded once.
func (f *follower) read(ctx context.Context, source eventlog.Log) error {
	if f.x.tail.full(f.p.tailShare()) { // an earlier flush failed
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
	r, err := eventlog.Read(ctx, source, f.x.at.chain)
	if err != nil {
		return err
	}
	defer r.Stop()
	f.x.setHurry(r.Hurry)
	defer f.x.setHurry(nil)
	for {
		found, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := f.take(ctx, source, &found, r.Chain()); err != nil {
			return err
		}
	}
}

// take puts one judged message into the index and tells those who wait. What is in memory alone is read from the log again after a crash.
func (f *follower) take(ctx context.Context, source eventlog.Log, found *eventlog.Found, behind event.Chain) error {
	at := place{chain: behind, counted: f.x.at.counted}
	events := 0
	if err := f.look(ctx, source, found, at); err != nil {
		return err
	}
	if found.Standing == event.Counts {
		at.counted = found.Sequence
		for _, c := range found.Commits {
			events += len(c.Events)
			f.p.taker.passed(c.Aggregate, c.First, c.Last(), f.every(c.Aggregate.Type))
		}
		if err := f.schemasOf(ctx, found); err != nil {
			return err
		}
		f.x.add(found, f.p.schemas.ends)
		if f.x.name == event.Reserved {
			f.p.schemas.learnBlock(found, f.log)
			f.p.rights.learnBlock(found)
		}
	}
	f.x.at = at
	settled := f.x.progress.settled()
	f.x.progress.moved(at)
	f.p.moves.ring()
	f.p.metrics.indexed(f.x.name, events)
	if !settled && f.x.progress.settled() {
		f.p.Notify()
	}
	if f.x.tail.full(f.p.tailShare()) {
		return f.flush(ctx)
	}
	return nil
}

// every is after how many events of a type a snapshot is taken; 0: none is.
func (f *follower) every(aggregateType string) uint64 {
	if f.p.taker.keep == nil {
		return 0
	}
	return f.p.schemas.every(aggregateType)
}

// schemaPatience is how long a block waits for the schemas of its events. Without them states are not kept, and folded when they are asked for.
const schemaPatience = 5 * time.Second

// schemasOf waits until the index of the system log holds the schemas that a block names.
func (f *follower) schemasOf(ctx context.Context, found *eventlog.Found) error {
	if f.x.name == event.Reserved || f.impatient || f.p.schemas.know(found.Commits) {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, schemaPatience)
	defer cancel()
	err := f.p.WaitForLatest(waiting, event.Reserved)
	if f.impatient = err != nil; f.impatient && ctx.Err() == nil {
		f.log.Warn().Err(err).Uint64("sequence", found.Sequence).Msg("schemas of a block are not known: states are folded when they are read")
	}
	return ctx.Err()
}

// roomPause is the time between two tries to write to a disk that has no room.
const roomPause = 200 * time.Millisecond

// flush moves what is in memory into the store, and waits for room for it: the log is not read on meanwhile, and queries are answered.
func (f *follower) flush(ctx context.Context) error {
	tick := time.NewTicker(roomPause)
	defer tick.Stop()
	for paused := false; ; paused = true {
		err := f.p.config.Room()
		if err == nil {
			err = f.x.flush()
		}
		switch full := errors.Is(err, syscall.ENOSPC); {
		case !full && paused:
			f.log.Info().Msg("index grows again")
			f.x.progress.resumed()
			return err
		case !full:
			return err
		case !paused: // once: words take room too
			f.log.Warn().Err(err).Msg("index does not grow: there is no room on its disk")
			f.x.progress.failed(statePaused, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look logs what does not count. A void block is also what a log looks like that lost its tail and used sequences again, so the position is held
// against the log anew.
func (f *follower) look(ctx context.Context, source eventlog.Log, found *eventlog.Found, at place) error {
	if found.Missing {
		f.log.Error().Uint64("before", found.Sequence).Msg("damage: messages are missing")
	}
	switch found.Standing {
	case event.Damaged:
		f.log.Error().Err(found.Err).Uint64("sequence", found.Sequence).Msg("damage: message cannot be read")
	case event.Void:
		f.log.Warn().Uint64("sequence", found.Sequence).Stringer("block", found.Block.ID).Msg("void block left out")
		_, err := f.fits(ctx, source, at)
		return err
	}
	return nil
}

// survey asks the log how far it is, for Status and metrics, and notices a lost tail.
func (f *follower) survey(ctx context.Context, source eventlog.Log) error {
	at, _, _ := f.x.progress.now()
	_, last, err := source.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read the bounds of the log: %w", err)
	}
	if last < at.chain.Sequence {
		return fmt.Errorf("the log ends at %d, the index stands at %d: %w", last, at.chain.Sequence, errMismatch)
	}
	lag, late := uint64(0), time.Duration(0)
	if last > at.chain.Sequence {
		m, err := source.Get(ctx, last)
		if err == nil {
			if b, err := event.DecodeHeader(m.Data); err == nil && b.TreeSize > at.chain.TreeSize {
				lag, late = b.TreeSize-at.chain.TreeSize, f.lateBy(ctx, source, at, b.Time)
			}
		}
	}
	f.x.progress.surveyed(last, lag, late)
	f.p.metrics.lagging(f.x.name, lag, late)
	return nil
}

// lateBy is how much later a block was written than the newest one in the index; an index without one is as late as the log's first block.
func (f *follower) lateBy(ctx context.Context, source eventlog.Log, at place, newest event.Time) time.Duration {
	sequence := at.counted
	if sequence == 0 {
		sequence = 1
	}
	m, err := source.Get(ctx, sequence)
	if err != nil {
		return 0
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return 0
	}
	return max(time.Duration(newest-b.Time), 0)
}
