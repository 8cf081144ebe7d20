package staging

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const (
	recordVersion = 1   // of the layout; a newer one is refused by name
	maxRecent     = 256 // requests whose repeat is recognised
	maxAttempts   = 16  // that may still be under way; a refusal of a noted attempt leaves one, until a version moves
)

// record is what one actor has staged, as it is sealed and stored.
type record struct {
	Version int       `json:"version"`
	Actor   string    `json:"actor"`
	Command string    `json:"command"` // id of the commit; another one as soon as it is known to be stored
	Began   time.Time `json:"began"`
	Next    uint64    `json:"next"` // number of the newest entry; numbers are not used again while the command id stays
	Entries []entry   `json:"entries"`
	Recent  []string  `json:"recent,omitempty"` // ids of requests that staged something
	Last    *last     `json:"last,omitempty"`

	// Attempts are commits of Entries that were begun under this command id, and of which at most one can be stored.
	Attempts []attempt `json:"attempts,omitempty"`

	key      string // of the bucket
	revision uint64
}

// entry is one staged event.
type entry struct {
	Number     uint64    `json:"n"`
	Type       string    `json:"type"`
	ID         string    `json:"id"`
	Expected   string    `json:"expected,omitempty"` // empty: any
	Event      string    `json:"event"`
	OccurredAt *int64    `json:"occurred,omitempty"` // ns since 1970
	Payload    []byte    `json:"payload"`            // the fields, log.md section 3
	Staged     time.Time `json:"staged"`
	Issuer     string    `json:"issuer,omitempty"` // auth key of the token that staged it; empty: an earlier version did not note it
}

// attempt is a commit that was begun: every entry up to a number, each aggregate in the order of its first entry pinned to a version.
type attempt struct {
	Request string          `json:"request"`
	UpTo    uint64          `json:"up-to"`
	Pins    []event.Version `json:"pins"`
}

func (a attempt) same(b attempt) bool { return a.UpTo == b.UpTo && slices.Equal(a.Pins, b.Pins) }

// last is the newest commit, for whoever asks again because the answer was lost.
type last struct {
	Request string         `json:"request"`
	Answer  *writer.Answer `json:"answer"`
}

func newCommandID() string { return "staged-" + rand.Text() }

// shownTo: what is staged is seen by tokens of the actor that may write its aggregate, and come from the same auth key or may read it: whoever holds an auth key
// can name any actor.
func (e *entry) shownTo(claims *token.Claims) bool {
	a := e.aggregate()
	return claims.AllowsAggregate(token.ActionWrite, a) && (e.Issuer == "" || e.Issuer == claims.Issuer || claims.AllowsAggregate(token.ActionRead, a))
}

func (e *entry) aggregate() event.AggregateID { return event.AggregateID{Type: e.Type, ID: e.ID} }

func (r *record) knows(request string) bool { return slices.Contains(r.Recent, request) }

func (r *record) summary() *Summary {
	return &Summary{Command: r.Command, Aggregates: len(r.aggregates(r.Next)), Events: len(r.Entries), Began: r.Began}
}

// aggregates are those of the entries up to a number, in the order of their first entry.
func (r *record) aggregates(upTo uint64) []event.AggregateID {
	var out []event.AggregateID
	seen := make(map[event.AggregateID]bool)
	for i := range r.Entries {
		if a := r.Entries[i].aggregate(); r.Entries[i].Number <= upTo && !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}

// add puts changes behind what is there. It refuses what changes says could never be one command, and a second expected version of an aggregate that says
// something else than the first.
func (r *record) add(changes []aggregate.Change, issuer, request string, now time.Time) *problem.Problem {
	check := aggregate.Command{ID: "check", Changes: changes}
	if problems := check.Check(); len(problems) > 0 {
		return problem.Join(problems)
	}
	if len(r.Entries) == 0 {
		r.Began = now.UTC()
	}
	for _, c := range changes {
		expected, p := r.expected(c)
		if p != nil {
			return p
		}
		for i := range c.Events {
			payload, err := event.EncodePayload(c.Events[i].Fields)
			if err != nil {
				return problem.New(problem.Malformed, "%v", err) // cannot be: Check has encoded it
			}
			r.Next++
			e := entry{Number: r.Next, Type: c.Aggregate.Type, ID: c.Aggregate.ID, Expected: expected, Event: c.Events[i].Type, Payload: payload, Staged: now.UTC(), Issuer: issuer}
			if at := c.Events[i].OccurredAt; at != nil {
				e.OccurredAt = new(int64(*at))
			}
			r.Entries = append(r.Entries, e)
		}
	}
	r.Recent = append(r.Recent, request)
	r.Recent = r.Recent[max(0, len(r.Recent)-maxRecent):]
	return nil
}

// expected is the text of a change's expected version, empty for any.
func (r *record) expected(c aggregate.Change) (string, *problem.Problem) {
	if c.Expected == aggregate.Any {
		return "", nil
	}
	want := c.Expected.String()
	for i := range r.Entries {
		if e := &r.Entries[i]; e.aggregate() == c.Aggregate && e.Expected != "" && e.Expected != want {
			p := problem.New(problem.Conflict, "%s is staged with the expected version %s, and this says %s", c.Aggregate, e.Expected, want)
			p.Expected = want
			return "", p.WithHint("it is the version of the stored aggregate, before everything that is staged: leave it out, or `eventful aggregate:discard %s` and stage it anew", c.Aggregate)
		}
	}
	return want, nil
}

// changes is the transaction of the entries up to a number.
func (r *record) changes(upTo uint64) ([]aggregate.Change, *problem.Problem) {
	order := r.aggregates(upTo)
	at := make(map[event.AggregateID]int, len(order))
	out := make([]aggregate.Change, len(order))
	for i, a := range order {
		at[a], out[i].Aggregate = i, a
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Number > upTo {
			continue
		}
		c := &out[at[e.aggregate()]]
		fields, err := event.DecodePayload(e.Payload)
		if err != nil {
			return nil, problem.New(problem.Internal, "a staged event of %s cannot be read: %v", e.aggregate(), err)
		}
		if e.Expected != "" {
			if c.Expected, err = aggregate.ParseExpected(e.Expected); err != nil {
				return nil, problem.From(err)
			}
		}
		n := aggregate.NewEvent{Type: e.Event, Fields: fields}
		if e.OccurredAt != nil {
			n.OccurredAt = new(event.Time(*e.OccurredAt))
		}
		c.Events = append(c.Events, n)
	}
	return out, nil
}

// pinned is the transaction of an attempt.
func (r *record) pinned(a attempt) ([]aggregate.Change, *problem.Problem) {
	changes, p := r.changes(a.UpTo)
	if p != nil {
		return nil, p
	}
	if len(changes) != len(a.Pins) {
		return nil, problem.New(problem.Internal, "the commit that was begun has %d aggregates, and %d versions are noted", len(changes), len(a.Pins))
	}
	for i := range changes {
		changes[i].Expected = aggregate.Exactly(a.Pins[i])
	}
	return changes, nil
}

func (r *record) list(claims *token.Claims, after uint64, take int) (*List, *problem.Problem) {
	list := &List{Events: []Staged{}}
	if len(r.Entries) > 0 {
		list.Command = r.Command
	}
	size := 0
	for i := range r.Entries {
		e := &r.Entries[i]
		switch {
		case !e.shownTo(claims):
			list.Hidden++
			continue
		case e.Number <= after || list.Cursor > 0:
			continue
		case len(list.Events) > 0 && (len(list.Events) == take || size+len(e.Payload) > pageBytes):
			list.Cursor = list.Events[len(list.Events)-1].Number
			continue
		}
		one, p := e.show()
		if p != nil {
			return nil, p
		}
		size += len(e.Payload)
		list.Events = append(list.Events, one)
	}
	if list.Hidden == len(r.Entries) { // such a token is not told that anything is there
		return &List{Events: []Staged{}}, nil
	}
	return list, nil
}

func (e *entry) show() (Staged, *problem.Problem) {
	out := Staged{Number: e.Number, Type: e.Type, ID: e.ID, Expected: e.Expected, Event: e.Event, Fields: map[string]*string{}, Staged: e.Staged}
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return out, problem.New(problem.Internal, "a staged event of %s cannot be read: %v", e.aggregate(), err)
	}
	for _, f := range fields {
		out.Fields[f.Name] = nil
		if f.Set {
			out.Fields[f.Name] = new(f.Value)
		}
	}
	if e.OccurredAt != nil {
		out.OccurredAt = new(time.Unix(0, *e.OccurredAt).UTC())
	}
	return out, nil
}

// discard takes entries out. A commit that was begun, and that is known not to be stored, is forgotten with them.
func (r *record) discard(claims *token.Claims, only *event.AggregateID) (*Discarded, *problem.Problem) {
	out := &Discarded{Aggregates: []string{}}
	var left []entry
	if len(r.Entries) > 0 && !slices.ContainsFunc(r.Entries, func(e entry) bool { return e.shownTo(claims) }) {
		return nil, problem.New(problem.NotFound, "nothing is staged that the token of %s may write", claims.Actor()).WithHint("`eventful aggregate:staged` lists what is")
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		a := e.aggregate()
		if only != nil && a != *only {
			left = append(left, *e)
			continue
		}
		if !e.shownTo(claims) {
			return nil, problem.New(problem.Forbidden, "the token of %s does not allow writing %q, which is staged too", claims.Actor(), e.Type).
				WithHint("discard the aggregates that it may write one by one, or use a token that may write all of them")
		}
		if name := a.String(); !slices.Contains(out.Aggregates, name) {
			out.Aggregates = append(out.Aggregates, name)
		}
		out.Events++
	}
	if only != nil && out.Events == 0 {
		return nil, problem.New(problem.NotFound, "nothing is staged for %s", *only).WithHint("`eventful aggregate:staged` lists what is")
	}
	r.Entries, r.Attempts, out.Left = left, nil, len(left)
	return out, nil
}

// committed takes the entries of a stored commit out and fixes a new command id.
func (r *record) committed(a attempt, answer *writer.Answer) {
	r.Entries = slices.DeleteFunc(r.Entries, func(e entry) bool { return e.Number <= a.UpTo })
	r.Command, r.Attempts, r.Last = newCommandID(), nil, &last{Request: a.Request, Answer: answer}
	if len(r.Entries) > 0 {
		r.Began = r.Entries[0].Staged
	}
}
