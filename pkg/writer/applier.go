package writer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

const (
	// gatherFor is how long changes are collected before they are written: heads that change again, the newest command ids and the position are then written
	// once. Nobody waits for it: what is not written yet is in the overlay, and what a crash leaves out is replayed.
	gatherFor = time.Second
	// takeAfter is how long blocks wait to be collected, unless takeAt commits do: a goroutine that is woken for each block takes a processor from the client that
	// is being answered.
	takeAfter = 25 * time.Millisecond
	takeAt    = 1 << 10
	// maxWaiting is how many commits may wait to be collected; more come only while the store is written, or cannot be.
	maxWaiting = 1 << 13
	// hurryAt is how many may wait while the store is written with pauses.
	hurryAt = maxWaiting / 2
)

// applier collects acknowledged blocks and writes them to the stored state, in order, on a goroutine of its own.
type applier struct {
	st       *state
	budgeted bool
	applied  *atomic.Uint64 // sequence of the newest block that the stored state has
	waiting  atomic.Int64   // commits, and one for each block, that are not collected yet
	work     chan struct{}  // a value when queue is empty no more
	enough   chan struct{}  // a value when takeAt is reached
	moved    chan struct{}  // a value when there is room again
	failed   chan struct{}  // closed after err was set
	err      error
	ending   chan struct{} // closed when nothing more is added
	done     chan struct{}
	hurry    chan struct{} // closed when it must not wait for room any more

	mu    sync.Mutex // guards queue
	queue []*openBlock
}

func startApplier(st *state, budgeted bool, applied *atomic.Uint64) *applier {
	a := &applier{
		st: st, budgeted: budgeted, applied: applied, work: make(chan struct{}, 1), enough: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		failed: make(chan struct{}), ending: make(chan struct{}), done: make(chan struct{}), hurry: make(chan struct{}),
	}
	go a.run()
	return a
}

func (a *applier) add(b *openBlock) {
	a.mu.Lock()
	a.queue = append(a.queue, b)
	first := len(a.queue) == 1
	a.mu.Unlock()
	w := weight(b)
	switch now := a.waiting.Add(w); {
	case now >= takeAt && now-w < takeAt:
		poke(a.enough)
	case now >= hurryAt && now-w < hurryAt:
		a.st.store.Hurry()
	}
	if first {
		poke(a.work)
	}
}

// take gives what waits.
func (a *applier) take() []*openBlock {
	a.mu.Lock()
	defer a.mu.Unlock()
	blocks := a.queue
	a.queue = nil
	return blocks
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func weight(b *openBlock) int64 { return int64(len(b.items)) + 1 }

// full reports that blocks come faster than the store takes them. When it no longer does, moved says so.
func (a *applier) full() bool { return a.waiting.Load() >= maxWaiting }

// close writes what was added and ends the goroutine. Where there is no room it waits for some until ctx ends, or the log is to be handed over.
func (a *applier) close(ctx context.Context, o *orders) error {
	close(a.ending)
	a.st.store.Hurry()
	for waits := !o.leaving(); waits; {
		select {
		case <-a.done:
			waits = false
		case <-ctx.Done():
			waits = false
		case <-o.come():
			waits = !o.leaving()
		}
	}
	close(a.hurry)
	<-a.done
	return a.err
}

func (a *applier) run() {
	defer close(a.done)
	due := time.NewTimer(gatherFor)
	defer due.Stop()
	for more := true; more; {
		due.Stop() // not before there is something
		if err := a.batch(due, &more); err != nil && a.err == nil {
			a.err = err
			close(a.failed)
		}
	}
}

// batch collects blocks from the first that comes until the time is up, and writes them; whenever there is enough it writes too.
func (a *applier) batch(due *time.Timer, more *bool) error {
	c := a.st.changes()
	for {
		var write bool
		write, *more = a.await(due.C)
		c.gently = *more
		for _, b := range a.take() {
			if c.meta.chain == a.st.meta.chain {
				due.Reset(gatherFor)
			}
			if err := a.collect(c, b); err != nil {
				return err
			}
			if c.full() {
				if err := a.write(c); err != nil {
					return err
				}
				c = a.st.changes()
				c.gently = *more
			}
		}
		if write {
			return a.write(c)
		}
	}
}

// await waits until blocks are to be taken. write: what was collected is to be written then. more: others may come.
func (a *applier) await(due <-chan time.Time) (write, more bool) {
	select {
	case <-a.work:
	case <-due:
		return true, true
	case <-a.ending:
		return true, false
	}
	if a.waiting.Load() >= takeAt {
		return false, true
	}
	soon := time.NewTimer(takeAfter)
	defer soon.Stop()
	select {
	case <-soon.C:
	case <-a.enough:
	case <-a.ending:
		return true, false
	}
	return false, true
}

// collect takes one block. After a failure the blocks are only passed over: the engine starts anew behind the stored position.
func (a *applier) collect(c *changes, b *openBlock) error {
	w := weight(b)
	if left := a.waiting.Add(-w); left < maxWaiting && left+w >= maxWaiting {
		poke(a.moved)
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
