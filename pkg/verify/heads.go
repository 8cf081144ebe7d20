package verify

import (
	"hash/maphash"

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
}

const (
	headHashes = 2    // of a frontier in a head: trees of one to six leaves have no more
	headChunk  = 4096 // heads that are made at once
)

// heads are those of all aggregates that were seen. They are found by a hash of 128 bits with a seed that nobody knows, so no name can be made that has the hash of another one.
type heads struct {
	seeds   [2]maphash.Seed
	numbers map[[2]uint64]uint32
	chunks  [][]head
	more    map[uint32][]event.Hash // the rest of frontiers
	tree    event.Tree              // of the head that is looked at
}

func newHeads() *heads {
	return &heads{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, numbers: map[[2]uint64]uint32{}, more: map[uint32][]event.Hash{}}
}

func (h *heads) count() uint64 { return uint64(len(h.numbers)) }

// name is what an aggregate is found by.
func (h *heads) name(a event.AggregateID) (sums [2]uint64) {
	for i, seed := range h.seeds {
		sums[i] = maphash.Comparable(seed, a)
	}
	return sums
}

// find gives the head of an aggregate; nil: there is none.
func (h *heads) find(a event.AggregateID) *head {
	n, found := h.numbers[h.name(a)]
	if !found {
		return nil
	}
	return &h.chunks[n/headChunk][n%headChunk]
}

// make gives the head of an aggregate, and whether it is new.
func (h *heads) make(a event.AggregateID) (of *head, fresh bool) {
	name := h.name(a)
	n, found := h.numbers[name]
	if !found {
		n = uint32(len(h.numbers))
		h.numbers[name] = n
		if n%headChunk == 0 {
			h.chunks = append(h.chunks, make([]head, headChunk))
		}
		h.chunks[n/headChunk][n%headChunk].number = n
	}
	return &h.chunks[n/headChunk][n%headChunk], !found
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
