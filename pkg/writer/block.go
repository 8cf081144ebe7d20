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
	bytes    int
	tree     event.Tree // log tree behind it
	waiting  []waiter
	pending  eventlog.Pending
	kept     map[string][]byte // the system log only (system.go)
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
	b.tree = b.tree.Append(leaves...)
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
