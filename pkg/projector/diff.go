package projector

import (
	"context"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Change is a field that two states have differently; nil: it is not set. Shredded: the key of one of its values is gone.
type Change struct {
	Field    string  `json:"field"`
	Before   *string `json:"before"`
	After    *string `json:"after"`
	Shredded bool    `json:"shredded,omitempty"`
}

// Diff is what changed of an aggregate from one version to another.
type Diff struct {
	Type          string        `json:"type"`
	ID            string        `json:"id"`
	From          event.Version `json:"from"`
	To            event.Version `json:"to"`
	Changes       []Change      `json:"changes"` // by field
	DeletedBefore bool          `json:"deleted-before"`
	DeletedAfter  bool          `json:"deleted-after"`
}

// Diff gives what changed of an aggregate between two versions, whichever is the newer one. Version 0 is the aggregate before its first event.
func (p *Projector) Diff(ctx context.Context, a event.AggregateID, from, to event.Version) (Diff, error) {
	out := Diff{Type: a.Type, ID: a.ID, From: from, To: to, Changes: []Change{}}
	if from == 0 && to == 0 {
		return out, problem.New(problem.Malformed, "a difference needs a version that is not 0")
	}
	var states [2]State
	for i, v := range [2]event.Version{from, to} {
		if v == 0 {
			continue
		}
		var err error
		if states[i], err = p.Get(ctx, a, When{Version: v}); err != nil {
			return out, err
		}
	}
	before, after := &states[0], &states[1]
	out.DeletedBefore, out.DeletedAfter = before.Deleted, after.Deleted
	names := slices.Concat(sortedKeys(before.Fields), sortedKeys(after.Fields), before.Shredded, after.Shredded)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c := Change{Field: name, Before: valueOf(before, name), After: valueOf(after, name)}
		c.Shredded = slices.Contains(before.Shredded, name) || slices.Contains(after.Shredded, name)
		if c.Shredded || c.Before == nil || c.After == nil || *c.Before != *c.After {
			out.Changes = append(out.Changes, c)
		}
	}
	return out, nil
}

func valueOf(s *State, field string) *string {
	if v, ok := s.Fields[field]; ok {
		return &v
	}
	return nil
}
