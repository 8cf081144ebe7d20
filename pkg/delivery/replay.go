package delivery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// replay begins the replays that were asked for and were not begun: the checkpoint goes back, and what lies behind it up to where it was is not new. Those that are
// not through yet go on with them, all from the start.
func (t *tenant) replay(ctx context.Context, p *registry.Plugin, o *opened) error {
	if o.point.Replay >= p.Replay.Number {
		return nil
	}
	c, seen := o.point.clone(), t.e.view.now()
	c.Replayed = c.through()
	for _, r := range p.ReplaysBehind(c.Replay) {
		if err := c.begin(r, seen); err != nil {
			return err
		}
	}
	before := c.Replay
	c.Replay, c.Saved = p.Replay.Number, t.now()
	if err := o.saver.save(ctx, c); err != nil {
		return err
	}
	o.point = c
	for _, r := range p.ReplaysBehind(before) {
		t.log.Info().Uint64("replay", r.Number).Str("scope", r.Scope).Msg("replay was begun")
	}
	return nil
}

// begin takes a checkpoint back for a replay.
func (c *Checkpoint) begin(r registry.Replay, seen *seen) error {
	if c.Replaying == nil {
		c.Replaying = map[string]uint64{}
	}
	for _, log := range slices.Collect(maps.Keys(c.Logs)) {
		at, err := c.Logs[log].position()
		if err != nil {
			return fmt.Errorf("checkpoint of log %s: %w", log, err)
		}
		concerned := r.Log == "" || r.Log == log
		if r.Scope != "" {
			concerned = seen.holds(log, r)
		}
		if !concerned {
			continue
		}
		c.Replaying[log] = max(at.Sequence, c.Replaying[log])
		if r.Log == "" || r.Sequence <= at.Sequence {
			delete(c.Logs, log)
		}
	}
	if r.Log != "" {
		c.Replaying[r.Log] = max(r.Sequence-1, c.Replaying[r.Log])
	}
	return nil
}

// through is the number of the newest replay that is done with.
func (c *Checkpoint) through() uint64 {
	if len(c.Replaying) == 0 {
		return c.Replay
	}
	return c.Replayed
}

// holds reports whether a log holds what a replay of a type is about.
func (s *seen) holds(log string, r registry.Replay) bool {
	for aggregateType, of := range s.logs {
		if of == log && r.Covers(event.AggregateID{Type: aggregateType, ID: scopeID(r.Scope)}) {
			return true
		}
	}
	return false
}

// scopeID is the id in a scope `type/id`; of a type alone any id will do.
func scopeID(scope string) string {
	if _, id, one := strings.Cut(scope, "/"); one {
		return id
	}
	return "any"
}
