package projector

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// ActsWanted says which administrative acts are asked for; the zero value: all, from the first one on.
type ActsWanted struct {
	Actor  string                       // who did them: all of it, or its beginning and `…`; empty: anybody
	About  event.AggregateID            // what they are about, itself or by its name as an id; without an id everything of the type, without a type anything
	Since  time.Time                    // not before; zero: from the first one
	Until  time.Time                    // before; zero: to the last one
	Units  bool                         // grants and hand-backs of write budgets too, which writers record by themselves
	May    func(event.AggregateID) bool // whether who asks may see acts on this one; nil: he may
	Cursor string                       // of the page before
	Take   int                          // at most; 100 if it is less than 1, 1000 at most
}

// Acts is one page of administrative acts in the order in which they were stored. Cursor goes into the next call as it is; empty on the last page.
type Acts struct {
	Acts   []NamedEvent `json:"acts"`
	Cursor string       `json:"cursor"`
}

// actsRead is how many commits one page looks at, at most: a page may be empty and have a cursor.
const actsRead = 10_000

// Acts gives the events of the system log that are acts of people, each with the hash that proves it. malformed if the cursor is not one that Acts gave. Its
// cost depends on the page, not on the log.
func (p *Projector) Acts(ctx context.Context, want ActsWanted) (Acts, error) {
	out := Acts{Acts: []NamedEvent{}}
	query := queryDigest("audit", want.Actor, want.About.Type, want.About.ID, strconv.FormatBool(want.Units)) // times may be given as "an hour ago"
	var from actPlace
	if err := p.cursors.open(query, want.Cursor, &from); err != nil {
		return out, err
	}
	if err := p.up(); err != nil {
		return out, err
	}
	x, _, _ := p.indexOrGrowth(event.Reserved)
	if x == nil {
		return out, nil
	}
	page := actsPage{want: want, log: x.name, take: clampTake(want.Take), out: out}
	err := x.view(ctx, func(r *reading) error {
		begin, err := r.begin(spot{sequence: from.Sequence, index: from.Index}, want.Since)
		if err != nil {
			return err
		}
		return r.walk(posting{}, begin, func(c located) (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, problem.New(problem.Unavailable, "reading the acts was given up: %v", err)
			}
			return page.add(c)
		})
	})
	if err == nil && page.next != (actPlace{}) {
		page.out.Cursor, err = p.cursors.seal(query, page.next)
	}
	return page.out, err
}

// actPlace is where a page of acts ends.
type actPlace struct {
	Sequence uint64
	Index    uint32
}

// begin is where a reader begins: at a place, or with the first block that is not before a time.
func (r *reading) begin(at spot, since time.Time) (spot, error) {
	if at != (spot{}) || since.IsZero() || since.Unix() < 0 {
		return at, nil
	}
	return r.since(event.Time(since.UnixNano()))
}

type actsPage struct {
	want ActsWanted
	log  string
	take int
	read int
	size int
	next actPlace // of the page behind
	out  Acts
}

// add takes what is wanted of a commit; false: the page ends before it.
func (p *actsPage) add(c located) (more bool, err error) {
	if !p.want.Until.IsZero() && !time.Unix(0, int64(c.Time)).Before(p.want.Until) {
		return false, nil
	}
	if p.read++; p.read > actsRead || len(p.out.Acts) >= p.take || p.size > pageBytes {
		p.next = actPlace{c.at.Sequence, c.at.Index}
		return false, nil
	}
	if time.Unix(0, int64(c.Time)).Before(p.want.Since) || !p.want.wants(c) {
		return true, nil
	}
	for i := range c.Events {
		if unitsOnly(c.Events[i].Type) && !p.want.Units {
			continue
		}
		e, err := toEvent(p.log, c, i)
		if err != nil {
			return false, err
		}
		p.out.Acts = append(p.out.Acts, NamedEvent{Type: c.Aggregate.Type, ID: c.Aggregate.ID, Event: e})
		p.size += eventText + len(c.Events[i].Payload)
	}
	return true, nil
}

// eventText is what an event takes in JSON besides its fields, about.
const eventText = 700

// unitsOnly reports whether an event of the system log is what writers record of a token's budget (docs/spec/commands.md, section 9).
func unitsOnly(eventType string) bool {
	return eventType == "budget-granted" || eventType == "budget-taken-back"
}

func (w *ActsWanted) wants(c located) bool {
	if !actsAs(c.Actor, w.Actor) || w.May != nil && !w.May(c.Aggregate) {
		return false
	}
	of := w.About
	switch {
	case of == event.AggregateID{}:
		return true
	case c.Aggregate.Type == schema.SystemRollback && of.Type != schema.SystemRollback:
		return rollsBack(c, of)
	case of.ID == "":
		return c.Aggregate.Type == of.Type || c.Aggregate.ID == of.Type
	}
	return c.Aggregate == of || c.Aggregate.ID == of.String() || c.Aggregate.Type == schema.SystemCertificate && c.Aggregate.ID == schema.ForgottenID(of)
}

// actsAs reports whether an actor is the wanted one, or begins as it does where that ends with an ellipsis.
func actsAs(actor, wanted string) bool {
	beginning, cut := strings.CutSuffix(wanted, "…")
	return wanted == "" || actor == wanted || cut && strings.HasPrefix(actor, beginning)
}

// rollsBack reports whether a record of a rollback is about a type, or an aggregate.
func rollsBack(c located, of event.AggregateID) bool {
	fields, err := event.DecodePayload(c.Events[0].Payload)
	if err != nil {
		return false
	}
	var about event.AggregateID
	for _, f := range fields {
		switch f.Name {
		case "type":
			about.Type = f.Value
		case "id":
			about.ID = f.Value
		}
	}
	return (about.Type == "" || about.Type == of.Type) && (about.ID == "" || of.ID == "" || about.ID == of.ID)
}
