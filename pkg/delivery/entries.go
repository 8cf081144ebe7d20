package delivery

import (
	"context"
	"errors"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// entries are the numbers under which changes of a partition were parked when they were read, by leaf hash. Changes come again, in a replay or behind a crash, and one that is parked is to be
// parked once. What this process parks since needs no place here: the same change is not delivered twice under one configuration.
type entries struct {
	mu      sync.Mutex            // guards numbers
	numbers map[event.Hash]uint64 // nil: they were not read yet
}

func (e *entries) add(number uint64, one Parked) {
	if leaf, err := event.ParseHash(one.Leaf); err == nil {
		e.numbers[leaf] = number
	}
}

// drop takes out a change that is not parked any more.
func (e *entries) drop(leaf event.Hash) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.numbers, leaf)
}

// entry gives the number under which a change is parked; 0: it is not. What is parked is read when it is asked for the first time: most partitions never do.
func (p *partition) entry(ctx context.Context, i *item) (uint64, error) {
	e := &p.entries
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.numbers == nil {
		numbers := entries{numbers: map[event.Hash]uint64{}}
		err := p.eachParked(ctx, 1, func(number uint64, one Parked, _ event.AggregateID) (bool, error) {
			numbers.add(number, one)
			return true, nil
		})
		if err != nil {
			return 0, err
		}
		e.numbers = numbers.numbers
	}
	return e.numbers[i.change.Leaf], nil
}

// parkOnce parks a change that no retry brought. One that is parked already gets its new cause; with --on-error=block, where the order of the numbers is that of the retries, it stays as it is.
func (p *partition) parkOnce(ctx context.Context, i *item, cause error, behind bool) error {
	number, err := p.entry(ctx, i)
	switch {
	case err != nil:
		return err
	case number == 0:
		return p.park(ctx, i, 0, cause, behind)
	case p.w.how.block:
		i.kept = true
		return nil
	}
	return p.parkAnew(ctx, i, number, cause)
}

// parkAnew parks a change with its new cause in place of a former one. A crash in between leaves both. Where the former one is gone somebody purged it, or this was done and nobody heard of it.
func (p *partition) parkAnew(ctx context.Context, i *item, former uint64, cause error) error {
	switch at, _, err := p.dead.Next(ctx, p.t.name, former); {
	case errors.Is(err, eventlog.ErrNotFound) || err == nil && at != former:
		return nil
	case err != nil:
		return err
	}
	if err := p.park(ctx, i, former, cause, false); err != nil {
		return err
	}
	return p.dead.Remove(ctx, former)
}

// arrived drops what is parked, under a number or as it may be behind a replay, of a change that is at its target now.
func (p *partition) arrived(ctx context.Context, i *item) error {
	number, err := i.parked, error(nil)
	if number == 0 {
		number, err = p.entry(ctx, i)
	}
	if err != nil || number == 0 {
		return err
	}
	if err = p.dead.Remove(ctx, number); err == nil {
		p.entries.drop(i.change.Leaf)
	}
	return err
}
