package projector

import (
	"context"
	"errors"
	"iter"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// walkOnly gives the commits of some aggregates in the order of the log, beginning with the first that is not before a spot, until fn gives false or an error. Its cost depends on them, not on
// the log.
func (r *reading) walkOnly(ctx context.Context, only []event.AggregateID, from spot, fn func(located) (bool, error)) error {
	var failure error
	heads := make([]*head, 0, len(only))
	for _, a := range only {
		h := &head{}
		h.next, h.stop = iter.Pull(r.commitsFrom(ctx, a, from.commit(), &failure))
		defer h.stop()
		if h.move() {
			heads = append(heads, h)
		}
	}
	for len(heads) > 0 && failure == nil {
		first := 0
		for i := range heads {
			if spotOf(heads[i].c.at).compare(spotOf(heads[first].c.at)) < 0 {
				first = i
			}
		}
		if more, err := fn(heads[first].c); err != nil || !more {
			return err
		}
		if !heads[first].move() {
			heads = append(heads[:first], heads[first+1:]...)
		}
	}
	return failure
}

// head is the next commit of one of several aggregates.
type head struct {
	next func() (located, bool)
	stop func()
	c    located
}

func (h *head) move() (ok bool) {
	h.c, ok = h.next()
	return ok
}

// commitsFrom gives the commits of one aggregate that are not before a spot.
func (r *reading) commitsFrom(ctx context.Context, a event.AggregateID, from spot, failure *error) iter.Seq[located] {
	return func(yield func(located) bool) {
		version, err := r.versionFrom(a, from)
		var missing *problem.Problem
		if errors.As(err, &missing) && missing.Code == problem.NotFound {
			return // nobody has it
		}
		if err == nil && version > 0 {
			err = r.commits(ctx, a, version, func(c located) (bool, error) {
				return spotOf(c.at).compare(from) < 0 || yield(c), nil
			})
		}
		*failure = errors.Join(*failure, err)
	}
}

// versionFrom is the version with which the first commit of an aggregate begins that is not before a spot; 0: there is none.
func (r *reading) versionFrom(a event.AggregateID, from spot) (event.Version, error) {
	newest, err := r.newest(a)
	if err != nil || spotOf(newest.at).compare(from) < 0 {
		return 0, err
	}
	if base, err := r.base(a); err != nil || base != nil && base.cold != nil {
		return 1, err // it left the hot tier: what is before the spot is passed over
	}
	low, high := event.Version(1), newest.First // it lies in between
	for low < high {
		middle := low + (high-low)/2
		var at located
		err := r.each(a, middle, func(c located) (bool, error) {
			at = c
			return false, nil
		})
		if err != nil {
			return 0, err
		}
		switch {
		case at.Commit == nil || at.Last() < low || at.First > high:
			return low, nil // behind damage: what follows is looked at one by one
		case spotOf(at.at).compare(from) < 0:
			low = at.Last() + 1
		default:
			high = min(at.First, high-1)
		}
	}
	return low, nil
}
