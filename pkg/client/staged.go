package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// StagedEvent is one event that is staged.
type StagedEvent struct {
	Number     uint64             `json:"number"` // counts what was staged since the staging began
	Type       string             `json:"type"`
	ID         string             `json:"id"`
	Expected   Expected           `json:"expected-version,omitempty"` // of the stored aggregate; empty: any
	Event      string             `json:"event"`
	OccurredAt *time.Time         `json:"occurred-at,omitempty"`
	Fields     map[string]*string `json:"fields"` // nil: unset
	Staged     time.Time          `json:"staged"`
}

// Staging says what is staged now, in numbers.
type Staging struct {
	Command    string    `json:"command"` // id that the commit will have
	Aggregates int       `json:"aggregates"`
	Events     int       `json:"events"`
	Began      time.Time `json:"began"`
	DryRun     bool      `json:"dry-run,omitempty"`
}

// CommitAnswer is the answer to the commit of what was staged, and how many events were staged meanwhile and stay so.
type CommitAnswer struct {
	Answer
	Left int `json:"left"`
}

// Discarded says what was dropped.
type Discarded struct {
	Aggregates []string `json:"aggregates"` // type/id
	Events     int      `json:"events"`
	Left       int      `json:"left"` // events that stay staged
}

// Apply stages the events of a transaction behind what the same actor has staged before, on the server and sealed. Everything that is staged then must pass a
// dry run: so a transaction over two logs is refused here, and a conflict too. An expected version is that of the stored aggregate, before everything that is
// staged. No budget is spent. Of the context, the command id tells a repeat of this request, DryRun stages nothing, Token works as ever; the rest is
// for Commit.
func (c *Client) Apply(ctx context.Context, t Transaction) (*Staging, error) {
	if len(t.Commits) == 0 {
		return nil, problem.New(problem.Malformed, "nothing to stage")
	}
	body, err := t.encode()
	if err != nil {
		return nil, err
	}
	s := &Staging{}
	return s, c.staged(ctx, "add", t.Context, body, s)
}

// Staged lists what is staged by the token's actor, as far as the token may write it, and how many events it does not show. They are read page by page: what
// another session changes meanwhile may be seen or not.
func (c *Client) Staged(ctx context.Context) (events []StagedEvent, hidden int, err error) {
	var page struct {
		Events []StagedEvent `json:"events"`
		Hidden int           `json:"hidden"`
		Cursor uint64        `json:"cursor"`
	}
	for {
		body, err := json.Marshal(map[string]uint64{"after": page.Cursor, "take": 1000})
		if err != nil {
			return nil, 0, problem.New(problem.Malformed, "write the request as JSON: %v", err)
		}
		page.Events, page.Cursor = nil, 0
		if err := c.staged(ctx, "list", Context{}, body, &page); err != nil {
			return nil, 0, err
		}
		events = append(events, page.Events...)
		if page.Cursor == 0 {
			return events, page.Hidden, nil
		}
	}
}

// Commit stores everything that is staged as one transaction and waits until it is on disk. It is stored once, however often and from however many sessions it
// is run. If it fails, everything stays staged. ErrNotFound: nothing is staged.
func (c *Client) Commit(ctx context.Context, x Context) (*CommitAnswer, error) {
	a := &CommitAnswer{}
	return a, c.staged(ctx, "commit", x, nil, a)
}

// Discard drops what is staged for one aggregate, or everything if it is nil.
func (c *Client) Discard(ctx context.Context, only *event.AggregateID) (*Discarded, error) {
	body := []byte("{}")
	if only != nil {
		var err error
		if body, err = json.Marshal(map[string]string{"type": only.Type, "id": only.ID}); err != nil {
			return nil, problem.New(problem.Malformed, "write the request as JSON: %v", err)
		}
	}
	d := &Discarded{}
	return d, c.staged(ctx, "discard", Context{}, body, d)
}

func (c *Client) staged(ctx context.Context, verb string, x Context, body []byte, into any) error {
	req, err := x.request(streams.AdminSubject("staged", verb), body)
	if err != nil {
		return err
	}
	if req.stores = "staged " + verb; verb == "list" || x.DryRun {
		req.stores = ""
	}
	m, err := c.roundTrip(ctx, req)
	return decodeInto(into, m, err)
}
