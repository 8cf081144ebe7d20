package token

import (
	"strings"

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

// MayAdminister is nil for a token that may administer every type; else the problem says what the token lacks.
func (c *Claims) MayAdminister() *problem.Problem {
	switch {
	case c.AllowsAll(ActionAdmin):
		return nil
	case c.has(ActionAdmin):
		return problem.New(problem.Forbidden, "the token of %s administers %.200s only, and this takes an auth key for every type", c.Actor(), strings.Join(c.Aggregates, ", ")).
			WithHint("use an auth key that was made without --aggregates: EVENTFUL_AUTH_KEY_FILE, --auth-key-file, or `eventful token:auth`")
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow administering", c.Actor()).
		WithHint("use an auth key that allows it: EVENTFUL_AUTH_KEY_FILE, --auth-key-file, or `eventful token:auth`")
}
