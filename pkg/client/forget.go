package client

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Certificate says that the key of an aggregate's encrypted fields was destroyed: nobody can read what was sealed under it.
type Certificate struct {
	Aggregate     string       `json:"aggregate"`          // type/id
	KeyCommitment string       `json:"key-commitment"`     // names the key without telling it; commits sealed under it state it. Empty: there was no key
	Forgotten     ForgetRecord `json:"forgotten,omitzero"` // zero without a key. In the log of the aggregate: from here on nothing is sealed under the key
	Done          ForgetRecord `json:"done"`               // in the system log: the key was gone
	Staged        int          `json:"staged"`             // staged events that were removed
	Refused       int          `json:"refused"`            // refused commands that were removed
	Letters       int          `json:"letters"`            // commands that waited in the inbox and were removed
	Repeated      bool         `json:"repeated"`           // it was certified before
}

// ForgetRecord is where an act of forgetting stands, and whose it is.
type ForgetRecord struct {
	Position string    `json:"position"`
	Hash     string    `json:"hash"` // leaf hash
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor"`
}

// Forgettable is what Forget would destroy.
type Forgettable struct {
	Aggregate     string `json:"aggregate"`
	KeyCommitment string `json:"key-commitment"` // empty: the aggregate has no key
	Staged        int    `json:"staged"`
	Refused       int    `json:"refused"`
	Letters       int    `json:"letters"`
}

type forgetBody struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	DryRun bool   `json:"dry-run"`
}

// Forget destroys the key of an aggregate's encrypted fields, for ever. It takes a token that may administer the aggregate. Repeated it goes on where it was cut short, or
// gives the certificate again. ErrNotFound, and nothing was touched: the aggregate has no encrypted values, and nothing is staged, refused or waiting for it, or its type has no encrypted field.
func (c *Client) Forget(ctx context.Context, a event.AggregateID) (*Certificate, error) {
	out := &Certificate{}
	return out, c.act(ctx, "data", "forget", forgetBody{Type: a.Type, ID: a.ID}, out)
}

// Forgettable says what Forget would destroy, and destroys nothing.
func (c *Client) Forgettable(ctx context.Context, a event.AggregateID) (*Forgettable, error) {
	out := &Forgettable{}
	return out, c.act(ctx, "data", "forget", forgetBody{Type: a.Type, ID: a.ID, DryRun: true}, out)
}
