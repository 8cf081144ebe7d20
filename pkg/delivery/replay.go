package delivery

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// replay begins the replay that was asked for last, if it was not begun: the checkpoint goes back, and what lies behind it up to where it was is not new.
func (t *tenant) replay(ctx context.Context, p *registry.Plugin, o *opened) error {
	if o.point.Replay >= p.Replay.Number {
		return nil
	}
	r, seen := p.Replay, t.e.view.now()
	c := o.point
	c.Logs, c.Replaying, c.Replay = maps.Clone(c.Logs), maps.Clone(c.Replaying), r.Number
	if c.Replaying == nil {
		c.Replaying = map[string]uint64{}
	}
	for log, mark := range o.point.Logs {
		at, err := mark.position()
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
		} else {
			c.Replaying[log] = r.Sequence - 1
		}
	}
	if r.Log != "" && len(o.point.Logs[r.Log].Position) == 0 {
		c.Replaying[r.Log] = r.Sequence - 1
	}
	c.Saved = t.now()
	if err := o.saver.save(ctx, c); err != nil {
		return err
	}
	o.point = c
	t.log.Info().Uint64("replay", r.Number).Str("scope", r.Scope).Msg("replay was begun")
	return nil
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
