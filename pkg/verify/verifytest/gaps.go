package verifytest

import (
	"context"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Without gives the log as it looks after an administrator deleted these messages from it; its bounds stay what they were.
func Without(log eventlog.Log, sequences ...uint64) eventlog.Log { return gapped{log, sequences} }

type gapped struct {
	eventlog.Log
	gone []uint64
}

func (g gapped) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	if slices.Contains(g.gone, sequence) {
		return eventlog.Message{}, fmt.Errorf("get %d of log %s: %w", sequence, g.Name(), eventlog.ErrNotFound)
	}
	return g.Log.Get(ctx, sequence)
}

func (g gapped) Follow(ctx context.Context, after uint64) (eventlog.Cursor, error) {
	c, err := g.Log.Follow(ctx, after)
	return gappedCursor{c, g.gone}, err
}

type gappedCursor struct {
	eventlog.Cursor
	gone []uint64
}

func (c gappedCursor) Next(ctx context.Context) (eventlog.Message, error) {
	for {
		m, err := c.Cursor.Next(ctx)
		if err != nil || !slices.Contains(c.gone, m.Sequence) {
			return m, err
		}
	}
}
