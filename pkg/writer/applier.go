package writer

import (
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Blocks are gathered before they are written: heads that change again and the position are then written once. Nobody waits for it: what is not
// written yet is in the overlay, and what a crash leaves out is replayed.
const (
	gatherFor     = 50 * time.Millisecond
	gatherCommits = 2048
)

// applier writes acknowledged blocks to the stored state, in order, on a goroutine of its own.
type applier struct {
	st       *state
	budgeted bool
	queue    chan *openBlock
	applied  chan *openBlock // each block behind its batch; the engine takes them
	failed   chan struct{}   // closed after err was set
	err      error
	waiting  atomic.Int64
	done     chan struct{}
}

func startApplier(st *state, budgeted bool) *applier {
	a := &applier{
		st: st, budgeted: budgeted, failed: make(chan struct{}), done: make(chan struct{}),
		// maxUnapplied bounds what is decided; the blocks in flight and the open one may still come on top.
		queue: make(chan *openBlock, maxUnapplied+2*maxInFlight), applied: make(chan *openBlock, 2*maxUnapplied+4*maxInFlight),
	}
	go a.run()
	return a
}

func (a *applier) add(b *openBlock) {
	a.waiting.Add(1)
	a.queue <- b
}

// backlog is the number of blocks that were added and not yet written.
func (a *applier) backlog() int { return int(a.waiting.Load()) + len(a.applied) }

// close writes what was added and ends the goroutine.
func (a *applier) close() error {
	close(a.queue)
	<-a.done
	return a.err
}

func (a *applier) run() {
	defer close(a.done)
	for b := range a.queue {
		batch := a.gather(b)
		if a.err == nil {
			if a.err = a.write(batch); a.err != nil {
				close(a.failed)
			}
		}
		a.waiting.Add(int64(-len(batch)))
		if a.err == nil {
			for _, b := range batch {
				a.applied <- b
			}
		}
	}
}

// gather takes what comes behind the first block, until there is enough, the time is up, or nothing more will come.
func (a *applier) gather(first *openBlock) []*openBlock {
	batch, commits := []*openBlock{first}, len(first.items)
	enough := time.NewTimer(gatherFor)
	defer enough.Stop()
	for len(batch) < maxUnapplied/2 && commits < gatherCommits {
		select {
		case b, more := <-a.queue:
			if !more {
				return batch
			}
			batch, commits = append(batch, b), commits+len(b.items)
		case <-enough.C:
			return batch
		}
	}
	return batch
}

// write stores the blocks, several in one batch of the store as far as its limits go.
func (a *applier) write(batch []*openBlock) error {
	c := a.st.changes()
	for i, b := range batch {
		if err := c.add(b.stored(), event.ChainAt(b.sequence, b.Header), b.tree, a.budgeted); err != nil {
			return err
		}
		if !c.full() || i == len(batch)-1 {
			continue
		}
		if err := c.write(); err != nil {
			return err
		}
		c = a.st.changes()
	}
	return c.write()
}
