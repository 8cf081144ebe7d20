package writer

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Records of moving an aggregate between tiers (docs/spec/commands.md, section 15).
const (
	typeTier      = schema.SystemTier    // in the log of the aggregate
	typeTierAct   = schema.SystemTierAct // in the system log
	eventCold     = "aggregate-archived"
	eventWarm     = "aggregate-restored"
	eventCool     = "events-cooled"
	eventTierDone = "tier-changed"
)

// Tier is an aggregate's tier: archived, it is locked, until it is restored.
type Tier struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Archive bool   `json:"archive"`
	Comment string `json:"comment"`
	Version uint64 `json:"version,omitempty"` // its events up to here, which is its newest version, leave the hot tier, and it is neither archived nor restored; 0: it is
}

// change names what becomes of the aggregate, as the system log does.
func (t *Tier) change() string {
	switch {
	case t.Version > 0:
		return "cooled"
	case t.Archive:
		return "archived"
	}
	return "restored"
}

// TierRecord is where the move stands, and whose it is.
type TierRecord struct {
	Aggregate string `json:"aggregate"` // type/id
	Archived  bool   `json:"archived"`
	Record
	Repeated bool `json:"repeated"` // it was so before; then the record is that of the first time
}

// moving is that an aggregate is archived or restored from its commit on.
type moving struct {
	aggregate event.AggregateID
	after     head // of the aggregate
}

// move works out what a commit that moves an aggregate leads to.
func (i *item) move(headOf func(event.AggregateID) (head, error)) error {
	newest := &i.commit.Events[len(i.commit.Events)-1]
	if newest.Type == eventCool {
		return nil // that is about indexes
	}
	fields, err := fieldsOf(newest)
	if err != nil {
		return fmt.Errorf("record of a tier: %w: %w", err, ErrDamaged)
	}
	m := &moving{aggregate: event.AggregateID{Type: fields["type"], ID: fields["id"]}}
	if err := m.aggregate.Check(); err != nil {
		return fmt.Errorf("record of a tier: %w: %w", err, ErrDamaged)
	}
	if m.after, err = headOf(m.aggregate); err != nil {
		return err
	}
	m.after.cold = newest.Type == eventCold
	i.moves = m
	return nil
}

func coldProblem(a event.AggregateID) *problem.Problem {
	return problem.New(problem.Locked, "%s is archived: nothing is stored of it", a).WithHint("`eventful aggregate:restore %s --comment=…` brings it back", a)
}

// MoveTier archives or restores an aggregate. The caller has checked that c may. Side effects in order, and what a crash behind each leaves: (1) the record in the aggregate's log, which is
// what counts. (2) The act in the system log, for the audit: the same call again stores it.
func (w *Writer) MoveTier(ctx context.Context, c *token.Claims, t Tier) (*TierRecord, *problem.Problem) {
	a := event.AggregateID{Type: t.Type, ID: t.ID}
	s := w.sys.schemaOf(a.Type)
	if s == nil || event.IsReserved(a.Type) {
		return nil, w.unknownType(a.Type)
	}
	r, p := w.ask(ctx, logOf(s), verbTier, call{Token: c, Sequence: w.sys.now.Load().position.Sequence, Tier: &t})
	if p != nil {
		return nil, p
	}
	if r.Tier == nil {
		return nil, problem.New(problem.NotFound, "there is no %s", a)
	}
	if r.Tier.Hash == "" {
		return nil, problem.New(problem.Conflict, "%s is not archived", a)
	}
	return r.Tier, w.recordTier(ctx, c, t, r.Tier)
}

// moveHere records in a log that an aggregate is archived or restored; repeating it changes nothing.
func (w *Writer) moveHere(ctx context.Context, e *engine, c *token.Claims, t Tier) (*TierRecord, *problem.Problem) {
	a := event.AggregateID{Type: t.Type, ID: t.ID}
	if err := a.Check(); err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	about := event.AggregateID{Type: typeTier, ID: schema.ForgottenID(a)}
	var known, before head
	answer, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		var err, err2 error
		known, err = e.head(a)
		before, err2 = e.head(about)
		if err != nil || err2 != nil {
			return nil, problem.New(problem.Unavailable, "log %s: what it holds of %s cannot be read", e.name, a)
		}
		if known.version == 0 || known.cold == t.Archive {
			return nil, nil
		}
		if p := e.under.noRollback("archiving"); p != nil {
			return nil, p
		}
		name := eventWarm
		if t.Archive {
			name = eventCold
		}
		return oneEvent(typeTier, about.ID, name, map[string]string{"type": a.Type, "id": a.ID, "comment": t.Comment}), nil
	})
	if p != nil || known.version == 0 {
		return nil, p
	}
	at, p := linkOf(answer, before.link)
	if p != nil || at.Sequence == 0 {
		return &TierRecord{Aggregate: a.String()}, p // it was never archived
	}
	r, p := e.recordOf(ctx, at, func(k *Record) bool { return k.fields["version"] == "" })
	if p != nil || r == nil {
		return &TierRecord{Aggregate: a.String()}, p
	}
	return &TierRecord{Aggregate: a.String(), Archived: t.Archive, Record: *r, Repeated: answer == nil}, nil
}

// recordTier records the move in the system log, once.
func (w *Writer) recordTier(ctx context.Context, c *token.Claims, t Tier, r *TierRecord) *problem.Problem {
	about := event.AggregateID{Type: typeTierAct, ID: schema.ForgottenID(event.AggregateID{Type: t.Type, ID: t.ID})}
	for {
		h, p := w.headInSystem(ctx, c, about)
		if p != nil {
			return p
		}
		if known, p := w.system.recordOf(ctx, h.link, func(k *Record) bool { return k.fields["hash"] == r.Hash }); p != nil || known != nil {
			return p
		}
		_, p = w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
			changes := oneEvent(typeTierAct, about.ID, eventTierDone, map[string]string{
				"type": t.Type, "id": t.ID, "tier": t.change(), "comment": t.Comment, "position": r.Position, "hash": r.Hash,
			})
			changes[0].Expected = aggregate.Exactly(h.version)
			return changes, nil
		})
		if p == nil || p.Code != problem.Conflict { // else somebody did the same: look what there is
			return p
		}
	}
}
