package staging

import (
	"context"
	"errors"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Forget drops what anybody has staged for an aggregate, and says how many events that were; dry only counts them. It may be repeated. A commit that was begun, and
// of which it is not known whether it was stored, is dropped as a whole. The caller has checked who asks.
func (s *Staging) Forget(ctx context.Context, a event.AggregateID, dry bool) (int, *problem.Problem) {
	names, err := s.cfg.Bucket.Keys(ctx)
	if err != nil {
		return 0, notNow(err)
	}
	events := 0
	for _, name := range names {
		n, p := retry(ctx, func() (*int, bool, *problem.Problem) { return s.forgetIn(ctx, name, a, dry) })
		if p != nil {
			return events, p
		}
		events += *n
	}
	return events, nil
}

// forgetIn drops what one actor has staged for an aggregate.
func (s *Staging) forgetIn(ctx context.Context, name string, a event.AggregateID, dry bool) (*int, bool, *problem.Problem) {
	none := new(int)
	sealed, revision, err := s.cfg.Bucket.Get(ctx, name)
	if err != nil {
		return nil, false, notNow(err)
	}
	if revision == 0 {
		return none, false, nil
	}
	r := &record{key: name, revision: revision}
	if err := s.open(name, sealed, r); err != nil { // nobody can read it any more: it goes whole
		if dry {
			return none, false, nil
		}
		if err := s.cfg.Bucket.Delete(ctx, name, revision); err != nil {
			return nil, errors.Is(err, eventlog.ErrTaken), notNowUnless(err, eventlog.ErrTaken)
		}
		return none, false, nil
	}
	n := r.forget(a)
	if n == 0 || dry {
		return &n, false, nil
	}
	again, p := s.save(ctx, r)
	return &n, again, p
}

func notNowUnless(err, known error) *problem.Problem {
	if errors.Is(err, known) {
		return nil
	}
	return notNow(err)
}

// forget takes the entries of an aggregate out, and says how many events are gone.
func (r *record) forget(a event.AggregateID) int {
	begun := uint64(0) // entries up to here may be stored
	for _, one := range r.Attempts {
		begun = max(begun, one.UpTo)
	}
	touched := false
	for i := range r.Entries {
		touched = touched || r.Entries[i].Number <= begun && r.Entries[i].aggregate() == a
	}
	var left []entry
	for i := range r.Entries {
		if e := &r.Entries[i]; e.aggregate() != a && (!touched || e.Number > begun) {
			left = append(left, *e)
		}
	}
	n := len(r.Entries) - len(left)
	r.Entries = left
	if touched {
		r.Attempts, r.Command = nil, newCommandID()
	}
	return n
}
