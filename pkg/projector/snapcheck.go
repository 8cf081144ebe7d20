package projector

import (
	"context"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/snapshot"
)

// Lie is a snapshot that says something else than the log.
type Lie struct {
	Version event.Version
	Detail  string
}

// CheckSnapshots folds an aggregate from its events, whose leaves must come to the root that the log was proven to have at a version, and names the snapshots up to there that say
// something else.
func (p *Projector) CheckSnapshots(ctx context.Context, a event.AggregateID, proven event.Version, root event.Hash) ([]Lie, error) {
	x, err := p.find(a)
	if err != nil || p.taker.keep == nil {
		return nil, err
	}
	return p.checkSnapshots(ctx, x, a, proven, root)
}

func (p *Projector) checkSnapshots(ctx context.Context, x *index, a event.AggregateID, proven event.Version, root event.Hash) ([]Lie, error) {
	found, err := p.taker.keep.List(ctx, x.name, a)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var lies []Lie
	err = p.withSchemas(ctx, func() error {
		return x.view(ctx, func(r *reading) error {
			lies, err = p.lies(ctx, r, a, found, proven, root)
			return err
		})
	})
	return lies, err
}

func (p *Projector) lies(ctx context.Context, r *reading, a event.AggregateID, found []snapshot.Found, proven event.Version, root event.Hash) (lies []Lie, err error) {
	f, tree, next := &folded{}, event.Tree{}, 0
	for ; next < len(found) && found[next].Err != nil && found[next].Version == 0; next++ {
		lies = append(lies, Lie{0, found[next].Err.Error()})
	}
	err = r.commits(ctx, a, 1, func(c located) (bool, error) {
		if c.Last() > proven {
			return false, nil
		}
		c.leaves = c.Leaves()
		tree = tree.Append(c.leaves...)
		f.last = c
		f.sealed.note(c)
		for i := range c.Events {
			deletes, err := p.schemas.deleting(a.Type, c.Events[i].Type, c.Events[i].SchemaDigest)
			if err != nil {
				return false, err
			}
			f.state = aggregate.Fold(f.state, c.Events[i], deletes)
			for ; next < len(found) && found[next].Version <= f.state.Version; next++ {
				if detail := differs(&found[next], f, r.log, a); detail != "" {
					lies = append(lies, Lie{found[next].Version, detail})
				}
			}
		}
		return c.Last() < proven, nil
	})
	if err == nil && tree.Root() != root {
		err = fmt.Errorf("the index does not hold what was proven of %s: %w", a, errContent)
	}
	return lies, err
}

// differs says how a snapshot differs from what was folded; empty: it does not. Values are not told.
func differs(found *snapshot.Found, f *folded, log string, a event.AggregateID) string {
	if found.Err != nil {
		return found.Err.Error()
	}
	want := f.snapshot(log, a)
	if found.Hash != want.Hash {
		return "it names another event"
	}
	if found.Deleted != want.Deleted {
		return "it has another word on whether the aggregate was deleted"
	}
	have := make(map[string]snapshot.Field)
	for _, field := range found.Fields {
		have[field.Name] = field
	}
	for _, field := range want.Fields {
		if have[field.Name] != field {
			return fmt.Sprintf("its field %q differs", field.Name)
		}
		delete(have, field.Name)
	}
	for name := range have {
		return fmt.Sprintf("its field %q was not set", name)
	}
	if !slices.Equal(found.Keys, want.Keys) {
		return "it names other keys of encrypted fields"
	}
	return ""
}
