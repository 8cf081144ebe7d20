package writer

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// ConfigAct is what somebody did with `config`, which works without a server (docs/adr/0005-config-acts.md).
type ConfigAct struct {
	ID     string            `json:"id"`
	Event  string            `json:"event"`
	Issuer string            `json:"issuer"` // public key that signed the proof
	At     time.Time         `json:"at"`
	Fields map[string]string `json:"fields"`
}

// EnterConfig enters an act into the system log, here or by the process that writes it, and returns when it is stored there. An act whose id was entered before is
// stored no second time. unavailable and unknown_outcome: to be asked again.
func (w *Writer) EnterConfig(ctx context.Context, a ConfigAct) *problem.Problem {
	_, p := w.ask(ctx, event.Reserved, verbConfig, call{Config: &a})
	return p
}

func (w *Writer) enterConfig(ctx context.Context, a ConfigAct) *problem.Problem {
	about := event.AggregateID{Type: schema.SystemConfig, ID: a.ID}
	_, p := w.act(ctx, w.system, operatorHere(a.Issuer), func(*submission) ([]aggregate.Change, *problem.Problem) {
		if known, err := w.system.head(about); err == nil && known.version > 0 {
			return nil, nil // it was entered before, which every start asks
		}
		changes := oneEvent(schema.SystemConfig, a.ID, a.Event, a.Fields)
		at := event.Time(a.At.UnixNano())
		changes[0].Expected, changes[0].Events[0].OccurredAt = aggregate.None, &at
		return changes, nil
	})
	if p != nil && p.Code == problem.Conflict {
		return nil // it was entered before
	}
	return p
}

// operatorHere is who does with the keys of the site at hand what takes no token; issuer is the public key that proves it.
func operatorHere(issuer string) *token.Claims {
	return &token.Claims{ID: "config", Issuer: issuer, IdentifierType: "operator", IdentifierID: "local"}
}
