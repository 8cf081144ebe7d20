package client

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// pageSize is how many rows one answer of a list holds where the caller did not say.
const pageSize = 100

// State is an aggregate as its events have made it. Hash and root are lower-case hexadecimal; hash, time and actor are those of its last event.
type State struct {
	Type       string            `json:"type"`
	ID         string            `json:"id"`
	Version    event.Version     `json:"version"`
	Fields     map[string]string `json:"fields"`
	Deleted    bool              `json:"deleted"`
	Archived   bool              `json:"archived"` // now, whatever the version: it is locked
	Root       string            `json:"root"`
	Hash       string            `json:"hash"`
	Time       time.Time         `json:"time"`
	OccurredAt *time.Time        `json:"occurred-at,omitempty"` // nil: the command gave none
	Actor      string            `json:"actor"`

	RolledBack string   `json:"rolled-back,omitempty"` // id of the rollback that made this state; empty: none did
	Shredded   []string `json:"shredded,omitempty"`    // fields that have a value whose key is gone; they are not in Fields
}

// Recorded is one event as it stands in the log. A field whose value is nil was unset by it. Type and ID stand only in the answer to Event.
type Recorded struct {
	Type          string             `json:"type,omitempty"`
	ID            string             `json:"id,omitempty"`
	Version       event.Version      `json:"version"`
	Event         string             `json:"event"`
	Fields        map[string]*string `json:"fields"`
	Actor         string             `json:"actor"`
	Token         string             `json:"token"`
	Issuer        string             `json:"issuer"`
	OccurredAt    *time.Time         `json:"occurred-at,omitempty"` // nil: the command gave none
	Time          time.Time          `json:"time"`
	Hash          string             `json:"hash"`
	Position      string             `json:"position"`
	Commit        string             `json:"commit"`
	Command       string             `json:"command"`
	SchemaVersion uint64             `json:"schema-version"`

	Correlation string `json:"correlation,omitempty"` // this and the next stand where Type does
	Causation   string `json:"causation,omitempty"`

	Shredded []string `json:"shredded,omitempty"` // fields that have a value whose key is gone; they are not in Fields
}

// Summary is an aggregate in a list.
type Summary struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Version event.Version `json:"version"`
	Root    string        `json:"root"`
	Deleted bool          `json:"deleted"`
	Time    time.Time     `json:"time"`

	Archived *time.Time `json:"archived,omitempty"` // since when it is archived; nil: it is not
	Comment  string     `json:"comment,omitempty"`  // why it was archived
}

// Page is one page of a list; an empty cursor says that it is the last.
type Page struct {
	Aggregates []Summary `json:"aggregates"`
	Cursor     string    `json:"cursor,omitempty"`
}

// ReadOption narrows a read.
type ReadOption func(*read)

type read struct {
	version  event.Version
	at       time.Time
	from     event.Version
	skip     uint64
	newest   bool
	take     int
	cursor   string
	filter   string
	sort     string
	archived bool
	waitFor  string
}

// AtVersion reads the state as it was at that version.
func AtVersion(v event.Version) ReadOption { return func(r *read) { r.version = v } }

// AtTime reads the state as it was stored by then.
func AtTime(t time.Time) ReadOption { return func(r *read) { r.at = t } }

// Skip leaves out that many events at the beginning of a history.
func Skip(events uint64) ReadOption { return func(r *read) { r.skip = events } }

// NewestFirst gives a history from its end on.
func NewestFirst() ReadOption { return func(r *read) { r.newest = true } }

// Filter lists those aggregates of a type that fulfil a condition over its fields, for example `status = deceased and age >= 80` (docs/queries.md).
func Filter(condition string) ReadOption { return func(r *read) { r.filter = condition } }

// Sort lists aggregates of a type by fields, separated by commas; a - before one turns it round.
func Sort(fields string) ReadOption { return func(r *read) { r.sort = fields } }

// OnlyArchived lists those aggregates that are archived, and no others.
func OnlyArchived() ReadOption { return func(r *read) { r.archived = true } }

// From begins a history at that version.
func From(v event.Version) ReadOption { return func(r *read) { r.from = v } }

// PageSize sets how many rows one answer holds; the server has a limit of its own.
func PageSize(rows int) ReadOption { return func(r *read) { r.take = rows } }

// Cursor goes on behind an earlier page.
func Cursor(cursor string) ReadOption { return func(r *read) { r.cursor = cursor } }

// WaitFor makes the answer include the commit at that position, as an Answer names it: read your own writes.
func WaitFor(position string) ReadOption { return func(r *read) { r.waitFor = position } }

// Latest makes the answer include everything that the log held when the query came.
func Latest() ReadOption { return WaitFor("latest") }

func readOf(options []ReadOption) read {
	r := read{take: pageSize}
	for _, o := range options {
		o(&r)
	}
	return r
}

// Get reads the state of an aggregate, now or with AtVersion. ErrNotFound: it, or that version, was never written.
func (c *Client) Get(ctx context.Context, a event.AggregateID, options ...ReadOption) (*State, error) {
	r := readOf(options)
	var body struct {
		Version event.Version `json:"version,omitempty"`
		At      string        `json:"at,omitempty"`
	}
	body.Version, body.At = r.version, wireTime(r.at)
	state := &State{}
	return state, c.ask(ctx, a, "get", r, body, state)
}

// History goes through the events of an aggregate in version order, page by page as the loop asks for them. It ends behind the first error.
func (c *Client) History(ctx context.Context, a event.AggregateID, options ...ReadOption) iter.Seq2[Recorded, error] {
	r := readOf(options)
	return func(yield func(Recorded, error) bool) {
		for {
			events, more, err := c.historyPage(ctx, a, r)
			if err != nil {
				yield(Recorded{}, err)
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				if r.from = e.Version + 1; r.newest {
					r.from = e.Version
				}
			}
			if r.skip = 0; !more || len(events) == 0 {
				return
			}
		}
	}
}

func (c *Client) historyPage(ctx context.Context, a event.AggregateID, r read) (events []Recorded, more bool, err error) {
	body := struct {
		From   event.Version `json:"from"`
		Take   int           `json:"take"`
		Skip   uint64        `json:"skip,omitempty"`
		Newest bool          `json:"newest-first,omitempty"`
	}{r.from, r.take, r.skip, r.newest}
	if !r.newest {
		body.From = max(r.from, 1)
	}
	var page struct {
		Events []Recorded      `json:"events"`
		Cursor json.RawMessage `json:"cursor"`
	}
	if err := c.ask(ctx, a, "history", r, body, &page); err != nil {
		return nil, false, err
	}
	return page.Events, hasMore(page.Cursor), nil
}

// hasMore is true for a cursor of any form: the next request is made from the last version, not from it.
func hasMore(cursor json.RawMessage) bool {
	text := string(cursor)
	return text != "" && text != `""` && text != "null" && text != "0"
}

// wireTime is a time in a request; empty for none.
func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// List goes through the aggregates of a type, or of all types that the token may read if it is empty. It ends behind the first error.
func (c *Client) List(ctx context.Context, aggregateType string, options ...ReadOption) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		for {
			page, err := c.ListPage(ctx, aggregateType, options...)
			if err != nil {
				yield(Summary{}, err)
				return
			}
			for _, s := range page.Aggregates {
				if !yield(s, nil) {
					return
				}
			}
			if page.Cursor == "" {
				return
			}
			options = append(options[:len(options):len(options)], Cursor(page.Cursor))
		}
	}
}

// ListPage is one page of List.
func (c *Client) ListPage(ctx context.Context, aggregateType string, options ...ReadOption) (*Page, error) {
	r := readOf(options)
	if !utf8.ValidString(r.filter) {
		return nil, problem.New(problem.Malformed, "the filter is no valid UTF-8")
	}
	body := struct {
		Take     int    `json:"take"`
		Cursor   string `json:"cursor,omitempty"`
		Filter   string `json:"filter,omitempty"`
		Sort     string `json:"sort,omitempty"`
		Archived bool   `json:"archived,omitempty"`
	}{r.take, r.cursor, r.filter, r.sort, r.archived}
	page := &Page{}
	return page, c.askType(ctx, aggregateType, "list", r, body, page)
}

// Event finds an event by its leaf hash or a unique prefix of it, at least four lower-case hexadecimal digits.
func (c *Client) Event(ctx context.Context, hashPrefix string, options ...ReadOption) (*Recorded, error) {
	body := struct {
		Hash string `json:"hash"`
	}{hashPrefix}
	e := &Recorded{}
	return e, c.askType(ctx, "", "event", readOf(options), body, e)
}

// Resolve lists the aggregates with that id, whatever their type.
func (c *Client) Resolve(ctx context.Context, id string) ([]event.AggregateID, error) {
	if err := event.CheckID(id); err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	body := struct {
		ID string `json:"id"`
	}{id}
	var answer struct {
		Candidates []string `json:"candidates"`
	}
	if err := c.askType(ctx, "", "resolve", readOf([]ReadOption{Latest()}), body, &answer); err != nil { // whoever just wrote it names it
		return nil, err
	}
	var found []event.AggregateID
	for _, text := range answer.Candidates {
		a, err := streams.ParseAggregate(text)
		if err != nil {
			return nil, problem.New(problem.Internal, "the answer names an aggregate that cannot be read: %v", err)
		}
		found = append(found, a)
	}
	return found, nil
}

// ask sends a query about one aggregate.
func (c *Client) ask(ctx context.Context, a event.AggregateID, verb string, r read, body, into any) error {
	subject, err := streams.QuerySubject(a, verb)
	if err != nil {
		return problem.New(problem.Malformed, "%v", err)
	}
	return c.query(ctx, subject, r, body, into)
}

// askType sends a query about a type, or about everything if it is empty.
func (c *Client) askType(ctx context.Context, aggregateType, verb string, r read, body, into any) error {
	subject, err := streams.TypeQuerySubject(aggregateType, verb)
	if err != nil {
		return problem.New(problem.Malformed, "%v", err)
	}
	return c.query(ctx, subject, r, body, into)
}

func (c *Client) query(ctx context.Context, subject string, r read, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return problem.New(problem.Malformed, "write the query as JSON: %v", err)
	}
	req := request{subject: subject, header: nats.Header{}, data: data, slow: r.filter != "" || r.sort != "" || slow(subject)}
	if r.waitFor != "" {
		req.header.Set(streams.HeaderWaitFor, r.waitFor)
	}
	m, err := c.roundTrip(ctx, req)
	return decodeInto(into, m, err)
}

// slow reports whether a query may take as long as the server lets it: it searches, or reads the log.
func slow(subject string) bool {
	verb := subject[strings.LastIndexByte(subject, '.')+1:]
	return verb == "events" || verb == "trace" || verb == "verify"
}
