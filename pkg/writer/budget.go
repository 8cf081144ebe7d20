package writer

import (
	"context"
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
	if n, ok := e.over.spent.get(tokenID); ok {
		return n, nil
	}
	return e.st.spent(tokenID)
}

// back is what of that the log has handed back.
func (e *engine) back(tokenID string) (uint64, error) {
	if n, ok := e.over.back.get(tokenID); ok {
		return n, nil
	}
	return e.st.back(tokenID)
}

// withinBudget reports whether the command may spend its units here and now. If not, the command was dealt with: parked until the system log
// has granted more, or refused. Commands of one token stay in order: behind a parked one all wait (decide).
func (e *engine) withinBudget(s *submission, spent, events uint64) bool {
	here, left := e.sys.granted(s.claims, e.name)
	if spent+events <= here {
		return true
	}
	if e.hopeless(s.claims, events, spent+events-here, left) {
		e.refuse(s, budgetSpent(s.claims, here+left-min(spent, here+left), events))
		return false
	}
	e.parked[s.claims.ID] = []*submission{s}
	claims, u := s.claims, units{log: e.name, have: here, need: spent + events - here}
	e.aside(func(ctx context.Context) {
		p := e.grants(ctx, claims, u)
		select {
		case e.granted <- grantOutcome{claims.ID, events, p}:
		case <-ctx.Done():
		}
	})
	return false
}

const (
	denialLasts = time.Second // other logs are asked again for what they do not need no sooner than that
	maxDenials  = 1024
)

// denial is that a command of so many events could not be paid for, with all that logs do not need. What this log had of that itself it may have handed back since.
type denial struct {
	events uint64
	until  time.Time
}

// hopeless reports whether asking for need units, for a command of so many events, is of no use: more than the limit leaves, and no other log has any, or there were too few a moment ago.
func (e *engine) hopeless(c *token.Claims, events, need, left uint64) bool {
	if need <= left {
		return false
	}
	d, denied := e.denied[c.ID]
	if denied && events >= d.events && e.cfg.Now().Before(d.until) {
		return true
	}
	return len(e.sys.holders(c.ID, e.name)) == 0
}

func budgetSpent(c *token.Claims, left, events uint64) *problem.Problem {
	return problem.New(problem.BudgetSpent, "token %s of %s may store %d more events of its %d here, the command has %d", c.ID, c.Actor(), left, c.Limit, events).
		WithHint("ask whoever issues tokens for a new one: `eventful token:generate --limit=…`")
}

// unpark decides the commands of a token anew, behind the outcome of its grant.
func (e *engine) unpark(g grantOutcome) {
	list := e.parked[g.tokenID]
	delete(e.parked, g.tokenID)
	switch {
	case g.problem == nil:
		delete(e.denied, g.tokenID)
	case g.problem.Code == problem.BudgetSpent:
		if len(e.denied) >= maxDenials {
			clear(e.denied)
		}
		e.denied[g.tokenID] = denial{events: g.events, until: e.cfg.Now().Add(denialLasts)}
	default:
		for _, s := range list {
			s.reply(nil, g.problem)
		}
		return
	}
	e.ready = append(e.ready, list...) // whom the units do not reach is refused, or asks again
}

// unspent is what this log could hand back of a token: what it was granted, less what it spent or handed back, less what waits here to be spent. back is
// what it handed back so far.
func (e *engine) unspent(c *token.Claims) (units, back uint64, err error) {
	spent, err := e.spent(c.ID)
	if err != nil {
		return 0, 0, err
	}
	if back, err = e.back(c.ID); err != nil {
		return 0, 0, err
	}
	for _, waiting := range [][]*submission{e.parked[c.ID], e.ready} {
		for _, s := range waiting {
			if s.claims != nil && s.claims.ID == c.ID && !e.sys.Ended(c.ID) { // those of an ended token are refused when their turn comes
				spent += s.events()
			}
		}
	}
	here, _ := e.sys.granted(c, e.name)
	return here - min(here, spent), back, nil
}

func (s *submission) events() (n uint64) {
	for _, c := range s.command.Changes {
		n += uint64(len(c.Events))
	}
	return n
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
