package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// Fields are the fields of an event. Values are strings, booleans, numbers, json.Number (for exact text such as 1.10) or nil, which unsets the
// field. Objects and arrays are refused by the server.
type Fields map[string]any

// Expected says which version the aggregate must have for the command to be accepted. Empty means Any.
type Expected string

// Expected versions without a number: whatever it is; never written, or deleted; written and not deleted.
const (
	Any    Expected = "any"
	None   Expected = "none"
	Exists Expected = "exists"
)

// Exactly expects the newest version to be v; 0 means never written.
func Exactly(v event.Version) Expected { return Expected(strconv.FormatUint(uint64(v), 10)) }

// Context is what a command carries besides its content. All of it may be left out.
type Context struct {
	// CommandID makes a repeat harmless: 1 to 128 visible ASCII characters. Made at random if empty.
	CommandID     string
	CorrelationID string
	CausationID   string
	Traceparent   string // W3C Trace Context
	// DryRun checks everything, stores nothing, spends nothing.
	DryRun bool
	// Token names the actor of this command instead of the client's token.
	Token string
}

// Command is one event for one aggregate.
type Command struct {
	Aggregate  event.AggregateID
	Event      string
	Fields     Fields
	Data       []byte // the JSON object as it is to be sent, instead of Fields
	Expected   Expected
	OccurredAt time.Time // zero: not given
	Context
}

// Transaction is events of one or several aggregates of one log: stored together or not at all.
type Transaction struct {
	Commits []Commit
	Context
}

// Commit is a transaction's part for one aggregate, which stands once in a transaction.
type Commit struct {
	Aggregate event.AggregateID
	Expected  Expected
	Events    []Event
}

// Event is one event of a commit.
type Event struct {
	Type       string
	Fields     Fields
	Data       []byte    // the JSON object as it is to be sent, instead of Fields
	OccurredAt time.Time // zero: not given
}

// Answer says what was stored. A dry run has no positions.
type Answer struct {
	Command  string      `json:"command"`
	Repeated bool        `json:"repeated"` // this is the answer to the same command sent earlier
	DryRun   bool        `json:"dry-run,omitempty"`
	Commits  []Committed `json:"commits"`
	Time     time.Time   `json:"time"`
}

// Committed is a stored commit. Hashes and root are lower-case hexadecimal; the position is as in docs/spec/log.md, section 8.
type Committed struct {
	Type         string        `json:"type"`
	ID           string        `json:"id"`
	FirstVersion event.Version `json:"first-version"`
	Version      event.Version `json:"version"`
	Position     string        `json:"position,omitempty"`
	Hashes       []string      `json:"hashes"`
	Root         string        `json:"root"`
}

// Command sends one command and waits until its event is on disk. Errors are problems; ErrConflict, ErrInvalid, ErrBudgetSpent and the other
// sentinels tell them apart. ErrUnknownOutcome means: send it again with the same CommandID.
func (c *Client) Command(ctx context.Context, cmd Command) (*Answer, error) {
	req, err := cmd.request()
	if err != nil {
		return nil, err
	}
	return decodeAnswer(c.roundTrip(ctx, req))
}

// CommandAsync sends one command and returns at once; then is called once with the answer. Thousands may be open: one costs some kilobytes and
// no goroutine. There is no bound; the caller keeps one. then runs on the goroutine that reads all answers: it must not block and must not call a
// method that waits, but it may call CommandAsync. Commands leave in the order of the calls, yet one that has to be repeated is overtaken by those
// behind it: to keep the order within an aggregate, send its next command when the one before is answered.
func (c *Client) CommandAsync(ctx context.Context, cmd Command, then func(*Answer, error)) {
	req, err := cmd.request()
	if err != nil {
		then(nil, err)
		return
	}
	c.start(ctx, req, func(m *nats.Msg, err error) { then(decodeAnswer(m, err)) })
}

// Transact sends a transaction and waits until it is on disk. Errors are as of Command.
func (c *Client) Transact(ctx context.Context, t Transaction) (*Answer, error) {
	req, err := t.request()
	if err != nil {
		return nil, err
	}
	return decodeAnswer(c.roundTrip(ctx, req))
}

func (cmd *Command) request() (request, error) {
	subject, err := streams.CommandSubject(cmd.Aggregate, cmd.Event)
	if err != nil {
		return request{}, problem.New(problem.Malformed, "%v", err)
	}
	body := cmd.Data
	if body == nil && len(cmd.Fields) > 0 {
		if body, err = cmd.Fields.encode(); err != nil {
			return request{}, err
		}
	}
	req, err := cmd.Context.request(subject, body)
	if err != nil {
		return request{}, err
	}
	if cmd.Expected != "" {
		req.header.Set(streams.HeaderExpected, string(cmd.Expected))
	}
	if !cmd.OccurredAt.IsZero() {
		req.header.Set(streams.HeaderOccurredAt, cmd.OccurredAt.UTC().Format(time.RFC3339Nano))
	}
	return req, nil
}

func (x *Context) request(subject string, body []byte) (request, error) {
	id := x.CommandID
	if id == "" {
		id = rand.Text()
	}
	if err := event.CheckCommandID(id); err != nil {
		return request{}, problem.New(problem.Malformed, "%v", err)
	}
	header := nats.Header{streams.HeaderCommandID: {id}}
	for name, value := range map[string]string{
		streams.HeaderCorrelation: x.CorrelationID, streams.HeaderCausation: x.CausationID, streams.HeaderTraceparent: x.Traceparent,
	} {
		if err := headerValue(name, value); err != nil {
			return request{}, err
		}
		if value != "" {
			header[name] = []string{value}
		}
	}
	req := request{subject: subject, header: header, data: body, token: x.Token, stores: "command " + id}
	if x.DryRun {
		header.Set(streams.HeaderDryRun, "true")
		req.stores = ""
	}
	return req, nil
}

// headerValue refuses what would break the header's lines, or come out other than it went in.
func headerValue(name, value string) error {
	for i := range len(value) {
		if value[i] < 0x20 || value[i] == 0x7f {
			return problem.New(problem.Malformed, "%s %.80q has a control character", name, value)
		}
	}
	if !utf8.ValidString(value) || strings.TrimSpace(value) != value {
		return problem.New(problem.Malformed, "%s %.80q is not valid UTF-8, or begins or ends with a blank", name, value)
	}
	return nil
}

// encode refuses invalid UTF-8, which encoding/json would replace silently.
func (f Fields) encode() ([]byte, error) {
	for name, value := range f {
		if s, ok := value.(string); ok && !utf8.ValidString(s) || !utf8.ValidString(name) {
			return nil, problem.New(problem.Malformed, "field %.80q is not valid UTF-8", name)
		}
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, problem.New(problem.Malformed, "write the fields as JSON: %v", err)
	}
	return body, nil
}

type wireEvent struct {
	Event      string          `json:"event"`
	OccurredAt string          `json:"occurred-at,omitempty"`
	Fields     json.RawMessage `json:"fields,omitempty"`
}

type wireCommit struct {
	Type     string      `json:"type"`
	ID       string      `json:"id"`
	Expected Expected    `json:"expected-version,omitempty"`
	Events   []wireEvent `json:"events"`
}

func (t *Transaction) request() (request, error) {
	if len(t.Commits) == 0 {
		return request{}, problem.New(problem.Malformed, "a transaction without commits")
	}
	subject, err := streams.TransactionSubject(t.Commits[0].Aggregate.Type)
	if err != nil {
		return request{}, problem.New(problem.Malformed, "%v", err)
	}
	data, err := t.encode()
	if err != nil {
		return request{}, err
	}
	return t.Context.request(subject, data)
}

// encode gives the body of a transaction.
func (t *Transaction) encode() ([]byte, error) {
	var body struct {
		Commits []wireCommit `json:"commits"`
	}
	for _, commit := range t.Commits {
		w, err := commit.wire()
		if err != nil {
			return nil, err
		}
		body.Commits = append(body.Commits, w)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, problem.New(problem.Malformed, "write the transaction as JSON: %v", err)
	}
	return data, nil
}

func (c *Commit) wire() (wireCommit, error) {
	if err := c.Aggregate.Check(); err != nil {
		return wireCommit{}, problem.New(problem.Malformed, "%v", err)
	}
	w := wireCommit{Type: c.Aggregate.Type, ID: c.Aggregate.ID, Expected: c.Expected}
	for _, e := range c.Events {
		we := wireEvent{Event: e.Type}
		if !e.OccurredAt.IsZero() {
			we.OccurredAt = e.OccurredAt.UTC().Format(time.RFC3339Nano)
		}
		if e.Data != nil {
			we.Fields = e.Data
		} else if len(e.Fields) > 0 {
			fields, err := e.Fields.encode()
			if err != nil {
				return wireCommit{}, fmt.Errorf("event %s of %s: %w", e.Type, c.Aggregate, err)
			}
			we.Fields = fields
		}
		w.Events = append(w.Events, we)
	}
	return w, nil
}

func decodeAnswer(m *nats.Msg, err error) (*Answer, error) {
	answer := &Answer{}
	if err := decodeInto(answer, m, err); err != nil {
		return nil, err
	}
	return answer, nil
}

// decodeInto reads an answer's body; a failed request passes through.
func decodeInto(into any, m *nats.Msg, err error) error {
	if err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, into); err != nil {
		return problem.New(problem.Internal, "the answer cannot be read: %v", err)
	}
	return nil
}
