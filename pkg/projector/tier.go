package projector

import (
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// archived reports whether an aggregate is archived now (docs/spec/commands.md, section 15).
func (r *reading) archived(a event.AggregateID) (bool, error) {
	if !r.tiers {
		return false, nil
	}
	c, found, err := r.last(event.AggregateID{Type: schema.SystemTier, ID: schema.ForgottenID(a)})
	if err != nil || !found {
		return false, err
	}
	return c.Events[len(c.Events)-1].Type == "aggregate-archived", nil
}
