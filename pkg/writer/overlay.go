package writer

import (
	"sync/atomic"

	"github.com/eventfuldb/eventful/pkg/event"
)

// overlay is what the blocks say that the stored state does not hold yet: those open, in flight, and acknowledged but not yet applied; and what was read from the
// state of late. It belongs to the engine's goroutine.
type overlay struct {
	heads  recent[event.AggregateID, head]
	spent  recent[string, uint64] // units of a token that were spent in this log or handed back, everything counted
	back   recent[string, uint64] // of these, units handed back
	unique recent[string, string] // values of unique fields: the id that holds each, empty for nobody

	forgotten recent[event.AggregateID, []event.Hash] // commitments of forgotten keys

	commands map[string]place // those that are not acknowledged yet
}

// Bounds of what the overlay keeps besides what must be kept.
const (
	recentTokens = 4096
	recentValues = 4096
)

// place is where a command that is not acknowledged yet has its commits.
type place struct {
	block    *openBlock
	digest   event.Hash
	from, to int
}

// newOverlay is empty; applied is the sequence up to which the stored state has the blocks.
func newOverlay(cached int, applied *atomic.Uint64) *overlay {
	return &overlay{
		heads: newRecent[event.AggregateID, head](cached, applied), spent: newRecent[string, uint64](recentTokens, applied),
		back: newRecent[string, uint64](recentTokens, applied), unique: newRecent[string, string](recentValues, applied),
		forgotten: newRecent[event.AggregateID, []event.Hash](recentValues, applied), commands: make(map[string]place),
	}
}

// claim notes what a commit took and gave up of unique values. A value that another commit of the same transaction has taken meanwhile stays taken.
func (o *overlay) claim(it item, sequence uint64) {
	for _, c := range it.claims {
		if owner, ok := o.unique.get(c.key); c.owner == "" && ok && owner != it.claimant() {
			continue
		}
		o.unique.put(c.key, c.owner, sequence)
	}
}

// recent is a cache in two generations: when the young one is full it becomes the old one, and the old one is dropped, but not before the stored state has all of
// it. What the state does not have yet is therefore always there.
type recent[K comparable, V any] struct {
	limit      int // values in both generations, as far as they need not be kept
	applied    *atomic.Uint64
	young, old generation[K, V]
}

type generation[K comparable, V any] struct {
	values map[K]V
	newest uint64 // the highest sequence of a block that a value came with
}

func newRecent[K comparable, V any](limit int, applied *atomic.Uint64) recent[K, V] {
	return recent[K, V]{limit: limit, applied: applied, young: generation[K, V]{values: make(map[K]V)}}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young.values[k]; ok {
		return v, true
	}
	v, ok := r.old.values[k]
	if ok {
		r.put(k, v, r.old.newest)
	}
	return v, ok
}

// put keeps a value that the block at a sequence led to; 0: one that the stored state has.
func (r *recent[K, V]) put(k K, v V, sequence uint64) {
	if len(r.young.values) >= r.limit/2 && r.old.newest <= r.applied.Load() {
		r.old, r.young = r.young, generation[K, V]{values: make(map[K]V)}
	}
	r.young.values[k] = v
	r.young.newest = max(r.young.newest, sequence)
}
