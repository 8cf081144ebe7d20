package projector

import (
	"slices"
	"sort"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
)

// tail is what an index holds in memory: the blocks that are not in its store yet. When it is flushed a new one takes its place; queries that
// hold the old one go on reading it. One goroutine adds, others read.
type tail struct {
	mu         sync.RWMutex // guards what follows
	aggregates map[event.AggregateID]*tailed
	hashes     []tailHash
	commits    []tailPlace // in the order of the log
	blocks     []tailBlock
	runs       []tailRun
	posts      [len(postingKinds)][]hashed         // by kind, in the order of the log; at is the place in commits
	tiers      map[event.AggregateID]tierInfo      // what the tail says of them
	cools      map[event.AggregateID]event.Version // whose events leave the hot tier, up to which version
	bytes      int

	fresh  []tailed      // room for aggregates
	fields []event.Field // of the event that is being folded
}

// tailed is an aggregate with its commits in a tail, in the order of the log.
type tailed struct {
	name    event.AggregateID
	commits []tailCommit
	delta   delta
	one     [1]tailCommit // memory of commits, while it is one
	slot    int           // of its first commit among the records: the flush's alone
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
	leaf          *event.Hash
	commit, event int32
}

func (h *tailHash) hash() *event.Hash { return h.leaf }

func (h tailHash) version() event.Version {
	return h.of.commits[h.commit].first + event.Version(h.event)
}

// tailPlace is where a commit lies, and its first event in hashes.
type tailPlace struct {
	sequence     uint64
	index, first uint32
}

type tailBlock struct {
	sequence uint64
	id       event.ID16
	time     event.Time
}

// Sizes from which on a tail is flushed. The more it holds, the more of an aggregate's commits share a record and an entry; so few logs get more each than many do.
// commitBytes is what a commit takes besides its bytes, about.
const (
	tailBytes     = 8 << 20
	mostTailBytes = 16 << 20
	allTailBytes  = 64 << 20
	commitBytes   = 500
)

// tailShare is the size of a tail for each of so many logs.
func tailShare(logs int) int { return max(tailBytes, min(mostTailBytes, allTailBytes/max(logs, 1))) }

// newTail makes one with room for as much as another one held, nil for none.
func newTail(like *tail) *tail {
	if like == nil {
		return &tail{aggregates: map[event.AggregateID]*tailed{}, tiers: map[event.AggregateID]tierInfo{}, cools: map[event.AggregateID]event.Version{}}
	}
	t := &tail{tiers: map[event.AggregateID]tierInfo{}, cools: map[event.AggregateID]event.Version{}, aggregates: make(map[event.AggregateID]*tailed, len(like.aggregates)), hashes: make([]tailHash, 0, len(like.hashes)),
		commits: make([]tailPlace, 0, len(like.commits)), blocks: make([]tailBlock, 0, len(like.blocks))}
	for i := range t.posts {
		t.posts[i] = make([]hashed, 0, len(like.posts[i]))
	}
	return t
}

// tailSlab is for how many aggregates room is made at once.
const tailSlab = 64

// take gives an aggregate of the tail, which is made if it is not there; the caller holds mu.
func (t *tail) take(a event.AggregateID) (of *tailed, fresh bool) {
	if of = t.aggregates[a]; of != nil {
		return of, false
	}
	if len(t.fresh) == 0 {
		t.fresh = make([]tailed, tailSlab)
	}
	of, t.fresh = &t.fresh[0], t.fresh[1:]
	of.name, of.commits = a, of.one[:0]
	t.aggregates[a] = of
	return of, true
}

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
		of, fresh := t.take(c.Aggregate)
		if fresh {
			learning.known(c.Aggregate)
		}
		t.post(c, spot{sequence: sequence, index: uint32(i)})
		raw, start := b.Records[i].Raw, len(leaves)
		leaves = c.AppendLeaves(leaves)
		for k := range c.Events {
			t.hashes = append(t.hashes, tailHash{of, &leaves[start+k], int32(len(of.commits)), int32(k)})
		}
		at := event.Link{Sequence: sequence, Index: uint32(i), Block: b.ID}
		of.commits = append(of.commits, tailCommit{at, c.First, leaves[start:len(leaves):len(leaves)], raw})
		t.move(c)
		t.fields = of.delta.take(c, learning.deletes, t.fields)
		t.bytes += len(raw) + commitBytes
	}
}

// move notes what a commit says of tiers; the caller holds mu. What comes later counts.
func (t *tail) move(c *event.Commit) {
	if a, info, found := tierOf(c); found {
		t.tiers[a] = info
		delete(t.cools, a)
	}
	if a, upTo, found := coolOf(c); found {
		t.cools[a] = upTo
	}
}

// moves reports whether the tail says something of tiers.
func (t *tail) moves() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.tiers)+len(t.cools) > 0
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
func (t *tail) from(s spot, limit int) []tailCommit {
	t.mu.RLock()
	defer t.mu.RUnlock()
	from := sort.Search(len(t.commits), func(i int) bool { return !t.commits[i].before(s) })
	out := make([]tailCommit, min(limit, len(t.commits)-from))
	for i := range out {
		out[i] = t.commit(uint32(from + i))
	}
	return out
}

// before reports whether a commit lies before a spot.
func (p *tailPlace) before(s spot) bool {
	return p.sequence < s.sequence || p.sequence == s.sequence && p.index < s.index
}

// commit gives one by its place in commits; the caller holds mu.
func (t *tail) commit(at uint32) tailCommit {
	h := t.hashes[t.commits[at].first]
	return h.of.commits[h.commit]
}

func (t *tail) full(limit int) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.bytes >= limit
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
