package writer

import (
	"crypto/sha256"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// restoring is how one aggregate is brought back: the events of one commit.
type restoring struct {
	aggregate  event.AggregateID
	version    event.Version // that it must have; else nothing of the act is stored
	asked      []aggregate.NewEvent
	events     []event.Event
	commitment []byte // of the key that sealed values among them are under; nil: there are none
	causation  string // leaf hash of the event whose state comes back; empty: it did not exist
	ends       bool
}

// size is what the commit takes in a block, at most.
func (r *restoring) size() int {
	n := 352 + event.MaxActorLen + 2*event.MaxTokenIDLen + 200 + len(r.aggregate.Type) + len(r.aggregate.ID)
	for i := range r.events {
		n += 96 + len(r.events[i].Type) + len(r.events[i].Payload)
	}
	return n
}

// restoredDigest is the command digest of an act that brings aggregates back.
func restoredDigest(s *submission) event.Hash {
	b := append(make([]byte, 0, 1024), "eventful.restore.v1\x00"...)
	b = appendText(b, s.actor)
	for i := range s.restores {
		r := &s.restores[i]
		b = appendText(appendText(b, r.aggregate.Type), r.aggregate.ID)
		for j := range r.events {
			b = appendText(appendText(b, r.events[j].Type), string(r.events[j].Payload))
		}
	}
	return sha256.Sum256(b)
}

// planRestores plans an act that brings aggregates back: each must be at the version that it was looked at, and no key may have been forgotten since. Unique
// values were checked before (rollcheck.go); while a rollback is under way a value may stand twice until the other aggregate is brought back too.
func (e *engine) planRestores(s *submission) ([]planned, *problem.Problem, error) {
	plan := make([]planned, 0, len(s.restores))
	for i := range s.restores {
		r := &s.restores[i]
		h, err := e.head(r.aggregate)
		if err != nil {
			return nil, nil, err
		}
		forgotten := false
		if len(r.commitment) > 0 {
			if forgotten, err = e.isForgotten(r.aggregate, event.Hash(r.commitment)); err != nil {
				return nil, nil, err
			}
		}
		if h.version != r.version || forgotten {
			return nil, problem.New(problem.Conflict, "%s changed while it was brought back", r.aggregate), nil
		}
		p := planned{change: aggregate.Change{Aggregate: r.aggregate, Events: r.asked}, events: r.events, before: h, back: r}
		p.held, p.claims = e.heldBehind(r, h)
		plan = append(plan, p)
	}
	return plan, nil, nil
}

// heldBehind is what an aggregate holds of unique fields when it is brought back, and what it takes and gives up for that.
func (e *engine) heldBehind(r *restoring, h head) (map[string]string, []claim) {
	return e.unique.hold(e.sys.values(e.under), r.aggregate, h.held, r.asked, func(i int) bool { return aggregate.EndsByRollback(&r.events[i]) })
}
