package projector

import (
	"errors"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// archived reports whether an aggregate is archived now (docs/spec/commands.md, section 15).
func (r *reading) archived(a event.AggregateID) (bool, error) {
	c, err := r.newest(event.AggregateID{Type: schema.SystemTier, ID: schema.ForgottenID(a)})
	if errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return c.Events[len(c.Events)-1].Type == "aggregate-archived", nil
}
