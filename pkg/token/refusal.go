package token

import (
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// MayWrite is nil for an aggregate that the token may write; else the problem says what the token lacks: the right, or, as it is confined to single aggregates, this one.
func (c *Claims) MayWrite(id event.AggregateID) *problem.Problem {
	switch {
	case c.AllowsAggregate(ActionWrite, id):
		return nil
	case c.Allows(ActionWrite, id.Type):
		return problem.New(problem.Forbidden, "the token of %s is confined to single aggregates, and %.300q is none of them", c.Actor(), id.String()).
			WithHint("use a token whose --aggregate-id names it, or one that is not confined")
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow writing %q", c.Actor(), id.Type).
		WithHint("use a token whose aggregates hold %q and whose actions hold write", id.Type)
}
