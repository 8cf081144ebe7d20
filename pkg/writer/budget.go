package writer

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// maxGrant bounds how many units a log gets ahead of its need, so that little lies idle in a log that does not need them.
const maxGrant = 4096

// spent is what this log holds of the token, blocks under way included.
func (e *engine) spent(tokenID string) (uint64, error) {
	if d, ok := e.over.spent[tokenID]; ok {
		return d.value, nil
	}
	return e.st.spent(tokenID)
}

// withinBudget reports whether the command may spend its units here and now. If not, the command was dealt with: parked until the system log
// has granted more, or refused. Commands of one token stay in order: behind a parked one all wait.
func (e *engine) withinBudget(s *submission, spent, events uint64) bool {
	here, left := e.sys.granted(s.claims, e.name)
	list := e.parked[s.claims.ID]
	if len(list) == 0 && spent+events <= here {
		return true
	}
	if spent+events > here+left {
		e.refuse(s, budgetSpent(s.claims, here+left-min(spent, here+left), events))
		return false
	}
	e.parked[s.claims.ID] = append(list, s)
	if len(list) == 0 {
		need, claims := spent+events-here, s.claims
		e.aside(func(ctx context.Context) {
			p := e.grants(ctx, claims, e.name, need)
			select {
			case e.granted <- grantOutcome{claims.ID, p}:
			case <-ctx.Done():
			}
		})
	}
	return false
}

func budgetSpent(c *token.Claims, left, events uint64) *problem.Problem {
	return problem.New(problem.BudgetSpent, "token %s of %s may store %d more events of its %d here, the command has %d", c.ID, c.Actor(), left, c.Limit, events).
		WithHint("ask whoever issues tokens for a new one: `eventful token:generate --limit=…`")
}

// unpark decides the commands of a token anew, behind the outcome of its grant.
func (e *engine) unpark(g grantOutcome) {
	list := e.parked[g.tokenID]
	delete(e.parked, g.tokenID)
	if g.problem == nil || g.problem.Code == problem.BudgetSpent {
		e.ready = append(e.ready, list...) // what another log was faster to get is refused when it is decided
		return
	}
	for _, s := range list {
		s.refuse(g.problem)
	}
}

// grant asks the system log for units of a token for a log: at least need, and some ahead while there are plenty.
func (w *Writer) grant(ctx context.Context, c *token.Claims, log string, need uint64) *problem.Problem {
	_, p := w.act(ctx, c, func() ([]aggregate.Change, *problem.Problem) {
		_, left := w.sys.granted(c, log)
		if left < need {
			return nil, budgetSpent(c, left, need)
		}
		units := min(left, max(need, min(maxGrant, (left+1)/2)))
		return oneEvent(typeToken, c.ID, eventGranted, map[string]string{
			"log": log, "units": decimal(units), "total": decimal(c.Limit - left + units), "limit": decimal(c.Limit),
			"actor": c.Actor(), "issuer": c.Issuer, "expires": fmt.Sprint(c.Expires.Unix()),
		}), nil
	})
	return p
}

// act has the system log decide and store an administrative act, and waits for it.
func (w *Writer) act(ctx context.Context, c *token.Claims, decide func() ([]aggregate.Change, *problem.Problem)) (*Answer, *problem.Problem) {
	type outcome struct {
		a *Answer
		p *problem.Problem
	}
	done := make(chan outcome, 1)
	w.system.submit(&submission{
		command: aggregate.Command{ID: "act-" + randomHex()}, claims: c, act: decide,
		reply: func(a *Answer, p *problem.Problem) { done <- outcome{a, p} },
	})
	select {
	case o := <-done:
		return o.a, o.p
	case <-ctx.Done():
		return nil, problem.New(problem.UnknownOutcome, "the act was not answered in time: %v", ctx.Err()).WithHint("look at the present state before you repeat it")
	}
}

// oneEvent is a change of one event of a system aggregate; empty values are left out.
func oneEvent(aggregateType, id, eventType string, values map[string]string) []aggregate.Change {
	var fields []event.Field
	for name, value := range values {
		if value != "" {
			fields = append(fields, event.Field{Name: name, Value: value, Set: true})
		}
	}
	return []aggregate.Change{{
		Aggregate: event.AggregateID{Type: aggregateType, ID: id}, Expected: aggregate.Any,
		Events: []aggregate.NewEvent{{Type: eventType, Fields: fields}},
	}}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// barrier returns when every log of this process decides under the newest view.
func (w *Writer) barrier(ctx context.Context) error {
	for _, e := range w.engines() {
		passed := make(chan struct{})
		e.submit(&submission{barrier: passed, reply: func(*Answer, *problem.Problem) { close(passed) }})
		select {
		case <-passed:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(asideTimeout):
			return fmt.Errorf("log %s did not pass on in %s", e.name, asideTimeout)
		}
	}
	return nil
}
