package projector

import (
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
)

// tail is what an index holds in memory: the blocks that are not in its store yet. When it is flushed a new one takes its place; queries that
// hold the old one go on reading it. One goroutine adds, others read.
type tail struct {
	mu         sync.RWMutex // guards what follows
	aggregates map[event.AggregateID]*tailed
	hashes     []tailHash
	blocks     []tailBlock
	runs       []tailRun
	posts      []post // in the order of the log
	bytes      int
}

// tailed is an aggregate with its commits in a tail, in the order of the log.
type tailed struct {
	name    event.AggregateID
	commits []tailCommit
	delta   delta
}

// tailCommit is a commit as it is stored, with the leaf hashes of its events. It shares the memory of its message or record.
type tailCommit struct {
	at     event.Link
	first  event.Version
	leaves []event.Hash
	raw    []byte
}

// tailHash leads to an event: the one at event in the commit at commit.
type tailHash struct {
	of            *tailed
	commit, event int32
}

func (h tailHash) hash() *event.Hash { return &h.of.commits[h.commit].leaves[h.event] }

func (h tailHash) version() event.Version {
	return h.of.commits[h.commit].first + event.Version(h.event)
}

type tailBlock struct {
	sequence uint64
	id       event.ID16
	time     event.Time
}

// tailBytes is the size from which on a tail is flushed, and commitBytes what a commit in it takes besides its bytes, about.
const (
	tailBytes   = 8 << 20
	commitBytes = 500
)

func newTail() *tail { return &tail{aggregates: map[event.AggregateID]*tailed{}} }

// learning is what a tail needs to know to take a block.
type learning struct {
	known   func(event.AggregateID)                                         // is told each aggregate that the tail did not hold
	deletes func(aggregateType string, e *event.Event) (ends, certain bool) // whether an event ends its aggregate
}

// add takes a block that counts.
func (t *tail) add(sequence uint64, b *event.Block, commits []*event.Commit, learning learning) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks = append(t.blocks, tailBlock{sequence, b.ID, b.Time})
	t.bytes += commitBytes
	events := 0
	for _, c := range commits {
		events += len(c.Events)
	}
	t.grow(b.TreeSize, events)
	leaves := make([]event.Hash, 0, events)
	for i, c := range commits {
		of := t.aggregates[c.Aggregate]
		if of == nil {
			of = &tailed{name: c.Aggregate}
			t.aggregates[c.Aggregate] = of
			learning.known(c.Aggregate)
		}
		raw, start := b.Records[i].Raw, len(leaves)
		leaves = c.AppendLeaves(leaves)
		for k := range c.Events {
			t.hashes = append(t.hashes, tailHash{of, int32(len(of.commits)), int32(k)})
		}
		at := event.Link{Sequence: sequence, Index: uint32(i), Block: b.ID}
		of.commits = append(of.commits, tailCommit{at, c.First, leaves[start:len(leaves):len(leaves)], raw})
		of.delta.take(c, func(e *event.Event) (ends, known bool) { return learning.deletes(c.Aggregate.Type, e) })
		t.post(c, spot{sequence: sequence, index: uint32(i)})
		t.bytes += len(raw) + commitBytes
	}
}

// delta gives what the tail changes of an aggregate, and the first version that it holds.
func (t *tail) delta(a event.AggregateID) (d delta, first event.Version, found bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	of := t.aggregates[a]
	if of == nil {
		return d, 0, false
	}
	return of.delta.clone(), of.commits[0].first, true
}

// from gives commits in the order of the log, at most limit of them, beginning with the first that is not before a spot.
func (t *tail) from(s spot, limit int) (out []tailCommit) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, h := range t.hashes[t.search(s):] {
		if len(out) == limit {
			break
		}
		if h.event == 0 {
			out = append(out, h.of.commits[h.commit])
		}
	}
	return out
}

// search gives the place in hashes of the first event that is not before a spot; the caller holds mu.
func (t *tail) search(s spot) int {
	return sort.Search(len(t.hashes), func(i int) bool {
		at := t.hashes[i].of.commits[t.hashes[i].commit].at
		return at.Sequence > s.sequence || at.Sequence == s.sequence && at.Index >= s.index
	})
}

// at gives the commit at a spot, which the tail holds; the caller holds mu.
func (t *tail) at(s spot) tailCommit {
	h := t.hashes[t.search(s)]
	return h.of.commits[h.commit]
}

func (t *tail) full() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.bytes >= tailBytes
}

func (t *tail) empty() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.blocks) == 0
}

// of gives an aggregate's commits in the tail. They must not be changed.
func (t *tail) of(a event.AggregateID) []tailCommit {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if of := t.aggregates[a]; of != nil {
		return of.commits
	}
	return nil
}

// ids gives the ids of one type behind after, ascending.
func (t *tail) ids(aggregateType, after string) []string {
	t.mu.RLock()
	var ids []string
	for a := range t.aggregates {
		if a.Type == aggregateType && a.ID > after {
			ids = append(ids, a.ID)
		}
	}
	t.mu.RUnlock()
	slices.Sort(ids)
	return ids
}

// block gives the id of the block that counted at a sequence.
func (t *tail) block(sequence uint64) (event.ID16, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, found := slices.BinarySearchFunc(t.blocks, sequence, func(b tailBlock, s uint64) int {
		switch {
		case b.sequence < s:
			return -1
		case b.sequence > s:
			return 1
		}
		return 0
	})
	if !found {
		return event.ID16{}, false
	}
	return t.blocks[i].id, true
}

// last gives the newest block.
func (t *tail) last() (b tailBlock, found bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := len(t.blocks); n > 0 {
		return t.blocks[n-1], true
	}
	return b, false
}

// byPrefix gives at most limit events whose hash begins with a prefix.
func (t *tail) byPrefix(prefix hexPrefix, limit int, may func(event.AggregateID) bool) (out []hashMatch) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, h := range t.hashes {
		if hash := h.hash(); prefix.begins(hash[:]) && len(out) < limit && (may == nil || may(h.of.name)) {
			out = append(out, hashMatch{hash: *hash, aggregate: h.of.name, version: h.version()})
		}
	}
	return out
}

// sorted gives the aggregates in the order of their keys. It is for the goroutine that adds.
func (t *tail) sorted() []*tailed {
	out := make([]*tailed, 0, len(t.aggregates))
	for _, of := range t.aggregates {
		out = append(out, of)
	}
	slices.SortFunc(out, func(a, b *tailed) int {
		if c := strings.Compare(a.name.Type, b.name.Type); c != 0 {
			return c
		}
		return strings.Compare(a.name.ID, b.name.ID)
	})
	return out
}
