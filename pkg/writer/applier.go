package writer

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

const (
	// gatherFor is how long changes are collected before they are written: heads that change again, the newest command ids and the position are then written
	// once. Nobody waits for it: what is not written yet is in the overlay, and what a crash leaves out is replayed.
	gatherFor = time.Second
	// maxWaiting is how many commits may wait to be collected; more come only while the store is written, or cannot be.
	maxWaiting = 1 << 13
)

// applier collects acknowledged blocks and writes them to the stored state, in order, on a goroutine of its own.
type applier struct {
	st       *state
	budgeted bool
	queue    chan *openBlock
	applied  *atomic.Uint64 // sequence of the newest block that the stored state has
	waiting  atomic.Int64   // commits, and one for each block, in the queue
	moved    chan struct{}  // a value when there is room again
	failed   chan struct{}  // closed after err was set
	err      error
	done     chan struct{}
	hurry    chan struct{} // closed when it must not wait for room any more
}

func startApplier(st *state, budgeted bool, applied *atomic.Uint64) *applier {
	a := &applier{
		st: st, budgeted: budgeted, applied: applied, moved: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}), hurry: make(chan struct{}),
		// Nothing is decided once maxWaiting is reached; the open block and those in flight may still come on top.
		queue: make(chan *openBlock, maxWaiting+2*maxInFlight),
	}
	go a.run()
	return a
}

func (a *applier) add(b *openBlock) {
	a.waiting.Add(weight(b))
	a.queue <- b
}

func weight(b *openBlock) int64 { return int64(len(b.items)) + 1 }

// full reports that blocks come faster than the store takes them. When it no longer does, moved says so.
func (a *applier) full() bool { return a.waiting.Load() >= maxWaiting }

// close writes what was added and ends the goroutine. Where there is no room it waits for some until ctx ends.
func (a *applier) close(ctx context.Context) error {
	close(a.queue)
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	close(a.hurry)
	<-a.done
	return a.err
}

func (a *applier) run() {
	defer close(a.done)
	enough := time.NewTimer(gatherFor)
	defer enough.Stop()
	for more := true; more; {
		enough.Reset(gatherFor)
		if err := a.batch(enough.C, &more); err != nil && a.err == nil {
			a.err = err
			close(a.failed)
		}
	}
}

// batch collects blocks from the first that comes until there is enough or the time is up, and writes them.
func (a *applier) batch(enough <-chan time.Time, more *bool) error {
	c := a.st.changes()
	var due <-chan time.Time // not before there is something
	for !c.full() {
		select {
		case b, ok := <-a.queue:
			if *more = ok; !ok {
				return a.write(c)
			}
			if due == nil {
				due = enough
			}
			if err := a.collect(c, b); err != nil {
				return err
			}
		case <-due:
			return a.write(c)
		}
	}
	return a.write(c)
}

// collect takes one block. After a failure the blocks are only passed over: the engine starts anew behind the stored position.
func (a *applier) collect(c *changes, b *openBlock) error {
	w := weight(b)
	if left := a.waiting.Add(-w); left < maxWaiting && left+w >= maxWaiting {
		select {
		case a.moved <- struct{}{}:
		default:
		}
	}
	if a.err != nil {
		return nil
	}
	return c.add(b.stored(), event.ChainAt(b.sequence, b.Header), b.tree, a.budgeted)
}

func (a *applier) write(c *changes) error {
	if a.err != nil || c.meta.chain == a.st.meta.chain {
		return nil
	}
	if err := a.store(c); err != nil {
		return err
	}
	a.applied.Store(c.meta.chain.Sequence)
	return nil
}

// roomPause is the time between two tries to write to a disk that has no room.
const roomPause = 100 * time.Millisecond

// store writes the changes, and waits for room for them. The engine goes on meanwhile until too much waits.
func (a *applier) store(c *changes) error {
	for {
		err := c.write()
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		pause := time.NewTimer(roomPause)
		select {
		case <-pause.C:
		case <-a.hurry:
			pause.Stop()
			return err
		}
	}
}
