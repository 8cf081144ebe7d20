package projector

import (
	"context"
	"fmt"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// Step is one event of a replay, and the state behind it. Root and hash are computed anew from the stored bytes.
type Step struct {
	Event   string `json:"event"`
	Changed Fields `json:"changed"` // fields of the event; values of encrypted ones are left out
	State
}

// Replay is a part of a replay. Cursor is the version to go on from, in decimal; empty on the last page. Agrees says, on the page with the newest version, whether the
// state and root that the events come to are those that queries give; nil on others. Lies are the snapshots up to there that say something else, with what.
type Replay struct {
	Steps  []Step   `json:"steps"`
	Agrees *bool    `json:"agrees,omitempty"`
	Lies   []string `json:"lies,omitempty"`
	Cursor string   `json:"cursor"`
}

// Replay folds an aggregate anew from its events and gives the state behind each, from a version on (0 is 1), at most take of them (100 if it is less than 1, 1000 at most) and about 512
// KiB. Nothing that was folded before is used. The cost grows with the number of events up to the last step. not_found if there is no such aggregate.
func (p *Projector) Replay(ctx context.Context, a event.AggregateID, from event.Version, take int) (Replay, error) {
	x, err := p.find(a)
	if err != nil {
		return Replay{}, err
	}
	r := replay{p: p, id: a, from: max(from, 1), take: clampTake(take), out: Replay{Steps: []Step{}}}
	err = p.withSchemas(ctx, func() error {
		r.begin()
		return x.view(ctx, func(reading *reading) (err error) {
			if err = reading.commits(ctx, a, 1, r.commit); err != nil {
				return err
			}
			if r.state.Version == 0 {
				return noAggregate(a)
			}
			r.forgotten, err = reading.forgotten(ctx, a)
			return err
		})
	})
	if err != nil {
		return Replay{}, err
	}
	for i := range r.out.Steps {
		if err := p.openState(ctx, a, &r.out.Steps[i].State, &sealedState{r.sealed.commits, r.fields[i], r.forgotten}); err != nil {
			return Replay{}, err
		}
	}
	if r.out.Cursor == "" && len(r.out.Steps) > 0 {
		err = r.compare(ctx)
	}
	return r.out, err
}

// replay is one under way.
type replay struct {
	p    *Projector
	id   event.AggregateID
	from event.Version
	take int

	out       Replay
	state     aggregate.State
	tree      event.Tree
	sealed    sealedState
	fields    []map[string]event.Version // that are sealed, of each step
	forgotten map[event.Hash]bool
	size      int
}

func (r *replay) begin() {
	r.out, r.state, r.tree, r.sealed, r.fields, r.size = Replay{Steps: []Step{}}, aggregate.State{}, event.Tree{}, sealedState{}, nil, 0
}

// commit folds a commit.
func (r *replay) commit(c located) (bool, error) {
	r.sealed.note(c)
	for i := range c.Events {
		v := c.First + event.Version(i)
		if v != r.state.Version+1 {
			return false, gap(r.id, v)
		}
		if v >= r.from && (len(r.out.Steps) == r.take || len(r.out.Steps) > 0 && r.size > pageBytes) {
			r.out.Cursor = strconv.FormatUint(uint64(v), 10)
			return false, nil
		}
		deletes, err := r.p.schemas.deleting(r.id.Type, c.Events[i].Type, c.Events[i].SchemaDigest)
		if err != nil {
			return false, err
		}
		r.state = aggregate.Fold(r.state, c.Events[i], deletes)
		r.tree = r.tree.Append(c.Leaf(i))
		if v >= r.from {
			if err := r.step(c, i); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (r *replay) step(c located, i int) error {
	fields, err := event.DecodePayload(c.Events[i].Payload)
	if err != nil {
		return err
	}
	s := Step{Event: c.Events[i].Type, State: State{Type: r.id.Type, ID: r.id.ID, Version: uint64(r.state.Version), Fields: map[string]string{}, Deleted: r.state.Deleted,
		Root: r.tree.Root().String(), Hash: c.Leaf(i).String(), Time: timeText(c.Time), OccurredAt: optionalTimeText(c.Events[i].OccurredAt), Actor: c.Actor}}
	if r.state.RolledBack {
		s.RolledBack = c.Correlation
	}
	for _, f := range fields {
		if !f.Sealed {
			s.Changed = append(s.Changed, f)
		}
	}
	for name, value := range r.state.Fields { // opening an encrypted field changes the map
		s.Fields[name] = value
		r.size += len(name) + jsonSize(value) + 4
	}
	r.size += eventText + 2*len(c.Events[i].Payload)
	r.out.Steps = append(r.out.Steps, s)
	r.fields = append(r.fields, r.state.Sealed)
	return nil
}

// compare holds the last state against what queries say of that version.
func (r *replay) compare(ctx context.Context) error {
	last := &r.out.Steps[len(r.out.Steps)-1].State
	now, err := r.p.Get(ctx, r.id, When{Version: event.Version(last.Version)})
	if err != nil {
		return err
	}
	agrees := now.Root == last.Root && now.Hash == last.Hash && now.Deleted == last.Deleted && len(now.Fields) == len(last.Fields)
	for name, value := range last.Fields {
		other, ok := now.Fields[name]
		agrees = agrees && ok && other == value
	}
	r.out.Agrees = &agrees
	lies, err := r.p.CheckSnapshots(ctx, r.id, r.state.Version, r.tree.Root())
	for _, l := range lies {
		r.out.Lies = append(r.out.Lies, fmt.Sprintf("at version %d: %s", l.Version, l.Detail))
	}
	return err
}
