package client

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Snapshot is a stored state of an aggregate. Reads use it and do not trust it; verification names one that says something else than the log.
type Snapshot struct {
	Version   event.Version `json:"version"`        // 0: not known, of one that cannot be read
	Hash      string        `json:"hash,omitempty"` // leaf hash of the event at Version
	Taken     string        `json:"taken,omitempty"`
	Requested bool          `json:"requested"` // somebody asked for it; else it was taken by number
	Comment   string        `json:"comment,omitempty"`
	Actor     string        `json:"actor,omitempty"` // who asked
	Error     string        `json:"error,omitempty"` // why it cannot be read
}

// TakeSnapshot stores a snapshot of an aggregate, at its newest version or at that of AtVersion, with a comment of at most 1024 bytes. Of one aggregate sixteen that
// were asked for are kept.
func (c *Client) TakeSnapshot(ctx context.Context, a event.AggregateID, comment string, options ...ReadOption) (*Snapshot, error) {
	r := readOf(options)
	body := struct {
		Version event.Version `json:"version,omitempty"`
		Comment string        `json:"comment"`
	}{r.version, comment}
	s := &Snapshot{}
	return s, c.ask(ctx, a, "snapshot", r, body, s)
}

// Snapshots lists the snapshots of an aggregate by version.
func (c *Client) Snapshots(ctx context.Context, a event.AggregateID, options ...ReadOption) ([]Snapshot, error) {
	var answer struct {
		Snapshots []Snapshot `json:"snapshots"`
	}
	err := c.ask(ctx, a, "snapshots", readOf(options), struct{}{}, &answer)
	return answer.Snapshots, err
}
