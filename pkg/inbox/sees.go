package inbox

import (
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// sees: an administrator sees every refusal. Anybody else sees those of his own commands whose aggregates his token may all write, if it comes from the auth key
// that the command's token came from, or may read them too: whoever holds an auth key can name any actor. A command of which nobody can tell what it is about is
// seen by the token that it came with, and by one that may write everything.
func (c Caller) sees(r *Refusal) bool {
	if c.admin() {
		return true
	}
	if r.Actor == "" || r.Actor != c.Claims.Actor() {
		return false
	}
	about, known := r.about()
	if !known {
		return r.Token == c.Claims.ID || r.Issuer == c.Claims.Issuer && c.Claims.AllowsAll(token.ActionWrite)
	}
	may := func(a event.AggregateID) bool {
		return c.Claims.AllowsAggregate(token.ActionWrite, a) && (r.Issuer == c.Claims.Issuer || c.Claims.AllowsAggregate(token.ActionRead, a))
	}
	return !slices.ContainsFunc(about, func(a event.AggregateID) bool { return !may(a) })
}

// about are the aggregates that a refused command is about; false: nobody can tell.
func (r *Refusal) about() ([]event.AggregateID, bool) {
	command, _ := streams.OfInbox(r.Subject)
	if a, _, err := streams.ParseCommandSubject(command); err == nil {
		return []event.AggregateID{a}, true
	}
	changes, err := aggregate.DecodeTransaction(r.Body)
	if err != nil || len(changes) == 0 {
		return nil, false
	}
	var all []event.AggregateID
	for _, c := range changes {
		all = append(all, c.Aggregate)
	}
	return all, true
}
