package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// scan is the state of All: what it must know of everything read so far. It is for one goroutine.
type scan struct {
	log      eventlog.Log
	report   Report
	heads    *heads
	origins  []string // site names, by their numbers
	numbers  map[string]uint32
	tree     event.Tree // of the log
	treeLost bool       // damage or a mismatch ended the check of the log tree
	signed   []Signed   // by size: what the tree was not held against yet
	last     event.ID16 // id of the last block that counted
	sequence uint64     // of the last message looked at
	gaps     []stretch  // messages that are missing or that do not decode, ascending
	void     *voidRun   // void blocks directly behind one another, not reported yet
	again    bool       // the log was read before: only aggregates are looked at that were left then
}

type stretch struct{ from, to uint64 }

func newScan(log eventlog.Log, o Options) *scan {
	signed := slices.Clone(o.Signed)
	slices.SortStableFunc(signed, func(a, b Signed) int { return cmp.Compare(a.Size, b.Size) })
	return &scan{log: log, signed: signed, report: Report{Log: log.Name()}, heads: newHeads(cmp.Or(o.Aggregates, defaultAggregates)), numbers: map[string]uint32{}}
}

func (s *scan) message(ctx context.Context, f eventlog.Found) error {
	if f.Missing && s.sequence+1 < f.Sequence { // else it is told already why they did not come
		s.endVoid()
		s.missing(s.sequence+1, f.Sequence-1)
	}
	s.sequence = f.Sequence
	switch f.Standing {
	case event.Counts:
		s.endVoid()
		s.block(f.Sequence, f.Block, f.Commits)
	case event.Void:
		s.addVoid(f.Sequence, f.Block, f.Commits)
	case event.Damaged:
		s.endVoid()
		return s.damaged(ctx, f.Sequence, f.Err)
	default:
		return fmt.Errorf("message %d: unexpected standing %q", f.Sequence, f.Standing)
	}
	return nil
}

// block checks a block that counts.
func (s *scan) block(sequence uint64, b *event.Block, commits []*event.Commit) {
	var leaves []event.Hash
	for i, c := range commits {
		if s.again && !s.heads.holds(c.Aggregate) {
			continue
		}
		own := c.Leaves()
		s.commit(event.Link{Sequence: sequence, Index: uint32(i), Block: b.ID}, b.Records[i].Prev, c, own)
		if i == 0 {
			leaves = own[:len(own):len(own)]
		} else {
			leaves = append(leaves, own...)
		}
	}
	s.report.Blocks++
	s.report.Events += uint64(len(leaves))
	s.last = b.ID
	s.logTree(sequence, b, leaves)
}

func (s *scan) logTree(sequence uint64, b *event.Block, leaves []event.Hash) {
	if s.treeLost {
		return
	}
	from := s.tree.Size()
	for ; len(s.signed) > 0 && s.signed[0].Size <= from+uint64(len(leaves)); s.signed = s.signed[1:] {
		n := s.signed[0].Size - s.tree.Size()
		s.tree, leaves, from = s.tree.Append(leaves[:n]...), leaves[n:], s.signed[0].Size
		s.met(sequence, s.signed[0])
	}
	s.tree = s.tree.Append(leaves...)
	root := s.tree.Root()
	if s.tree.Size() == b.TreeSize && root == b.TreeRoot {
		return
	}
	s.treeLost = true
	s.damage(sequence, sequence, Tampered, "the log tree does not hold: all leaves up to message %d give size %d and root %s, block %s states size %d and root %s; the log tree is not followed further",
		sequence, s.tree.Size(), root, b.ID, b.TreeSize, b.TreeRoot)
}

// met holds the tree, which has the size of a checkpoint, against it.
func (s *scan) met(sequence uint64, c Signed) {
	if root := s.tree.Root(); root != c.Root {
		s.damage(sequence, sequence, Forked, "the first %d events of the log, up to message %d, give the root %s; a signed checkpoint states %s: other events stood here when it was signed",
			c.Size, sequence, root, c.Root)
		return
	}
	s.report.Covered = c.Size
	s.report.Witnessed = s.report.Witnessed || c.Witnessed
}

// unmet reports checkpoints of more events than the log has.
func (s *scan) unmet(last uint64) {
	if s.treeLost || len(s.signed) == 0 {
		return
	}
	c := s.signed[len(s.signed)-1]
	s.damage(last, last, Truncated, "the log has %d events, a signed checkpoint vouches for %d", s.tree.Size(), c.Size)
}

// commit checks one commit against its aggregate's head and moves the head on.
func (s *scan) commit(at, prev event.Link, c *event.Commit, leaves []event.Hash) {
	h, fresh := s.heads.make(c.Aggregate)
	if h == nil {
		return // another time
	}
	if fresh {
		h.site, h.branch = s.origin(c.Site), c.Branch
	}
	if h.failed {
		return
	}
	if !s.follows(h, at, prev, c) {
		return
	}
	if root := s.heads.grow(h, leaves); root != c.Root {
		s.fail(h, c.Aggregate, Tampered, c.First, at.Sequence, rootDetail(c.First, len(leaves), c.Root, root))
		return
	}
	h.last, h.at = c.Last(), at
}

// follows checks version, link and origin of a commit; what it finds wrong it reports.
func (s *scan) follows(h *head, at, prev event.Link, c *event.Commit) bool {
	gap := s.gapAt(prev.Sequence)
	switch {
	case c.First > h.last+1 && gap != nil:
		s.fail(h, c.Aggregate, Unreadable, h.last+1, prev.Sequence,
			fmt.Sprintf("the versions up to %d lay in message %d, which is missing or cannot be read", c.First-1, prev.Sequence))
	case c.First != h.last+1:
		s.fail(h, c.Aggregate, Tampered, c.First, at.Sequence, fmt.Sprintf("the commit begins at version %d, the one before it ends at %d", c.First, h.last))
	case prev != h.at && (gap == nil || prev.Sequence != h.at.Sequence || prev.Index != h.at.Index): // the id of a damaged block is reported already
		s.fail(h, c.Aggregate, Tampered, c.First, at.Sequence, fmt.Sprintf("its link names commit %d of message %d, block %s; the commit before it is commit %d of message %d, block %s",
			prev.Index, prev.Sequence, prev.Block, h.at.Index, h.at.Sequence, h.at.Block))
	case c.Site != s.origins[h.site] || c.Branch != h.branch:
		s.fail(h, c.Aggregate, Tampered, c.First, at.Sequence, originDetail(c.Site, c.Branch, s.origins[h.site], h.branch))
	default:
		return true
	}
	return false
}

// origin is the number of a site name.
func (s *scan) origin(site string) uint32 {
	n, known := s.numbers[site]
	if !known {
		n, site = uint32(len(s.origins)), strings.Clone(site)
		s.origins, s.numbers[site] = append(s.origins, site), n
	}
	return n
}

// fail reports the first failure of an aggregate.
func (s *scan) fail(h *head, a event.AggregateID, v Verdict, version event.Version, sequence uint64, detail string) {
	if h.failed {
		return
	}
	*h = head{number: h.number, failed: true}
	s.report.Failed = append(s.report.Failed, Result{Log: s.report.Log, Aggregate: a, Verdict: v, Version: version, Sequence: sequence, Detail: detail})
}

func (s *scan) damage(from, to uint64, v Verdict, format string, args ...any) {
	s.report.Damage = append(s.report.Damage, Finding{From: from, To: to, Verdict: v, Detail: fmt.Sprintf(format, args...)})
}

// missing reports sequence numbers without a message.
func (s *scan) missing(from, to uint64) {
	s.gaps = append(s.gaps, stretch{from, to})
	s.treeLost = true
	verdict := Unreadable
	if from == 1 {
		verdict = Truncated
	}
	s.damage(from, to, verdict, "%s missing", messages(from, to))
}

// unreadable reports messages that cannot be read where they are kept; false: err is something else.
func (s *scan) unreadable(err error) bool {
	var u *eventlog.UnreadableError
	if !errors.As(err, &u) {
		return false
	}
	s.endVoid()
	s.gaps = append(s.gaps, stretch{u.From, u.To})
	s.treeLost, s.sequence = true, u.To
	s.report.Damage = append(s.report.Damage, Finding{From: u.From, To: u.To, Verdict: Unreadable, Detail: u.Error(), Elsewhere: true})
	return true
}

// newer reports a message of a format version that this program does not know, with all that lies behind it.
func (s *scan) newer(sequence, end uint64, err error) {
	s.endVoid()
	s.damage(sequence, end, Unreadable, "message %d has a newer format, so %s not checked: %v", sequence, messages(sequence, end), err)
}

func messages(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("message %d is", from)
	}
	return fmt.Sprintf("messages %d to %d are", from, to)
}

// gapAt gives the stretch of damage that holds a sequence, or nil. Damage is rare, and links mostly lead a short way back.
func (s *scan) gapAt(sequence uint64) *stretch {
	for i := len(s.gaps) - 1; i >= 0; i-- {
		if g := &s.gaps[i]; sequence >= g.from && sequence <= g.to {
			return g
		}
	}
	return nil
}

// voidRun is a run of void blocks without another message between.
type voidRun struct {
	from, to uint64
	newest   event.ID16
	chained  bool // a block of it names the one before it in the run as its predecessor
	fitting  bool // its first block fits the last block that counted, by its id or by the log tree, and yet does not continue it
}

// addVoid keeps void blocks until their run ends. A single one is what a writer that lost its place leaves behind. A block that names the last
// one that counted, or whose events continue the log tree, or a chain of void blocks, no writer leaves: somebody changed a header.
func (s *scan) addVoid(sequence uint64, b *event.Block, commits []*event.Commit) {
	if s.void != nil && b.Previous == s.void.newest {
		s.void.to, s.void.newest, s.void.chained = sequence, b.ID, true
		return
	}
	s.endVoid()
	s.void = &voidRun{from: sequence, to: sequence, newest: b.ID, fitting: b.Previous == s.last || s.continuesTree(b, commits)}
}

// continuesTree reports whether a block that is void has the events that the log tree states for it. One without events proves nothing.
func (s *scan) continuesTree(b *event.Block, commits []*event.Commit) bool {
	if s.treeLost || len(commits) == 0 {
		return false
	}
	tree := s.tree
	for _, c := range commits {
		tree = tree.Append(c.Leaves()...)
	}
	return tree.Size() == b.TreeSize && tree.Root() == b.TreeRoot
}

func (s *scan) endVoid() {
	v := s.void
	if v == nil {
		return
	}
	s.void = nil
	detail := fmt.Sprintf("%s void: not a continuation of the last block that counts (%s)", messages(v.from, v.to), s.last)
	s.report.Void = append(s.report.Void, Finding{From: v.from, To: v.to, Verdict: Unreadable, Detail: detail})
	switch {
	case v.fitting:
		s.damage(v.from, v.to, Tampered, "%s void, and yet message %d fits the block before it: a header was changed (block id, predecessor, tree size, epoch or time)", messages(v.from, v.to), v.from)
	case v.chained:
		s.damage(v.from, v.to, Tampered, "%s void, and continue one another: a header was changed at message %d or before it", messages(v.from, v.to), v.from)
	}
}

// damaged reports a message that does not decode, and saves of it what can be read.
func (s *scan) damaged(ctx context.Context, sequence uint64, cause error) error {
	s.damage(sequence, sequence, Unreadable, "message %d: %v", sequence, cause)
	m, err := s.log.Get(ctx, sequence)
	if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
		return fmt.Errorf("read message %d again: %w", sequence, err)
	}
	s.salvage(sequence, m.Data)
	return nil
}
