package writer

import (
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// openBlock is a block that commands are being placed in, and later the same block in flight. It belongs to the engine's goroutine.
type openBlock struct {
	event.Block
	sequence uint64 // predicted: the place it is going to be stored at
	items    []item
	leaves   [][]event.Hash // of each item
	hashes   []event.Hash   // all of them
	encoded  []byte         // memory of the records
	bytes    int
	tree     event.Tree // log tree before it; behind it once it is sealed
	waiting  []waiter
	pending  eventlog.Pending
	kept     map[string][]byte // the system log only (system.go)
}

// newBlock makes room for as many commits as are likely to come.
func newBlock(sequence uint64, before event.Tree, likely int) *openBlock {
	b := &openBlock{sequence: sequence, tree: before}
	likely += likely / 8
	b.Records, b.items, b.leaves = make([]event.Record, 0, likely), make([]item, 0, likely), make([][]event.Hash, 0, likely)
	b.hashes, b.waiting = make([]event.Hash, 0, likely), make([]waiter, 0, likely)
	return b
}

// waiter is a command whose answer leaves when its block is acknowledged: its commits are items[from:to].
type waiter struct {
	from, to int
	repeated bool
	then     func() // instead of an answer: a refusal or dry run that rests on this block
	reply    reply
}

// takes reports whether n commits of together size bytes still fit. An empty block takes a transaction of any size.
func (b *openBlock) takes(n, size int) bool {
	return len(b.items) == 0 || len(b.items)+n <= event.MaxBlockCommits && b.bytes+size <= event.MaxBlockBytes
}

// place adds an encoded commit, its link and what it leads to.
func (b *openBlock) place(raw []byte, leaves []event.Hash, prev event.Link, it item) {
	r := event.Record{Prev: prev, Raw: raw}
	b.Records = append(b.Records, r)
	b.items = append(b.items, it)
	b.leaves = append(b.leaves, leaves)
	b.bytes += r.Size()
}

// hash gives the leaves of a commit that is about to be placed.
func (b *openBlock) hash(c *event.Commit) []event.Hash {
	from := len(b.hashes)
	b.hashes = c.AppendLeaves(b.hashes)
	return b.hashes[from:len(b.hashes):len(b.hashes)]
}

// encode gives the bytes of a commit that is about to be placed. They lie in a chunk that the next ones share.
func (b *openBlock) encode(c *event.Commit) ([]byte, error) {
	if size := c.RoughSize(); cap(b.encoded)-len(b.encoded) < size {
		b.encoded = make([]byte, 0, max(size, min(2*cap(b.encoded), event.MaxBlockBytes)))
	}
	from := len(b.encoded)
	var err error
	b.encoded, err = c.AppendEncoded(b.encoded)
	return b.encoded[from:len(b.encoded):len(b.encoded)], err
}

// release gives the memory of the records back, once the block is encoded; their links stay.
func (b *openBlock) release() []byte {
	for i := range b.Records {
		b.Records[i].Raw = nil
	}
	memory := b.encoded[:0]
	b.encoded = nil
	return memory
}

// seal ends the block: its header says what the log's tree is behind it.
func (b *openBlock) seal() {
	b.tree = b.tree.Append(b.hashes...)
	b.TreeSize, b.TreeRoot = b.tree.Size(), b.tree.Root()
}

func (b *openBlock) chain() event.Chain { return event.ChainAt(b.sequence, b.Header) }

func (b *openBlock) stored() stored {
	return stored{sequence: b.sequence, header: b.Header, items: b.items, kept: b.kept}
}

// answer tells every waiting command that what it rests on is on disk.
func (b *openBlock) answer(log string) {
	for _, w := range b.waiting {
		if w.then != nil {
			w.then()
		} else {
			w.reply(b.answerTo(log, w), nil)
		}
	}
}

func (b *openBlock) answerTo(log string, w waiter) *Answer {
	commits := make([]CommitAnswer, 0, w.to-w.from)
	for i := w.from; i < w.to; i++ {
		p := event.Position{Log: log, Sequence: b.sequence, Index: uint32(i), Block: b.ID}
		commits = append(commits, commitAnswer(b.items[i].commit, b.leaves[i], p))
	}
	a := answerOf(b.items[w.from].commit.CommandID, b.Time, commits)
	a.Repeated = w.repeated
	return a
}

// fall tells every waiting command that nothing of it was stored.
func (b *openBlock) fall(p *problem.Problem) {
	for _, w := range b.waiting {
		w.reply(nil, p)
	}
}
