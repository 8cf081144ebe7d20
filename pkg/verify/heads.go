package verify

import (
	"hash/maphash"
	"math"

	"github.com/eventfuldb/eventful/pkg/event"
)

// head is what is kept of an aggregate. It holds no pointer: of a log with a million aggregates the garbage collector would go through millions of them, again and again.
type head struct {
	last     event.Version // and size of its tree
	at       event.Link
	branch   uint64
	frontier [headHashes]event.Hash // of its tree: the first ones
	number   uint32                 // among the heads
	site     uint32                 // among the origins
	failed   bool                   // reported; not looked at again
	asked    bool                   // what was proven was asked for
}

const (
	headHashes = 2   // of a frontier in a head: trees of one to six leaves have no more
	headChunk  = 128 // heads that are made at once: small, as most logs and parts of logs that are proved have few
)

// heads are those of all aggregates that were seen, or of a part of them: those whose hash lies from one number up to another, at most as many as the limit. When one more comes the part
// gets smaller, and what is not in it any more is left to another time. They are found by a hash of 128 bits with a seed that nobody knows, so no name can be made that has the hash of another
// one, and the parts are about as large as each other.
type heads struct {
	seeds   [2]maphash.Seed
	limit   int
	from    uint64 // of the first half of the hash …
	upTo    uint64 // … both included
	before  uint64 // aggregates of the parts before
	numbers map[[2]uint64]uint32
	chunks  [][]head
	more    map[uint32][]event.Hash // the rest of frontiers
	tree    event.Tree              // of the head that is looked at
}

func newHeads(limit int) *heads {
	h := &heads{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, limit: limit, upTo: math.MaxUint64}
	h.clear()
	return h
}

func (h *heads) clear() {
	h.numbers, h.chunks, h.more = map[[2]uint64]uint32{}, nil, map[uint32][]event.Hash{}
}

// count is how many aggregates there are in this part and those before.
func (h *heads) count() uint64 { return h.before + uint64(len(h.numbers)) }

// holds reports whether an aggregate is of this part.
func (h *heads) holds(a event.AggregateID) bool { return h.within(h.name(a)) }

func (h *heads) within(name [2]uint64) bool { return h.from <= name[0] && name[0] <= h.upTo }

// next begins the part behind this one, with no heads; false: there is none. It is as wide as this one, but for the last.
func (h *heads) next() bool {
	if h.upTo == math.MaxUint64 {
		return false
	}
	width := h.upTo - h.from
	h.before = h.count()
	h.clear()
	h.from = h.upTo + 1
	h.upTo = h.from + min(width, math.MaxUint64-h.from)
	return true
}

// left is how many parts of this width lie behind this one, about.
func (h *heads) left() uint64 {
	if h.upTo == math.MaxUint64 {
		return 0
	}
	return 1 + (math.MaxUint64-h.upTo-1)/(h.upTo-h.from+1)
}

// halve leaves the upper half of the part to the next one.
func (h *heads) halve() {
	h.upTo = h.from + (h.upTo-h.from)/2
	numbers, chunks, more := h.numbers, h.chunks, h.more
	h.clear()
	for name, n := range numbers {
		if !h.within(name) {
			continue
		}
		kept := h.add(name)
		number := kept.number
		*kept = chunks[n/headChunk][n%headChunk]
		kept.number = number
		if rest := more[n]; rest != nil {
			h.more[number] = rest
		}
	}
}

// name is what an aggregate is found by.
func (h *heads) name(a event.AggregateID) (sums [2]uint64) {
	for i, seed := range h.seeds {
		sums[i] = maphash.Comparable(seed, a)
	}
	return sums
}

// find gives the head of an aggregate; nil: there is none, or it is not of this part.
func (h *heads) find(a event.AggregateID) *head {
	n, found := h.numbers[h.name(a)]
	if !found {
		return nil
	}
	return &h.chunks[n/headChunk][n%headChunk]
}

// proven is Proven of this part.
func (h *heads) proven(a event.AggregateID) (newest event.Version, root event.Hash, ok bool) {
	of := h.find(a)
	if of == nil || of.failed || of.asked {
		return 0, root, false
	}
	of.asked = true
	h.tree.Load(uint64(of.last), of.frontier[:], h.more[of.number])
	return of.last, h.tree.Root(), true
}

// make gives the head of an aggregate, and whether it is new; nil: it is not of this part, or not any more.
func (h *heads) make(a event.AggregateID) (of *head, fresh bool) {
	name := h.name(a)
	if n, found := h.numbers[name]; found {
		return &h.chunks[n/headChunk][n%headChunk], false
	}
	for h.within(name) && len(h.numbers) >= h.limit && h.upTo > h.from {
		h.halve()
	}
	if !h.within(name) {
		return nil, false
	}
	return h.add(name), true
}

func (h *heads) add(name [2]uint64) *head {
	n := uint32(len(h.numbers))
	h.numbers[name] = n
	if n%headChunk == 0 {
		h.chunks = append(h.chunks, make([]head, headChunk))
	}
	of := &h.chunks[n/headChunk][n%headChunk]
	of.number = n
	return of
}

// grow adds leaves to the tree of an aggregate, and gives its root.
func (h *heads) grow(of *head, leaves []event.Hash) event.Hash {
	h.tree.Load(uint64(of.last), of.frontier[:], h.more[of.number])
	h.tree.Grow(leaves...)
	frontier := h.tree.View()
	copy(of.frontier[:], frontier)
	if rest := frontier[min(len(frontier), headHashes):]; len(rest) > 0 || h.more[of.number] != nil {
		h.more[of.number] = append(h.more[of.number][:0], rest...)
	}
	return h.tree.Root()
}
