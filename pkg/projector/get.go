package projector

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// When says which state of an aggregate is asked for; the zero value: the present one.
type When struct {
	Version event.Version // 0: not by version
	At      time.Time     // as it was stored by then; zero: not by time
}

// aheadAtMost is how far in the future a time may lie: clocks differ.
const aheadAtMost = time.Minute

// Get gives an aggregate as it is, at a version, or as it was at a time. not_found if there is no such aggregate or version, or none by that time; malformed if the time lies in the future. A deleted
// aggregate is given with the fields that it ended with. The present state costs the same however many events there are; the cost of others grows with the number of events up to
// the version.
func (p *Projector) Get(ctx context.Context, a event.AggregateID, when When) (State, error) {
	if when.Version != 0 && !when.At.IsZero() {
		return State{}, problem.New(problem.Malformed, "a version and a time are given, and they need not be the same state").WithHint("give one of them")
	}
	if when.At.After(p.config.Now().Add(aheadAtMost)) {
		return State{}, problem.New(problem.Malformed, "the time %s is in the future: nobody knows what will be stored by then", when.At.UTC().Format(time.RFC3339Nano)).WithHint("give a time in the past, or none for the present state")
	}
	x, err := p.find(a)
	if err != nil {
		return State{}, err
	}
	var out State
	var sealed *sealedState
	err = p.withSchemas(ctx, func() error {
		return x.view(ctx, func(r *reading) (err error) {
			version := when.Version
			if !when.At.IsZero() {
				if version, err = r.versionAt(ctx, a, when.At); err != nil {
					return err
				}
			}
			out, sealed, err = p.state(ctx, r, a, version)
			return err
		})
	})
	if err == nil && sealed != nil {
		err = p.openState(ctx, a, &out, sealed)
	}
	return out, err
}

// versionAt is the version that an aggregate had at a time, by the time at which its events were stored.
func (r *reading) versionAt(ctx context.Context, a event.AggregateID, at time.Time) (version event.Version, err error) {
	newest, err := r.newest(a)
	if err != nil {
		return 0, err
	}
	if !time.Unix(0, int64(newest.Time)).After(at) {
		return newest.Last(), nil
	}
	var first event.Time
	err = r.commits(ctx, a, 1, func(c located) (bool, error) {
		if first == 0 {
			first = c.Time
		}
		if time.Unix(0, int64(c.Time)).After(at) {
			return false, nil
		}
		version = c.Last()
		return true, nil
	})
	if err == nil && version == 0 {
		err = problem.New(problem.NotFound, "aggregate %s did not exist at %s", a, at.UTC().Format(time.RFC3339Nano)).WithHint("its first event was stored at %s", timeText(first))
	}
	return version, err
}

func (p *Projector) state(ctx context.Context, r *reading, a event.AggregateID, version event.Version) (State, *sealedState, error) {
	base, err := r.base(a)
	if err != nil {
		return State{}, nil, err
	}
	newest, found, err := r.lastOver(a, base)
	if err == nil && !found {
		err = noAggregate(a)
	}
	if err != nil {
		return State{}, nil, err
	}
	if version > newest.Last() {
		return State{}, nil, problem.New(problem.NotFound, "aggregate %s has no version %d", a, version).WithHint("its newest version is %d", newest.Last())
	}
	if version == 0 || version == newest.Last() {
		f, err := r.present(a, newest, base)
		if err != nil || f != nil {
			return answered(ctx, r, a, f, err)
		}
		version = newest.Last()
	}
	f, err := p.fold(ctx, r, a, version)
	if every := event.Version(p.schemas.every(a.Type)); err == nil && version >= longAggregate && every > 0 && version/every == newest.Last()/every { // the snapshot that this read did not find
		p.taker.passed(a, version-f.folded+1, version, uint64(every))
	}
	return answered(ctx, r, a, f, err)
}

// present gives the newest state as the index holds it; nil: it does not, and the events say it.
func (r *reading) present(a event.AggregateID, newest located, base *state) (*folded, error) {
	c, found, err := r.overlay(a, base)
	if err != nil || !found || c.partial || c.version != newest.Last() {
		return nil, err
	}
	fields, err := c.all()
	if err != nil {
		return nil, err
	}
	f := &folded{state: aggregate.State{Version: c.version, Fields: make(map[string]string, len(fields)), Deleted: c.deleted}, last: newest}
	f.state.RolledBack = aggregate.IsRollback(&newest.Events[len(newest.Events)-1])
	for i := range fields {
		if err := f.take(r, a, &fields[i]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// take takes a field of a state over. What is not in the state stands in the event that set it, often one of the newest commit.
func (f *folded) take(r *reading, a event.AggregateID, of *stateField) error {
	value := of.value
	if of.kind == fieldLongText || of.kind == fieldLongSealed {
		long, err := f.long(r, a, of)
		if err != nil {
			return err
		}
		value = long.Value
	}
	f.state.Fields[of.name] = value
	if of.textual() {
		return nil
	}
	if f.state.Sealed == nil {
		f.state.Sealed = map[string]event.Version{}
	}
	f.state.Sealed[of.name] = of.version
	if of.version >= f.last.First {
		f.sealed.note(f.last)
		return nil
	}
	return r.each(a, of.version, func(c located) (bool, error) {
		f.sealed.note(c)
		return false, nil
	})
}

// long reads the value of a field that is too long for a state.
func (f *folded) long(r *reading, a event.AggregateID, of *stateField) (event.Field, error) {
	if of.version < f.last.First || of.version > f.last.Last() {
		return r.fieldAt(a, of.version, of.name)
	}
	field, found, err := fieldOf(&f.last.Events[of.version-f.last.First], of.name)
	if err == nil && !found {
		err = noField(a, of.version, of.name)
	}
	return field, err
}

// answered words a state.
func answered(ctx context.Context, r *reading, a event.AggregateID, f *folded, err error) (State, *sealedState, error) {
	if err != nil {
		return State{}, nil, err
	}
	version, last := f.state.Version, f.last
	root, err := rootAt(ctx, r, a, version, last.Commit)
	if err != nil {
		return State{}, nil, err
	}
	i := int(version - last.First)
	out := State{Type: a.Type, ID: a.ID, Version: uint64(version), Fields: f.state.Fields, Deleted: f.state.Deleted, Root: root.String(), Hash: last.leaves[i].String(),
		Time: timeText(last.Time), OccurredAt: optionalTimeText(last.Events[i].OccurredAt), Actor: last.Actor}
	if f.state.RolledBack {
		out.RolledBack = last.Correlation
	}
	if out.Archived, err = r.archived(a); err != nil || len(f.state.Sealed) == 0 {
		return out, nil, err
	}
	f.sealed.fields = f.state.Sealed
	f.sealed.forgotten, err = r.forgotten(ctx, a)
	return out, &f.sealed, err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// gap is what a query says when the log that counts does not hold all versions of an aggregate.
func gap(a event.AggregateID, version event.Version) *problem.Problem {
	return problem.New(problem.Damaged, "aggregate %s: the versions up to %d are not all in the log", a, version).WithHint("`eventful aggregate:verify %s` says which", a)
}

// rootAt is the root of the aggregate tree at a version: the one its commit states, or recomputed where the version stands inside a commit.
func rootAt(ctx context.Context, r *reading, a event.AggregateID, version event.Version, last *event.Commit) (event.Hash, error) {
	if last.Last() == version {
		return last.Root, nil
	}
	var tree event.Tree
	err := r.commits(ctx, a, 1, func(c located) (bool, error) {
		tree = tree.Append(c.leaves[:min(uint64(len(c.leaves)), uint64(version)-tree.Size())]...)
		return tree.Size() < uint64(version), nil
	})
	return tree.Root(), err
}
