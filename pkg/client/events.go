package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// EventsWanted says which events are asked for; the zero value: all that the token may read, from the first one on.
type EventsWanted struct {
	Type        string    // of aggregates of this type; empty: of all that the token may read
	ID          string    // of the aggregate of Type with this id; empty: of all
	Event       string    // of this event type
	Actor       string    // by him
	Correlation string    // that belong to this
	Since       time.Time // stored not before
	Until       time.Time // stored before
	Take        int       // on one page, at most; 0: 100
}

// EventsPage is one page of events. It may be empty and have a cursor: there is more to look at. The cursor is empty on the last page of a list.
type EventsPage struct {
	Events []Recorded `json:"events"`
	Cursor string     `json:"cursor"`
}

// eventsBody is a request for events.
type eventsBody struct {
	ID          string `json:"id,omitempty"`
	Event       string `json:"event,omitempty"`
	Actor       string `json:"actor,omitempty"`
	Correlation string `json:"correlation,omitempty"`
	Since       string `json:"since,omitempty"`
	Until       string `json:"until,omitempty"`
	Take        int    `json:"take,omitempty"`
	Cursor      string `json:"cursor,omitempty"`
}

func (w *EventsWanted) body(cursor string) eventsBody {
	return eventsBody{w.ID, w.Event, w.Actor, w.Correlation, wireTime(w.Since), wireTime(w.Until), w.Take, cursor}
}

// EventsPage lists events in the order in which they were stored: those of one log in its order, those of several by time. cursor is that of the page before, or empty.
func (c *Client) EventsPage(ctx context.Context, want EventsWanted, cursor string, options ...ReadOption) (*EventsPage, error) {
	page := &EventsPage{}
	return page, c.askType(ctx, want.Type, "events", readOf(options), want.body(cursor), page)
}

// tailWait is how long the server may wait for the next event before it answers that there is none.
const tailWait = 4 * time.Second

// Tail follows events as they are stored, until ctx ends or the loop does: each is given once, those of a log in their order, also when connection and server are lost in between; who asks
// goes on where he was. from is the cursor of an earlier Tail of the same events; empty: from the first event, or with now from the next one that is stored. Each event comes with the cursor behind it, if it is the
// last of those that came together, else with an empty one. The error of a server that is away is tried again for as long as ctx lives; others end it, and so does Close.
func (c *Client) Tail(ctx context.Context, want EventsWanted, from string, now bool, options ...ReadOption) iter.Seq2[Tailed, error] {
	return func(yield func(Tailed, error) bool) {
		for cursor := from; ; {
			page, err := c.tailPage(ctx, want, cursor, now, options...)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				if !repeatable(problemOf(err)) || c.closed.Load() {
					yield(Tailed{}, err)
					return
				}
				select { // it was tried again for a while already, unless ctx ends soon
				case <-time.After(firstDelay):
					continue
				case <-ctx.Done():
					return
				}
			}
			cursor, options = page.Cursor, nil
			for i, e := range page.Events {
				t := Tailed{Recorded: e}
				if i == len(page.Events)-1 {
					t.Cursor = cursor
				}
				if !yield(t, nil) {
					return
				}
			}
		}
	}
}

// Tailed is an event as it came.
type Tailed struct {
	Recorded
	Cursor string `json:"cursor,omitempty"` // to go on behind it; empty: with that of the next one that has one
}

func (c *Client) tailPage(ctx context.Context, want EventsWanted, cursor string, now bool, options ...ReadOption) (*EventsPage, error) {
	body := struct {
		eventsBody
		Now  bool  `json:"now,omitempty"`
		Wait int64 `json:"wait"`
	}{want.body(cursor), now && cursor == "", tailWait.Milliseconds()}
	page := &EventsPage{}
	return page, c.askType(ctx, want.Type, "tail", readOf(options), body, page)
}

// Traced is a commit in a tree of causes, and what it caused.
type Traced struct {
	Cause   string     `json:"cause,omitempty"`   // what its causation names
	Missing bool       `json:"missing,omitempty"` // the token may read nothing that has that hash or command id
	Cycle   bool       `json:"cycle,omitempty"`   // that lies below: the causes go round
	Events  []Recorded `json:"events"`
	Caused  []*Traced  `json:"caused,omitempty"`
}

// Trace is the tree of causes that an event is part of. Truncated: it is larger than what is shown.
type Trace struct {
	Hash      string  `json:"hash"`
	Root      *Traced `json:"root"`
	Truncated bool    `json:"truncated"`
}

// Trace gives the tree of causes that an event is part of, by its leaf hash or a unique prefix of it.
func (c *Client) Trace(ctx context.Context, hashPrefix string, options ...ReadOption) (*Trace, error) {
	body := struct {
		Hash string `json:"hash"`
	}{hashPrefix}
	t := &Trace{}
	return t, c.askType(ctx, "", "trace", readOf(options), body, t)
}

// Change is a field that differs between two versions; nil: not set.
type Change struct {
	Field          string  `json:"field"`
	Before         *string `json:"before"`
	After          *string `json:"after"`
	ShreddedBefore bool    `json:"shredded-before,omitempty"`
	ShreddedAfter  bool    `json:"shredded-after,omitempty"`
}

// Diff is what changed of an aggregate from one version to another.
type Diff struct {
	Type          string        `json:"type"`
	ID            string        `json:"id"`
	From          event.Version `json:"from"`
	To            event.Version `json:"to"`
	Changes       []Change      `json:"changes"`
	DeletedBefore bool          `json:"deleted-before"`
	DeletedAfter  bool          `json:"deleted-after"`
}

// Diff gives what changed of an aggregate between two versions; 0 is before its first event.
func (c *Client) Diff(ctx context.Context, a event.AggregateID, from, to event.Version, options ...ReadOption) (*Diff, error) {
	body := struct {
		From event.Version `json:"from"`
		To   event.Version `json:"to"`
	}{from, to}
	d := &Diff{}
	return d, c.ask(ctx, a, "diff", readOf(options), body, d)
}

// Step is one event of a replay, and the state behind it.
type Step struct {
	Event   string             `json:"event"`
	Changed map[string]*string `json:"changed"`
	State
}

// ReplayPage is a part of a replay. Agrees says, where the newest version is on the page, whether the events come to what queries say; Lies are snapshots that say something else.
type ReplayPage struct {
	Steps  []Step   `json:"steps"`
	Agrees *bool    `json:"agrees,omitempty"`
	Lies   []string `json:"lies,omitempty"`
	Cursor string   `json:"cursor"`
}

// ReplayPage folds an aggregate anew from its events; From and PageSize say which steps are given.
func (c *Client) ReplayPage(ctx context.Context, a event.AggregateID, options ...ReadOption) (*ReplayPage, error) {
	r := readOf(options)
	body := struct {
		From event.Version `json:"from"`
		Take int           `json:"take"`
	}{max(r.from, 1), r.take}
	page := &ReplayPage{}
	return page, c.ask(ctx, a, "replay", r, body, page)
}

// Rebuilt is an index that was built anew.
type Rebuilt struct {
	Log     string  `json:"log"`
	Seconds float64 `json:"seconds"`
}

// Rebuild has a projector process build the index of a log anew, or of all for an empty name, beside the one that answers meanwhile. Only ctx bounds it. progress may be nil.
func (c *Client) Rebuild(ctx context.Context, log string, progress Progress) ([]Rebuilt, error) {
	body, err := json.Marshal(map[string]string{"log": log})
	if err != nil {
		return nil, problem.New(problem.Malformed, "write the request as JSON: %v", err)
	}
	req := request{subject: streams.AdminSubject("projector", "rebuild"), header: nats.Header{streams.HeaderStream: {"1"}}, data: body, long: true}
	req.part = func(m *nats.Msg) {
		var p struct{ Done, Total uint64 }
		if progress != nil && json.Unmarshal(m.Data, &p) == nil && p.Total > 0 {
			progress(p.Done, p.Total)
		}
	}
	var answer struct {
		Logs []Rebuilt `json:"logs"`
	}
	m, err := c.roundTrip(ctx, req)
	return answer.Logs, decodeInto(&answer, m, err)
}
