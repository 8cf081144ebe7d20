package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Aggregate proves one aggregate. It walks from the newest position back by the links, reading each block that they name, and then
// recomputes leaves and roots forward from version 1. newest only says where to look: a wrong one fails the proof, but commits behind it
// are not seen. The cost is one read for each block with a commit of the aggregate, the memory 32 bytes for each event.
// The error wraps that of the log, or of ctx.
func Aggregate(ctx context.Context, log eventlog.Log, newest event.Position, a event.AggregateID) (Result, error) {
	w := walk{ctx: ctx, log: log, aggregate: a}
	at := event.Link{Sequence: newest.Sequence, Index: newest.Index, Block: newest.Block}
	for at != (event.Link{}) || len(w.steps) == 0 {
		step, failure, err := w.step(at)
		if err != nil {
			return Result{}, fmt.Errorf("verify %s: %w", a, err)
		}
		if failure != nil {
			return *failure, nil
		}
		w.steps = append(w.steps, step)
		at = step.prev
	}
	return w.forward(), nil
}

// step is what the forward pass needs of a commit.
type step struct {
	at, prev event.Link
	first    event.Version
	root     event.Hash
	site     string
	branch   uint64
	leaves   []event.Hash
	index    uint64 // of the first leaf in the log tree
	key      []byte // commitment, of a commit that has one
}

// walk reads backwards; the links never lead forward, so the block read last is the only one worth keeping.
type walk struct {
	ctx       context.Context
	log       eventlog.Log
	aggregate event.AggregateID
	steps     []step // newest first
	sequence  uint64 // of block
	block     *event.Block
}

// due is the last version that the commit to be read must hold; 0 where nothing says so.
func (w *walk) due() event.Version {
	if len(w.steps) == 0 {
		return 0
	}
	return w.steps[len(w.steps)-1].first - 1
}

func (w *walk) step(at event.Link) (step, *Result, error) {
	failure, err := w.read(at.Sequence)
	if failure != nil || err != nil {
		return step{}, failure, err
	}
	if w.block.ID != at.Block {
		return step{}, w.fail(Tampered, at, w.due(), "message %d holds block %s, where block %s is looked for", at.Sequence, w.block.ID, at.Block), nil
	}
	if int(at.Index) >= len(w.block.Records) {
		return step{}, w.fail(Tampered, at, w.due(), "block %s has %d commits, none at index %d", at.Block, len(w.block.Records), at.Index), nil
	}
	record := &w.block.Records[at.Index]
	c, err := event.DecodeCommit(record.Raw)
	if err != nil {
		return step{}, w.fail(Unreadable, at, w.due(), "commit %d of message %d: %v", at.Index, at.Sequence, err), nil
	}
	if failure := w.check(at, record.Prev, c); failure != nil {
		return step{}, failure, nil
	}
	return step{at: at, prev: record.Prev, first: c.First, root: c.Root, site: c.Site, branch: c.Branch, leaves: c.Leaves(), index: w.indexOf(at.Index), key: c.KeyCommitment}, nil, nil
}

// indexOf is where the first event of a commit of the block stands in the log tree, as the block's size says. It is a hint, as nothing here proves it: what it is
// used for fails where it is wrong.
func (w *walk) indexOf(commit uint32) uint64 {
	index := w.block.TreeSize
	for _, r := range w.block.Records[commit:] {
		n, err := event.EventsOf(r.Raw)
		if err != nil || n > index {
			return 0
		}
		index -= n
	}
	return index
}

// check holds what a commit says against its block, its link, and the commit that linked to it.
func (w *walk) check(at, prev event.Link, c *event.Commit) *Result {
	switch due := w.due(); {
	case c.Aggregate != w.aggregate:
		return w.fail(Tampered, at, due, "commit %d of message %d is of %s", at.Index, at.Sequence, c.Aggregate)
	case c.Time != w.block.Time:
		return w.fail(Tampered, at, c.First, "the commit has the time %d, its block %d", c.Time, w.block.Time)
	case len(w.steps) > 0 && c.Last() != due:
		return w.fail(Tampered, at, c.First, "the commit ends at version %d, the next one begins at %d", c.Last(), due+1)
	case c.First == 1 && prev != event.Link{}:
		return w.fail(Tampered, at, 1, "the first commit links to message %d", prev.Sequence)
	case c.First > 1 && prev == event.Link{}:
		return w.fail(Tampered, at, c.First, "the commit begins at version %d and links to no earlier one", c.First)
	case prev.Sequence > at.Sequence || prev.Sequence == at.Sequence && prev.Index >= at.Index:
		return w.fail(Tampered, at, c.First, "its link leads forward, to message %d", prev.Sequence)
	}
	return nil
}

func (w *walk) read(sequence uint64) (*Result, error) {
	if w.block != nil && w.sequence == sequence {
		return nil, nil
	}
	at := event.Link{Sequence: sequence}
	m, err := w.log.Get(w.ctx, sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return w.missing(at)
	}
	var u *eventlog.UnreadableError
	if errors.As(err, &u) {
		return w.fail(Unreadable, at, w.due(), "%v", u), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read message %d: %w", sequence, err)
	}
	w.sequence = sequence
	if w.block, err = event.DecodeHeader(m.Data); err != nil {
		w.block = nil
		return w.fail(Unreadable, at, w.due(), "message %d: %v", sequence, err), nil
	}
	return nil, nil
}

func (w *walk) missing(at event.Link) (*Result, error) {
	first, last, err := w.log.Bounds(w.ctx)
	if err != nil {
		return nil, fmt.Errorf("read the bounds: %w", err)
	}
	switch {
	case at.Sequence > last:
		return w.fail(Truncated, at, w.due(), "message %d is missing: the log ends at %d", at.Sequence, last), nil
	case at.Sequence < first:
		return w.fail(Truncated, at, w.due(), "message %d is missing: the log begins at %d", at.Sequence, first), nil
	}
	return w.fail(Unreadable, at, w.due(), "message %d is missing", at.Sequence), nil
}

// forward recomputes the tree from version 1 and holds it against every stated root.
func (w *walk) forward() Result {
	var tree event.Tree
	var keys []event.Hash
	var leaves []Leaf
	oldest := w.steps[len(w.steps)-1]
	for i := len(w.steps) - 1; i >= 0; i-- {
		s := w.steps[i]
		if s.site != oldest.site || s.branch != oldest.branch {
			return *w.fail(Tampered, s.at, s.first, "%s", originDetail(s.site, s.branch, oldest.site, oldest.branch))
		}
		tree = tree.Append(s.leaves...)
		for k, h := range s.leaves {
			leaves = append(leaves, Leaf{Index: s.index + uint64(k), Version: s.first + event.Version(k), Hash: h})
		}
		if len(s.key) == len(event.Hash{}) && !slices.Contains(keys, event.Hash(s.key)) {
			keys = append(keys, event.Hash(s.key))
		}
		if got := tree.Root(); got != s.root {
			return *w.fail(Tampered, s.at, s.first, "%s", rootDetail(s.first, len(s.leaves), s.root, got))
		}
	}
	newest := w.steps[0]
	version := newest.first + event.Version(len(newest.leaves)) - 1
	return Result{Log: w.log.Name(), Aggregate: w.aggregate, Verdict: OK, Version: version, Root: newest.root, Sequence: newest.at.Sequence, Keys: keys, Leaves: leaves}
}

func (w *walk) fail(v Verdict, at event.Link, version event.Version, format string, args ...any) *Result {
	return &Result{Log: w.log.Name(), Aggregate: w.aggregate, Verdict: v, Version: version, Sequence: at.Sequence, Detail: fmt.Sprintf(format, args...)}
}

func originDetail(site string, branch uint64, wantSite string, wantBranch uint64) string {
	return fmt.Sprintf("the commit is of site %s, branch %d; the aggregate is of site %s, branch %d", site, branch, wantSite, wantBranch)
}

// rootDetail names a version, or says that it is one of several: a root is stated once for each commit.
func rootDetail(first event.Version, events int, stated, got event.Hash) string {
	what := fmt.Sprintf("version %d", first)
	if events > 1 {
		what = fmt.Sprintf("one of the versions %d to %d (one commit)", first, int(first)+events-1)
	}
	return fmt.Sprintf("%s was changed: the stored bytes give the root %s, the commit states %s", what, got, stated)
}
