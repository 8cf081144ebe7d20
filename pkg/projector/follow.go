package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// errMismatch: the log does not hold what the index was built from; the index is dropped and rebuilt.
var errMismatch = errors.New("index does not fit its log")

// readAhead is the number of decoded blocks that wait to be written to the index.
const readAhead = 32

// follower keeps one index up to its log. It is one goroutine, with a second one that reads ahead.
type follower struct {
	p   *Projector
	x   *index
	dir string
	log zerolog.Logger
	at  place // what the store holds
}

// run follows until ctx ends or the log turns out to be of a newer format.
func (f *follower) run(ctx context.Context) {
	for {
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
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
	return errors.Is(err, errMismatch) || errors.Is(err, errContent) || errors.Is(err, statestore.ErrDoubted)
}

// once opens the index, holds its position against the log, and follows the log until an error.
func (f *follower) once(ctx context.Context) error {
	source, err := f.p.config.Store.Open(ctx, f.x.name)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	f.x.setSource(source)
	f.at, err = f.x.open(statestore.Config{Dir: f.dir, Key: f.p.config.Key, Identity: identity(f.p.config.Site, f.x.name)})
	if err != nil {
		return err
	}
	last, err := f.fits(ctx, source, f.at)
	if err != nil {
		return err
	}
	if f.x.name == event.Reserved {
		if err := f.x.readSchemas(f.p.schemas); err != nil {
			return err
		}
	}
	began := f.p.config.Now()
	f.log.Info().Uint64("sequence", f.at.chain.Sequence).Uint64("last", last).Msg("log is followed")
	f.x.progress.begin(f.at, last)
	f.p.Notify()
	err = f.follow(ctx, source)
	f.log.Debug().Dur("after", f.p.config.Now().Sub(began)).Msg("following ended")
	return err
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

// follow writes what comes. One block alone is written at once; when behind, many blocks go into one batch.
func (f *follower) follow(ctx context.Context, source eventlog.Log) error {
	ctx, cancel := context.WithCancel(ctx)
	items := make(chan item, readAhead)
	var reading sync.WaitGroup
	reading.Go(func() { pump(ctx, source, f.at.chain, items) })
	defer reading.Wait()
	defer cancel()
	busy := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.x.doubted:
			return fmt.Errorf("a query found it: %w", errContent)
		case <-f.x.woken:
			if err := f.survey(ctx, source); err != nil {
				return err
			}
		case first := <-items:
			b, err := collect(first, items, busy)
			busy = b.events >= busyEvents
			if werr := f.write(ctx, source, b); werr != nil {
				return werr
			}
			if err != nil {
				return err
			}
		}
	}
}

// Under load a batch waits a little for more, so that summaries and the position are written once for many blocks.
const (
	busyEvents = 32 // of the batch before
	gatherFor  = 5 * time.Millisecond
)

// collect takes what is there, and when it is busy what comes within gatherFor, up to a full batch. The error is the reader's, behind what is in the batch.
func collect(first item, items <-chan item, busy bool) (*batch, error) {
	b := &batch{}
	enough := make(<-chan time.Time)
	if busy {
		timer := time.NewTimer(gatherFor)
		defer timer.Stop()
		enough = timer.C
	}
	for next := first; ; {
		if next.err != nil {
			return b, next.err
		}
		b.add(next)
		if b.full() {
			return b, nil
		}
		select {
		case next = <-items:
			continue
		default:
		}
		if !busy {
			return b, nil
		}
		select {
		case next = <-items:
		case <-enough:
			return b, nil
		}
	}
}

// pump reads and decodes; it is the only reader of the log, and everything is decoded once.
func pump(ctx context.Context, source eventlog.Log, from event.Chain, items chan<- item) {
	send := func(i item) bool {
		select {
		case items <- i:
			return i.err == nil
		case <-ctx.Done():
			return false
		}
	}
	r, err := eventlog.Read(ctx, source, from)
	if err != nil {
		send(item{err: err})
		return
	}
	defer r.Stop()
	for {
		found, err := r.Next(ctx)
		next := item{Found: found, chain: r.Chain(), err: err}
		if err == nil && next.Standing == event.Counts {
			next.encode()
		}
		if !send(next) {
			return
		}
	}
}

// write stores a batch and tells those who wait. A crash before the store's Update leaves the index where it was, behind it the index is complete.
func (f *follower) write(ctx context.Context, source eventlog.Log, b *batch) error {
	if len(b.items) == 0 {
		return nil
	}
	if err := f.look(ctx, source, b); err != nil {
		return err
	}
	at, err := b.write(f.x.store, f.at.counted) // only this goroutine changes the store of its index
	if err != nil {
		return err
	}
	f.at = at
	f.x.addTypes(b.types(f.x.has))
	if f.x.name == event.Reserved {
		for i := range b.items {
			f.p.schemas.learnBlock(&b.items[i], f.log)
		}
	}
	settled := f.x.progress.settled()
	f.x.progress.moved(at)
	f.p.metrics.indexed(f.x.name, b.events)
	if !settled && f.x.progress.settled() {
		f.p.Notify()
	}
	return nil
}

// look logs what does not count. A void block is also what a log looks like that lost its tail and used sequences again, so the position is held
// against the log anew.
func (f *follower) look(ctx context.Context, source eventlog.Log, b *batch) error {
	at := f.at
	for i := range b.items {
		it := &b.items[i]
		if it.Missing {
			f.log.Error().Uint64("before", it.Sequence).Msg("damage: messages are missing")
		}
		switch it.Standing {
		case event.Counts:
			at.counted = it.Sequence
		case event.Damaged:
			f.log.Error().Err(it.Err).Uint64("sequence", it.Sequence).Msg("damage: message cannot be read")
		case event.Void:
			f.log.Warn().Uint64("sequence", it.Sequence).Stringer("block", it.Block.ID).Msg("void block left out")
			at.chain = it.chain
			if _, err := f.fits(ctx, source, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// survey asks the log how far it is, for Status and metrics, and notices a lost tail.
func (f *follower) survey(ctx context.Context, source eventlog.Log) error {
	_, last, err := source.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read the bounds of the log: %w", err)
	}
	if last < f.at.chain.Sequence {
		return fmt.Errorf("the log ends at %d, the index stands at %d: %w", last, f.at.chain.Sequence, errMismatch)
	}
	lag := uint64(0)
	if last > f.at.chain.Sequence {
		m, err := source.Get(ctx, last)
		if err == nil {
			if b, err := event.DecodeHeader(m.Data); err == nil && b.TreeSize > f.at.chain.TreeSize {
				lag = b.TreeSize - f.at.chain.TreeSize
			}
		}
	}
	f.x.progress.surveyed(last, lag)
	f.p.metrics.lagging(f.x.name, lag)
	return nil
}
