package client

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// Schema is what an aggregate type accepts: the definition in force, and the draft that waits for a migration.
type Schema struct {
	Type       string          `json:"type"`
	Log        string          `json:"log,omitempty"`
	Version    uint64          `json:"version"` // 0: there is only a draft
	Digest     string          `json:"digest,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
	Draft      json.RawMessage `json:"draft,omitempty"`
}

// SchemaChange is one change of a draft, in words. One that is not compatible stands in the way of a migration.
type SchemaChange struct {
	Text       string `json:"text"`
	Compatible bool   `json:"compatible"`
}

// Migration is what a migration does, or in a dry run would do, to one type.
type Migration struct {
	Type    string         `json:"type"`
	From    uint64         `json:"from"` // schema version; 0: the type is new
	To      uint64         `json:"to"`
	Changes []SchemaChange `json:"changes"`
	Checked uint64         `json:"checked"` // stored events that were checked against the new schema
	Failing uint64         `json:"failing"` // of these, how many it would not accept now; they stay readable
	Samples []string       `json:"samples,omitempty"`

	// Colliding are aggregates that share a value of a field which would become unique: change them first, a migration is refused until then.
	Colliding uint64 `json:"colliding,omitempty"`
}

// ImportState says which rows of a file were imported. Ranges are of row numbers, for example "1-500,502-900".
type ImportState struct {
	File      string `json:"file"`
	Aggregate string `json:"aggregate"`
	Ranges    string `json:"ranges"`
	Rows      uint64 `json:"rows"`
}

// SchemaDraft puts the whole definition of a type forward; it takes effect with SchemaMigrate.
func (c *Client) SchemaDraft(ctx context.Context, definition json.RawMessage) error {
	return c.act(ctx, "schema", "draft", struct {
		Definition json.RawMessage `json:"definition"`
	}{definition}, nil)
}

// SchemaMigrate puts the draft of a type into force, or of all types if it is empty. A dry run only says what would change. It returns once every
// writer decides under the new schema; only ctx bounds it.
func (c *Client) SchemaMigrate(ctx context.Context, aggregateType string, dryRun bool) ([]Migration, error) {
	var answer struct {
		Migrations []Migration `json:"migrations"`
	}
	err := c.act(ctx, "schema", "migrate", struct {
		Type   string `json:"type"`
		DryRun bool   `json:"dry-run"`
	}{aggregateType, dryRun}, &answer)
	return answer.Migrations, err
}

// SchemaDiscard drops the draft of a type, or of all types if it is empty, and names the types that had one.
func (c *Client) SchemaDiscard(ctx context.Context, aggregateType string) ([]string, error) {
	var answer struct {
		Types []string `json:"types"`
	}
	err := c.act(ctx, "schema", "discard", typeBody{aggregateType}, &answer)
	return answer.Types, err
}

// SchemaList lists the schemas of all types.
func (c *Client) SchemaList(ctx context.Context) ([]Schema, error) {
	var answer struct {
		Schemas []Schema `json:"schemas"`
	}
	err := c.act(ctx, "schema", "list", struct{}{}, &answer)
	return answer.Schemas, err
}

// SchemaShow reads the schema of a type. ErrNotFound: the type has neither a schema nor a draft.
func (c *Client) SchemaShow(ctx context.Context, aggregateType string) (*Schema, error) {
	s := &Schema{}
	return s, c.act(ctx, "schema", "show", typeBody{aggregateType}, s)
}

// ImportDone records rows of a file as imported, for ever.
func (c *Client) ImportDone(ctx context.Context, s ImportState) error {
	return c.act(ctx, "import", "done", s, nil)
}

// ImportState reads which rows of a file, named by its digest, were imported into a type. None is an empty state, not an error.
func (c *Client) ImportState(ctx context.Context, file, aggregate string) (*ImportState, error) {
	s := &ImportState{}
	return s, c.act(ctx, "import", "state", struct {
		File      string `json:"file"`
		Aggregate string `json:"aggregate"`
	}{file, aggregate}, s)
}

// Status reads what the server says of itself into a value of the caller's.
func (c *Client) Status(ctx context.Context, into any) error {
	return c.act(ctx, "server", "status", struct{}{}, into)
}

type typeBody struct {
	Type string `json:"type"`
}

// act sends an administrative act; it is a command of the system log, so it has a command id. into may be nil.
func (c *Client) act(ctx context.Context, noun, verb string, body, into any) error {
	return c.actAs(ctx, rand.Text(), noun, verb, body, into)
}

// actAs is act under a command id.
func (c *Client) actAs(ctx context.Context, id, noun, verb string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return problem.New(problem.Malformed, "write the request as JSON: %v", err)
	}
	req := request{subject: streams.AdminSubject(noun, verb), header: nats.Header{streams.HeaderCommandID: {id}}, data: data}
	if verb == "migrate" || verb == "forget" || verb == "rollback" || noun == "archive" { // given again, each goes on or finds it done
		req.long, req.beats, req.part = true, true, func(*nats.Msg) {}
		req.header.Set(streams.HeaderStream, "1")
	}
	switch verb {
	case "list", "show", "account", "state", "status":
	case "test":
		req.brief = true
	default:
		req.stores = noun + " " + verb
	}
	if noun == "audit" {
		req.header.Set(streams.HeaderWaitFor, "latest") // a projector answers it
	}
	m, err := c.roundTrip(ctx, req)
	if into == nil {
		return err
	}
	return decodeInto(into, m, err)
}

// CredentialRecord records a break-glass credential, the JWT of a NATS user that the site's own keys signed, before it is handed out. The
// proof, which the site's own keys signed too, says who takes it (docs/adr/0005-config-acts.md).
func (c *Client) CredentialRecord(ctx context.Context, userJWT, proof string) error {
	return c.act(ctx, "credential", "record", struct {
		User  string `json:"user"`
		Proof string `json:"proof"`
	}{userJWT, proof}, nil)
}
