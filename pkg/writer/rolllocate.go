package writer

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// locate finds the cut: of a time before the first block of that time or a later one, of an event before the commit or transaction that holds it. It goes back from
// the end by the blocks' own links, so a void block cannot mislead it; it costs what lies behind the cut, which is read anyway.
func (j *rollJob) locate(ctx context.Context) *problem.Problem {
	var at event.Position
	if j.call.Position != "" {
		var err error
		if at, err = event.ParsePosition(j.call.Position); err != nil {
			return problem.New(problem.Malformed, "%v", err)
		}
	}
	until, p := j.rest(ctx)
	if p != nil || until == 0 {
		return p
	}
	if at.Sequence > until {
		return noSuchEvent(j.call)
	}
	if at.Sequence == 0 && j.call.Hash != "" {
		return j.search(ctx, until)
	}
	var found *event.Header
	var sequence uint64
	err := backwards(ctx, j.e.log, until, func(s uint64, b *event.Block) bool {
		if at.Sequence == 0 && b.Time < j.call.Before || s < at.Sequence {
			return false
		}
		found, sequence = &b.Header, s
		return true
	})
	if err != nil {
		return j.failed(err)
	}
	if at.Sequence > 0 {
		if found == nil || sequence != at.Sequence || found.ID != at.Block {
			return noSuchEvent(j.call)
		}
		return j.locateEvent(ctx, at)
	}
	if found != nil {
		j.out.Cut, j.out.Time = &cut{Sequence: sequence}, found.Time
	}
	return nil
}

func noSuchEvent(c rollCall) *problem.Problem {
	where := "at " + c.Position
	if c.Position == "" {
		where = "in a log that is to be rolled back"
	}
	return problem.New(problem.NotFound, "no event with the hash %.64s lies %s", c.Hash, where).WithHint("`eventful event:get` shows an event and where it lies")
}

// locateEvent checks that an event with the hash lies at a position, and finds the first commit of its transaction.
func (j *rollJob) locateEvent(ctx context.Context, at event.Position) *problem.Problem {
	_, commits, err := j.e.readBlock(ctx, at.Sequence, at.Block)
	if err != nil {
		return j.failed(err)
	}
	if int(at.Index) >= len(commits) {
		return noSuchEvent(j.call)
	}
	c := commits[at.Index]
	for i := range c.Events {
		if c.Leaf(i).String() == j.call.Hash {
			j.out.Cut = &cut{Sequence: at.Sequence, Index: at.Index - uint32(c.Transaction.Index)}
			j.out.Time = c.Time
			return nil
		}
	}
	return noSuchEvent(j.call)
}

// search looks for an event by its hash, from the end of the log back.
func (j *rollJob) search(ctx context.Context, until uint64) *problem.Problem {
	var failure error
	err := backwards(ctx, j.e.log, until, func(s uint64, b *event.Block) bool {
		for i := range b.Records {
			c, err := event.DecodeCommit(b.Records[i].Raw)
			if err != nil {
				failure = fmt.Errorf("read sequence %d: %w", s, err)
				return false
			}
			for k := range c.Events {
				if c.Leaf(k).String() == j.call.Hash {
					j.out.Cut, j.out.Time = &cut{Sequence: s, Index: uint32(i) - uint32(c.Transaction.Index)}, c.Time
					return false
				}
			}
		}
		return true
	})
	if err = errors.Join(failure, err); err != nil {
		return j.failed(err)
	}
	return nil
}

// backwards goes through the blocks that count, from the one at a sequence to the first, until fn gives false.
func backwards(ctx context.Context, log eventlog.Log, from uint64, fn func(uint64, *event.Block) bool) error {
	var want event.ID16
	for s := from; s > 0; s-- {
		m, err := log.Get(ctx, s)
		if err != nil {
			return fmt.Errorf("read sequence %d: %w", s, err)
		}
		b, err := event.DecodeHeader(m.Data)
		if err != nil {
			return fmt.Errorf("read sequence %d: %w", s, err)
		}
		if s != from && b.ID != want {
			continue // void
		}
		if !fn(s, b) || b.Previous.IsZero() {
			return nil
		}
		want = b.Previous
	}
	return nil
}

// chainBefore is the chain behind the last block that counts before a cut.
func chainBefore(ctx context.Context, log eventlog.Log, c cut) (event.Chain, error) {
	chain := event.Chain{}
	if c.Sequence <= 1 {
		return chain, nil
	}
	err := backwards(ctx, log, c.Sequence, func(s uint64, b *event.Block) bool {
		if s == c.Sequence {
			return true
		}
		chain = event.ChainAt(s, b.Header)
		return false
	})
	if errors.Is(err, eventlog.ErrNotFound) {
		return chain, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return chain, err
}
