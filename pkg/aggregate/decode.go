package aggregate

import (
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// DecodeFields reads the body of a command (section 2): one JSON object, or nothing for no fields. Fields come in the order they were sent
// in, each name once. The error is a *problem.Problem, malformed or too_large, whose Field is the culprit.
func DecodeFields(body []byte) ([]event.Field, error) {
	if len(body) == 0 {
		return nil, nil
	}
	s := &scanner{in: string(body)}
	fields, p := s.fields()
	if p == nil {
		p = s.end()
	}
	if p != nil {
		return nil, asError(p)
	}
	return fields, nil
}

func (s *scanner) fields() ([]event.Field, *problem.Problem) {
	fields := make([]event.Field, 0, 8)
	p := s.object(func(key string) *problem.Problem {
		if len(fields) == event.MaxFields {
			return problem.New(problem.TooLarge, "more than %d fields in one event", event.MaxFields)
		}
		if err := event.CheckField(key); err != nil {
			return s.bad("%v", err)
		}
		value, set, p := s.scalar()
		fields = append(fields, event.Field{Name: key, Value: value, Set: set})
		return p
	})
	return fields, p
}

// DecodeTransaction reads the body of a transaction (section 3). Names and ids are left for Command.Check. Every key has to be spelt as
// section 3 does; an expected version may be a string or a JSON number. The error is a *problem.Problem, malformed or too_large, whose
// Field is the path to the culprit: commits[0].events[1].fields.crp.
func DecodeTransaction(body []byte) ([]Change, error) {
	t := &transaction{scanner: scanner{in: string(body)}}
	found := false
	p := t.object(func(key string) *problem.Problem {
		if key != "commits" {
			return t.unknown("commits")
		}
		found = true
		return t.array(t.change)
	})
	if p == nil {
		p = t.end()
	}
	if p == nil && !found {
		p = t.missing("commits")
	}
	if p != nil {
		return nil, asError(p)
	}
	return t.changes, nil
}

// transaction is a transaction while it is read.
type transaction struct {
	scanner
	changes []Change
	events  int // over all changes
}

func (t *transaction) unknown(known ...string) *problem.Problem {
	return t.bad("the key is unknown").WithHint("known here, spelt exactly so: %s", strings.Join(known, ", "))
}

func (t *transaction) missing(key string) *problem.Problem {
	return within(t.bad("the key is missing"), key)
}

func (t *transaction) change(i int) *problem.Problem {
	if i == MaxChanges {
		return problem.New(problem.TooLarge, "more than %d aggregates in one transaction", MaxChanges)
	}
	c := Change{}
	var hasType, hasID, hasEvents bool
	p := t.object(func(key string) (p *problem.Problem) {
		switch key {
		case "type":
			hasType = true
			c.Aggregate.Type, p = t.str()
		case "id":
			hasID = true
			c.Aggregate.ID, p = t.str()
		case "expected-version":
			c.Expected, p = t.expected()
		case "events":
			hasEvents = true
			p = t.array(func(i int) *problem.Problem { return t.event(&c) })
		default:
			p = t.unknown("type", "id", "expected-version", "events")
		}
		return p
	})
	switch {
	case p != nil:
		return p
	case !hasType:
		return t.missing("type")
	case !hasID:
		return t.missing("id")
	case !hasEvents:
		return t.missing("events")
	}
	t.changes = append(t.changes, c)
	return nil
}

func (t *transaction) event(c *Change) *problem.Problem {
	if t.events++; t.events > MaxEvents {
		return problem.New(problem.TooLarge, "more than %d events in one transaction", MaxEvents)
	}
	e := NewEvent{}
	hasType := false
	p := t.object(func(key string) (p *problem.Problem) {
		switch key {
		case "event":
			hasType = true
			e.Type, p = t.str()
		case "occurred-at":
			e.OccurredAt, p = t.occurredAt()
		case "fields":
			e.Fields, p = t.fields()
		default:
			p = t.unknown("event", "occurred-at", "fields")
		}
		return p
	})
	if p == nil && !hasType {
		p = t.missing("event")
	}
	c.Events = append(c.Events, e)
	return p
}

// str reads a string and nothing else.
func (t *transaction) str() (string, *problem.Problem) {
	if t.space() != '"' {
		return "", t.bad("a string is wanted here, this is %s", t.found())
	}
	return t.text()
}

func (t *transaction) expected() (Expected, *problem.Problem) {
	read := t.str
	if c := t.space(); c == '-' || c >= '0' && c <= '9' {
		read = t.number
	}
	s, p := read()
	if p != nil {
		return Expected{}, p
	}
	e, err := ParseExpected(s)
	if err != nil {
		return Expected{}, problem.From(err)
	}
	return e, nil
}

func (t *transaction) occurredAt() (*event.Time, *problem.Problem) {
	s, p := t.str()
	if p != nil {
		return nil, p
	}
	at, err := ParseOccurredAt(s)
	if err != nil {
		return nil, problem.From(err)
	}
	return &at, nil
}
