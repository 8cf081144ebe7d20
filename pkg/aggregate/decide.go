package aggregate

import (
	"fmt"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Head is what the rules have to know of an aggregate: its newest version, 0 if it was never written, and whether its newest event ended it.
type Head struct {
	Version event.Version
	Deleted bool
}

// Decide gives the events that the change becomes, in order, or every reason why not; never both. The events have no salt: the writer adds
// it. s is the schema of the aggregate's type, nil if there is none. What the schema refuses is named before a conflict, as no repeat
// cures it; a conflict is the last and carries Expected and Actual. Beyond 100 problems of the schema Decide stops. The command has passed Check.
func Decide(s *schema.Schema, h Head, c Change) ([]event.Event, []*problem.Problem) {
	if s == nil || s.Aggregate != c.Aggregate.Type {
		return nil, []*problem.Problem{problem.New(problem.NotFound, "there is no schema for the aggregate type %s", clip(c.Aggregate.Type)).
			WithHint("make one with `schema:create`, then `schema:migrate`")}
	}
	problems := checkEvents(s, c)
	if p := checkHead(h, c); p != nil {
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	events := make([]event.Event, len(c.Events))
	for i := range c.Events {
		e := &c.Events[i]
		payload, err := e.encode()
		if err != nil {
			return nil, []*problem.Problem{problem.New(problem.Malformed, "event %d: %v", i, err)}
		}
		if e.sealed != nil {
			payload = e.sealed.stored
		}
		events[i] = event.Event{Type: e.Type, SchemaDigest: s.Digest, SchemaVersion: s.Version, OccurredAt: e.OccurredAt, Payload: payload}
	}
	return events, nil
}

func checkEvents(s *schema.Schema, c Change) (problems []*problem.Problem) {
	for i := range c.Events {
		found := s.CheckEvent(c.Events[i].Type, c.Events[i].Fields)
		if len(c.Events) > 1 {
			for _, p := range found {
				p.Detail = fmt.Sprintf("event %d: %s", i, p.Detail)
			}
		}
		if problems = append(problems, found...); len(problems) >= maxProblems {
			return problems[:maxProblems]
		}
	}
	return problems
}

func checkHead(h Head, c Change) *problem.Problem {
	if !c.Expected.met(h) {
		p := problem.New(problem.Conflict, "%s: expected version %s, %s", c.Aggregate, c.Expected, h.text()).
			WithHint("read the aggregate, decide again, and send the command with its newest version and a new command id")
		p.Expected, p.Actual = c.Expected.String(), strconv.FormatUint(uint64(h.Version), 10)
		return p
	}
	if uint64(len(c.Events)) > event.MaxVersion-uint64(h.Version) {
		return problem.New(problem.TooLarge, "%s: it has version %d, %d more events go beyond %d", c.Aggregate, h.Version, len(c.Events), uint64(event.MaxVersion))
	}
	return nil
}

func (h Head) text() string {
	switch {
	case h.Version == 0:
		return "it was never written"
	case h.Deleted:
		return fmt.Sprintf("its newest is %d, which ended it", h.Version)
	default:
		return fmt.Sprintf("its newest is %d", h.Version)
	}
}
