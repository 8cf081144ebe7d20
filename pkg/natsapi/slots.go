package natsapi

import (
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// slots bound how many requests are answered at once. One whose token did not pass before has a slot among the strangers until it does: so wrong tokens, however many, take none
// from those that are in use.
type slots struct{ known, strangers chan struct{} }

func newSlots(n int) slots { return slots{make(chan struct{}, n), make(chan struct{}, n)} }

// take takes a slot, which reading from it gives back.
func take(slot chan struct{}) *problem.Problem {
	select {
	case slot <- struct{}{}:
		return nil
	default:
		return problem.New(problem.Unavailable, "%d requests are being answered already", cap(slot)).WithHint("send it again in a moment")
	}
}

// meet checks the token of a stranger and, if it passes, gives the request a slot among the known. Of one that does not pass the handler says why.
func (a *API) meet(r request, s slots, slot *chan struct{}) *problem.Problem {
	if *slot == s.known {
		return nil
	}
	if _, err := a.tokens.Authenticate(r.Headers().Get(streams.HeaderToken)); err != nil {
		return nil
	}
	if p := take(s.known); p != nil {
		return p
	}
	<-s.strangers
	*slot = s.known
	return nil
}
