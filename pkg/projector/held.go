package projector

import (
	"sync"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// held keeps decoded commits, first in first out, up to a number of events.
type held struct {
	limit int

	mu      sync.Mutex // guards what follows
	events  int
	commits map[heldKey][]located
	queue   []heldKey // oldest first, from head on
	head    int
}

// heldKey names a record by where it lies in a store, or a commit that is not in the store yet by sequence and index. Another Store, as a rebuild
// makes it, has other keys.
type heldKey struct {
	store  *indexstore.Store
	recent bool
	a, b   uint64
}

func newHeld(limit int) *held {
	return &held{limit: limit, commits: map[heldKey][]located{}}
}

func (h *held) get(key heldKey) []located {
	if h == nil || h.limit == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits[key]
}

// put keeps commits that belong together; with more events than the limit they are not kept. They must not be changed afterwards.
func (h *held) put(key heldKey, commits []located) {
	if h == nil {
		return
	}
	n := count(commits)
	if n > h.limit {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.commits[key] != nil {
		return
	}
	h.commits[key] = commits
	h.queue = append(h.queue, key)
	h.events += n
	for h.events > h.limit {
		oldest := h.queue[h.head]
		h.queue[h.head] = heldKey{}
		h.head++
		h.events -= count(h.commits[oldest])
		delete(h.commits, oldest)
	}
	if h.head > len(h.queue)/2 {
		h.queue = append(h.queue[:0], h.queue[h.head:]...)
		h.head = 0
	}
}

func count(commits []located) (events int) {
	for _, c := range commits {
		events += len(c.Events)
	}
	return events
}

func (h *held) count() (events, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.events, h.limit
}
