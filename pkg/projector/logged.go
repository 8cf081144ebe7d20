package projector

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// What left the hot tier is read from the log, or from the archive behind it, by the places that the index keeps: one read for each block, however long the log is.

// loggedBlock is a block that was read from the log.
type loggedBlock struct {
	sequence uint64
	block    *event.Block // nil: none
}

// logged reads a commit from the log, and where the aggregate's commit before it lies. A link without a block takes whatever lies there.
func (r *reading) logged(at event.Link) (c located, prev event.Link, err error) {
	if err := r.loadBlock(at.Sequence); err != nil {
		return c, prev, err
	}
	b := r.fetched.block
	if at.Block != (event.ID16{}) && b.ID != at.Block || int(at.Index) >= len(b.Records) {
		return c, prev, unlogged(r.log, at.Sequence, errors.New("another block lies there"))
	}
	record := &b.Records[at.Index]
	commit, err := event.DecodeCommit(record.Raw)
	if err != nil {
		return c, prev, unlogged(r.log, at.Sequence, err)
	}
	return located{commit, event.Link{Sequence: at.Sequence, Index: at.Index, Block: b.ID}, commit.Leaves()}, record.Prev, nil
}

// loadBlock reads a block, unless it was the last one read.
func (r *reading) loadBlock(sequence uint64) error {
	if r.fetched.block != nil && r.fetched.sequence == sequence {
		return nil
	}
	if r.source == nil {
		return problem.New(problem.Unavailable, "log %s is not open yet", r.log).WithHint("try again in a moment")
	}
	m, err := r.source.Get(r.ctx, sequence)
	var u *eventlog.UnreadableError
	switch {
	case errors.Is(err, eventlog.ErrNotFound), errors.As(err, &u):
		return unlogged(r.log, sequence, err)
	case errors.Is(err, eventlog.ErrAway):
		return problem.New(problem.Unavailable, "message %d of log %s, which left the hot tier, cannot be read: %v", sequence, r.log, err).WithHint("mount the archive, or put back what is missing (docs/archive.md), and try again; `eventful doctor` looks at it")
	case err != nil:
		return problem.New(problem.Unavailable, "message %d of log %s, which left the hot tier, cannot be read: %v", sequence, r.log, err).WithHint("try again; `eventful doctor` says whether the archive is there")
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return unlogged(r.log, sequence, err)
	}
	r.fetched, r.fetches = loggedBlock{sequence, b}, r.fetches+1
	return nil
}

// unlogged is what a query says of a block that the index names and the log does not hold.
func unlogged(log string, sequence uint64, err error) *problem.Problem {
	return problem.New(problem.Damaged, "message %d of log %s, which left the hot tier, cannot be read: %v", sequence, log, err).WithHint("`eventful doctor` says whether the archive is there, and `eventful aggregate:verify --all` names damage")
}

// coldBytes is how much of an aggregate is kept in memory while its commits are read backwards; what is more is read twice.
const coldBytes = 16 << 20

// cold gives commits that lie in the log alone, in order, beginning with the one that holds version from, until fn gives false or an error. It goes back by the links, so the cost grows with the number of commits
// from there on.
func (r *reading) cold(a event.AggregateID, from event.Version, part *coldPart, fn func(located) (bool, error)) (more bool, err error) {
	type step struct {
		at event.Link
		c  located // without a commit: to be read again
	}
	var steps []step
	size, due := 0, part.version
	for at := part.at; at != (event.Link{}); {
		c, prev, err := r.logged(at)
		if err == nil && (c.Aggregate != a || c.Last() != due || !before(prev, at) || prev != (event.Link{}) && c.First == 1) {
			err = unlogged(r.log, at.Sequence, fmt.Errorf("it does not hold version %d of %s", due, a))
		}
		if err != nil {
			return false, err
		}
		s := step{at: at}
		if size += int(c.size()); size <= coldBytes {
			s.c = c
		}
		steps = append(steps, s)
		if c.First <= from || c.First == 1 {
			break
		}
		at, due = prev, c.First-1
	}
	for i := len(steps) - 1; i >= 0; i-- {
		c := steps[i].c
		if c.Commit == nil {
			if c, _, err = r.logged(steps[i].at); err != nil {
				return false, err
			}
		}
		if more, err := fn(c); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// size is about what a commit takes in memory.
func (c *located) size() (n int) {
	n = commitBytes
	for i := range c.Events {
		n += len(c.Events[i].Payload) + commitBytes/2
	}
	return n
}

// appendPlace appends where an event lies: sequence, index, event (uvarints).
func appendPlace(b []byte, at event.Link, of uint32) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, at.Sequence), uint64(at.Index)), uint64(of))
}

// parseEventPlace is the inverse of appendPlace.
func parseEventPlace(b []byte) (at spot, err error) {
	var numbers [3]uint64
	for i := range numbers {
		v, n := binary.Uvarint(b)
		if n <= 0 || i > 0 && v > 1<<32-1 {
			return at, fmt.Errorf("index entry of a hash: %w", errContent)
		}
		numbers[i], b = v, b[n:]
	}
	return spot{numbers[0], uint32(numbers[1]), uint32(numbers[2])}, nil
}
