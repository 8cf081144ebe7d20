package projector

import (
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
)

// held keeps decoded commits, first in first out, up to a number of events.
type held struct {
	limit int

	mu      sync.Mutex // guards what follows
	events  int
	commits map[event.Position]*event.Commit
	queue   []event.Position // oldest first, from head on
	head    int
}

func newHeld(limit int) *held {
	return &held{limit: limit, commits: map[event.Position]*event.Commit{}}
}

func (h *held) get(at event.Position) *event.Commit {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits[at]
}

// put keeps a commit; one with more events than the limit is not kept. The commit must not be changed afterwards.
func (h *held) put(at event.Position, c *event.Commit) {
	if len(c.Events) > h.limit {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.commits[at] != nil {
		return
	}
	h.commits[at] = c
	h.queue = append(h.queue, at)
	h.events += len(c.Events)
	for h.events > h.limit {
		oldest := h.queue[h.head]
		h.head++
		h.events -= len(h.commits[oldest].Events)
		delete(h.commits, oldest)
	}
	if h.head > len(h.queue)/2 {
		h.queue = append(h.queue[:0], h.queue[h.head:]...)
		h.head = 0
	}
}

func (h *held) count() (events, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.events, h.limit
}
