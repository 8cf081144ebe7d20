package projector

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Get gives an aggregate as it was at a version; 0 is the newest. not_found if there is no such aggregate or version. A deleted aggregate is
// given with the fields that it ended with. The cost grows with the number of its events up to the version.
func (p *Projector) Get(ctx context.Context, a event.AggregateID, version event.Version) (State, error) {
	x, err := p.find(a)
	if err != nil {
		return State{}, err
	}
	var out State
	var sealed *sealedState
	err = p.withSchemas(ctx, func() error {
		return x.view(func(r *reading) (err error) {
			out, sealed, err = p.state(ctx, r, a, version)
			return err
		})
	})
	if err == nil && sealed != nil {
		err = p.openState(ctx, a, &out, sealed)
	}
	return out, err
}

func (p *Projector) state(ctx context.Context, r *reading, a event.AggregateID, version event.Version) (State, *sealedState, error) {
	newest, err := r.newest(a)
	if err != nil {
		return State{}, nil, err
	}
	if version == 0 {
		version = newest.Last()
	}
	if version > newest.Last() {
		return State{}, nil, problem.New(problem.NotFound, "aggregate %s has no version %d", a, version).WithHint("its newest version is %d", newest.Last())
	}
	f, err := p.fold(ctx, r, a, version)
	if err != nil {
		return State{}, nil, err
	}
	state, last := f.state, f.last
	if version == newest.Last() && version >= longAggregate { // the snapshot that this read did not find
		p.taker.passed(a, version-f.folded+1, version, p.schemas.every(a.Type))
	}
	root, err := rootAt(ctx, r, a, version, last.Commit)
	if err != nil {
		return State{}, nil, err
	}
	i := int(version - last.First)
	out := State{Type: a.Type, ID: a.ID, Version: uint64(version), Fields: state.Fields, Deleted: state.Deleted, Root: root.String(), Hash: last.leaves[i].String(),
		Time: timeText(last.Time), OccurredAt: optionalTimeText(last.Events[i].OccurredAt), Actor: last.Actor}
	if state.RolledBack {
		out.RolledBack = last.Correlation
	}
	if out.Archived, err = r.archived(a); err != nil || len(state.Sealed) == 0 {
		return out, nil, err
	}
	f.sealed.fields = state.Sealed
	f.sealed.forgotten, err = r.forgotten(ctx, a)
	return out, &f.sealed, err
}

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
