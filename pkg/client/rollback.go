package client

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// RollbackWanted is a rollback: of what, and to which state. Either To or Before is given.
type RollbackWanted struct {
	Type     string        // empty: every type
	ID       string        // empty: every aggregate of the type
	To       event.Version // of one aggregate: the version whose state comes back
	Before   string        // an RFC 3339 time, or an event's whole leaf hash: what was stored then or later, or that event and what was stored behind it, is undone
	Position string        // where the event lies, which spares a search; may be empty
	DryRun   bool          // only say what would change
}

// Rollback is what became of it.
type Rollback struct {
	ID         string        `json:"rollback,omitempty"` // empty: nothing had to change, or it was a dry run
	Done       bool          `json:"done"`
	DryRun     bool          `json:"dry-run"`
	Aggregates uint64        `json:"aggregates"` // that changed, or would
	Events     uint64        `json:"events"`     // that were stored for it, or would be
	Logs       []RollbackLog `json:"logs"`
}

// RollbackLog is what became of one log.
type RollbackLog struct {
	Log        string           `json:"log"`
	Cut        string           `json:"cut,omitempty"` // sequence and index of the first commit that is undone
	Aggregates uint64           `json:"aggregates"`
	Events     uint64           `json:"events"`
	Ended      uint64           `json:"ended,omitempty"`   // of a dry run: aggregates that had ended by then, or did not exist
	Changes    []RollbackChange `json:"changes,omitempty"` // of a dry run: the first of them, at most 200
	Begin      *RollbackRecord  `json:"begin,omitempty"`
	End        *RollbackRecord  `json:"end,omitempty"`
}

// RollbackChange is what a rollback does to one aggregate.
type RollbackChange struct {
	Aggregate string        `json:"aggregate"`        // type/id
	Version   event.Version `json:"version"`          // now
	Becomes   event.Version `json:"becomes"`          // the version whose state comes back; 0: it did not exist
	Ends      bool          `json:"ends"`             // it had ended by then, or did not exist
	Fields    []string      `json:"fields,omitempty"` // that change
	Lost      []string      `json:"lost,omitempty"`   // whose value cannot come back, as its key was forgotten
}

// RollbackRecord is where rollback-begin or rollback-end stands.
type RollbackRecord struct {
	Position string    `json:"position"`
	Hash     string    `json:"hash"` // leaf hash
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor"`
}

type rollbackBody struct {
	Type     string         `json:"type,omitempty"`
	ID       string         `json:"id,omitempty"`
	To       *event.Version `json:"to,omitempty"`
	Before   string         `json:"before,omitempty"`
	Position string         `json:"position,omitempty"`
	DryRun   bool           `json:"dry-run,omitempty"`
}

// Rollback brings aggregates back to an earlier state by further events; nothing is removed from the log. It takes a token that may administer what it is about,
// and comes back when it is done; if ctx ends before, the rollback goes on. ErrConflict: a unique value would stand twice, or another rollback is under way.
func (c *Client) Rollback(ctx context.Context, want RollbackWanted) (*Rollback, error) {
	body := rollbackBody{Type: want.Type, ID: want.ID, Before: want.Before, Position: want.Position, DryRun: want.DryRun}
	if want.To > 0 {
		body.To = &want.To
	}
	id := rand.Text()
	for {
		out := &Rollback{}
		if err := c.actAs(ctx, id, "data", "rollback", body, out); err != nil || out.Done {
			return out, err
		}
	}
}
