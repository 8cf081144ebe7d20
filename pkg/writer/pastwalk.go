package writer

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// maxPast is how many bytes of values a walk into the past holds at once; one aggregate alone may have more.
const maxPast = 32 << 20

// walked is an aggregate on a walk back through its commits.
type walked struct {
	aggregate event.AggregateID
	head      head
	undone    func(at event.Link, v event.Version) bool // whether the event there is to be undone
	forgotten []event.Hash                              // commitments of keys of it that were forgotten

	next event.Link
	then event.Version // the version to come back to, when it is known
	hash event.Hash    // its leaf
	past *aggregate.Past
	seen []pastEvent // until then is known
}

// pastEvent is an event that is to be undone.
type pastEvent struct {
	version event.Version
	event   event.Event
	deletes bool
	key     []byte
}

// pastHeap gives the aggregate whose next commit stands last in the log.
type pastHeap []*walked

func (h pastHeap) Len() int { return len(h) }
func (h pastHeap) Less(i, j int) bool {
	a, b := h[i].next, h[j].next
	return a.Sequence > b.Sequence || a.Sequence == b.Sequence && a.Index > b.Index
}
func (h pastHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *pastHeap) Push(x any)   { *h = append(*h, x.(*walked)) }
func (h *pastHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// pastWalk goes back through the commits of aggregates by their links, newest first, and reads each block once however many of them it holds.
type pastWalk struct {
	log     eventlog.Log
	deletes func(aggregateType string, e *event.Event) bool

	sequence uint64 // of block
	block    *event.Block
}

// errTooMuch: what is held of the past is more than maxPast; fewer aggregates at once do.
var errTooMuch = errors.New("the past of these aggregates is too large")

// walk fills in past and then of all of them.
func (w *pastWalk) walk(ctx context.Context, all []*walked) error {
	h := make(pastHeap, 0, len(all))
	for _, a := range all {
		a.next, a.past, a.seen, a.then, a.hash = a.head.link, nil, nil, 0, event.Hash{}
		h = append(h, a)
	}
	heap.Init(&h)
	held := 0
	for len(h) > 0 {
		a := h[0]
		before := a.size()
		more, err := w.step(ctx, a)
		if err != nil {
			return fmt.Errorf("read the past of %s: %w", a.aggregate, err)
		}
		if held += a.size() - before; held > maxPast && len(all) > 1 {
			return errTooMuch
		}
		if more {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}

func (a *walked) size() (n int) {
	if a.past != nil {
		return a.past.Size()
	}
	for i := range a.seen {
		n += len(a.seen[i].event.Payload) + 150
	}
	return n
}

// step reads the next commit of an aggregate.
func (w *pastWalk) step(ctx context.Context, a *walked) (more bool, err error) {
	at := a.next
	if at.Sequence == 0 {
		a.comeTo(0)
		return false, nil
	}
	c, prev, err := w.commit(ctx, at)
	if err != nil {
		return false, err
	}
	if c.Aggregate != a.aggregate {
		return false, fmt.Errorf("a commit of %s stands at sequence %d: %w", c.Aggregate, at.Sequence, ErrDamaged)
	}
	a.next = prev
	for i := len(c.Events) - 1; i >= 0; i-- {
		e := pastEvent{version: c.First + event.Version(i), event: c.Events[i], key: c.KeyCommitment}
		e.deletes = w.deletes(a.aggregate.Type, &e.event)
		if a.past == nil && a.undone(at, e.version) {
			e.event.Payload, e.key = bytes.Clone(e.event.Payload), bytes.Clone(e.key) // not the whole block
			a.seen = append(a.seen, e)
			continue
		}
		if a.past == nil {
			a.hash = c.Leaf(i)
			a.comeTo(e.version)
		}
		if !a.past.Add(e.version, e.event, e.deletes, e.key) {
			return false, nil
		}
	}
	if prev.Sequence == 0 && a.past == nil {
		a.comeTo(0)
	}
	return prev.Sequence > 0, nil
}

// comeTo notes which version to come back to, behind the events that are undone.
func (a *walked) comeTo(v event.Version) {
	a.then, a.past = v, aggregate.NewPast(a.head.version, v)
	for _, e := range a.seen {
		a.past.Add(e.version, e.event, e.deletes, e.key)
	}
	a.seen = nil
}

// commit reads a commit, and the link to the one before. Commits share the memory of their block.
func (w *pastWalk) commit(ctx context.Context, at event.Link) (*event.Commit, event.Link, error) {
	if w.block == nil || w.sequence != at.Sequence {
		m, err := w.log.Get(ctx, at.Sequence)
		if err != nil {
			return nil, event.Link{}, fmt.Errorf("read sequence %d: %w", at.Sequence, err)
		}
		if w.block, err = event.DecodeHeader(m.Data); err != nil {
			w.block = nil
			return nil, event.Link{}, fmt.Errorf("read sequence %d: %w", at.Sequence, err)
		}
		w.sequence = at.Sequence
	}
	if w.block.ID != at.Block || int(at.Index) >= len(w.block.Records) {
		return nil, event.Link{}, fmt.Errorf("sequence %d does not hold commit %d of block %s: %w", at.Sequence, at.Index, at.Block, ErrDamaged)
	}
	r := &w.block.Records[at.Index]
	c, err := event.DecodeCommit(r.Raw)
	if err != nil {
		return nil, event.Link{}, fmt.Errorf("read sequence %d: %w", at.Sequence, err)
	}
	return c, r.Prev, nil
}
