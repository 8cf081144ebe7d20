package client

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// TierRecord says where it stands that an aggregate was archived or restored, and whose act it was.
type TierRecord struct {
	Aggregate string    `json:"aggregate"` // type/id
	Archived  bool      `json:"archived"`
	Position  string    `json:"position"`
	Hash      string    `json:"hash"` // leaf hash
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor"`
	Repeated  bool      `json:"repeated"` // it was so before
}

// ArchiveAggregate locks an aggregate: nothing is stored of it until RestoreAggregate; it can be read. Both take a token that may administer it, or has the action archive on it.
func (c *Client) ArchiveAggregate(ctx context.Context, a event.AggregateID, comment string) (*TierRecord, error) {
	return c.moveTier(ctx, "archive", a, comment)
}

// RestoreAggregate undoes ArchiveAggregate: the aggregate is as it was.
func (c *Client) RestoreAggregate(ctx context.Context, a event.AggregateID, comment string) (*TierRecord, error) {
	return c.moveTier(ctx, "restore", a, comment)
}

func (c *Client) moveTier(ctx context.Context, verb string, a event.AggregateID, comment string) (*TierRecord, error) {
	out := &TierRecord{}
	return out, c.act(ctx, "aggregate", verb, struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		Comment string `json:"comment"`
	}{a.Type, a.ID, comment}, out)
}
