package writer

import "github.com/eventfuldb/eventful/pkg/event"

// overlay is what the blocks say that the stored state does not hold yet: those open, in flight, and acknowledged but not yet applied. It belongs to the
// engine's goroutine.
type overlay struct {
	heads    map[event.AggregateID]dated[head]
	commands map[string]dated[place]
	spent    map[string]dated[uint64] // units of a token that were spent in this log or handed back, everything counted
	back     map[string]dated[uint64] // of these, units handed back
	unique   map[string]dated[string] // values of unique fields: the id that holds each, empty for nobody
	recent   recentHeads
}

// dated is a value with the block it came with: sequence is that block's.
type dated[T any] struct {
	value    T
	sequence uint64
}

// place is where a command that is not in the stored state yet has its commits.
type place struct {
	block    *openBlock
	digest   event.Hash
	from, to int
}

func newOverlay(cached int) *overlay {
	return &overlay{
		heads: make(map[event.AggregateID]dated[head]), commands: make(map[string]dated[place]),
		spent: make(map[string]dated[uint64]), back: make(map[string]dated[uint64]), unique: make(map[string]dated[string]), recent: recentHeads{limit: cached, young: make(map[event.AggregateID]head)},
	}
}

// claim notes what a commit took and gave up of unique values. A value that another commit of the same transaction has taken meanwhile stays taken.
func (o *overlay) claim(it item, sequence uint64) {
	for _, c := range it.claims {
		if d, ok := o.unique[c.key]; c.owner == "" && ok && d.value != it.commit.Aggregate.ID {
			continue
		}
		o.unique[c.key] = dated[string]{c.owner, sequence}
	}
}

// applied drops what the stored state now holds: all of the block at its sequence. Heads go on in the cache of recent ones.
func (o *overlay) applied(b *openBlock) {
	for i := range b.items {
		c := b.items[i].commit
		for _, taken := range b.items[i].claims {
			if d, ok := o.unique[taken.key]; ok && d.sequence == b.sequence {
				delete(o.unique, taken.key)
			}
		}
		if d, ok := o.heads[c.Aggregate]; ok && d.sequence == b.sequence {
			o.recent.put(c.Aggregate, d.value)
			delete(o.heads, c.Aggregate)
		}
		if d, ok := o.commands[c.CommandID]; ok && d.sequence == b.sequence {
			delete(o.commands, c.CommandID)
		}
		if d, ok := o.spent[c.TokenID]; ok && d.sequence == b.sequence {
			delete(o.spent, c.TokenID)
		}
		if d, ok := o.back[c.TokenID]; ok && d.sequence == b.sequence {
			delete(o.back, c.TokenID)
		}
	}
}

// recentHeads is a bounded cache in two generations: when the young one is full it becomes the old one.
type recentHeads struct {
	limit      int
	young, old map[event.AggregateID]head
}

func (r *recentHeads) get(a event.AggregateID) (head, bool) {
	if h, ok := r.young[a]; ok {
		return h, true
	}
	h, ok := r.old[a]
	if ok {
		r.put(a, h)
	}
	return h, ok
}

func (r *recentHeads) put(a event.AggregateID, h head) {
	if len(r.young) >= r.limit/2 {
		r.old, r.young = r.young, make(map[event.AggregateID]head)
	}
	r.young[a] = h
}
