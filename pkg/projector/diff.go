package projector

import (
	"context"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Change is a field that two states have differently; nil: it is not set, or the key of its value is gone, as ShreddedBefore and ShreddedAfter say.
type Change struct {
	Field          string  `json:"field"`
	Before         *string `json:"before"`
	After          *string `json:"after"`
	ShreddedBefore bool    `json:"shredded-before,omitempty"`
	ShreddedAfter  bool    `json:"shredded-after,omitempty"`
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

// Diff gives what changed of an aggregate between two versions, whichever is the newer one. Version 0 is the aggregate before its first event. What cannot be compared, as a key is gone, is
// a change if an event between the two set the field or removed it.
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
	var touched map[string]bool
	if len(before.Shredded)+len(after.Shredded) > 0 {
		var err error
		if touched, err = p.touched(ctx, a, min(from, to)+1, max(from, to)); err != nil {
			return out, err
		}
	}
	out.Changes = append(out.Changes, changes(before, after, touched)...)
	return out, nil
}

// changes are the fields that two states have differently. Touched are those that events between them set or removed; it decides where a value is gone.
func changes(before, after *State, touched map[string]bool) (all []Change) {
	names := slices.Concat(sortedKeys(before.Fields), sortedKeys(after.Fields), before.Shredded, after.Shredded)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c := Change{Field: name, Before: valueOf(before, name), After: valueOf(after, name),
			ShreddedBefore: slices.Contains(before.Shredded, name), ShreddedAfter: slices.Contains(after.Shredded, name)}
		shredded := c.ShreddedBefore || c.ShreddedAfter
		if shredded && touched[name] || !shredded && (c.Before == nil || c.After == nil || *c.Before != *c.After) {
			all = append(all, c)
		}
	}
	return all
}

// touched are the fields that the events of an aggregate from one version to another set or removed.
func (p *Projector) touched(ctx context.Context, a event.AggregateID, first, last event.Version) (map[string]bool, error) {
	x, err := p.find(a)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool)
	err = x.view(ctx, func(r *reading) error {
		return r.commits(ctx, a, first, func(c located) (bool, error) {
			for i := range c.Events {
				if v := c.First + event.Version(i); v < first || v > last {
					continue
				}
				fields, err := event.DecodePayload(c.Events[i].Payload)
				if err != nil {
					return false, err
				}
				for _, f := range fields {
					names[f.Name] = true
				}
			}
			return c.Last() < last, nil
		})
	})
	return names, err
}

func valueOf(s *State, field string) *string {
	if v, ok := s.Fields[field]; ok {
		return &v
	}
	return nil
}
