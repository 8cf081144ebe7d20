package writer

import "github.com/eventfuldb/eventful/pkg/problem"

// stop answers everyone who still waits and releases what the engine holds. Outcomes that are still unknown stay so: the sender is told.
func (e *engine) stop() {
	e.gate.Lock() // behind this nobody enters in any more
	e.enter(stopped)
	e.gate.Unlock()
	for _, b := range e.inFlight {
		b.fall(problem.New(problem.UnknownOutcome, "the writer of log %s stopped before the outcome was known", e.name).WithHint("send it again with the same command id"))
	}
	e.inFlight = nil
	e.refuseWaiting()
	close(e.answering)
	<-e.answered
	e.asides.Wait()
	e.closeState()
}

// answer sends the answers of acknowledged blocks, so that encoding them costs the engine nothing.
func (e *engine) answer() {
	defer close(e.answered)
	for b := range e.answering {
		b.answer(e.name)
		e.unanswered.Add(-1)
	}
}

// alone reports whether a block answers one command, and nothing else waits for the engine or for an answer.
func (e *engine) alone(b *openBlock) bool {
	return len(b.waiting) == 1 && !e.isSystem() && len(e.inFlight) == 0 && len(e.in) == 0 && e.unanswered.Load() == 0
}

// refuseWaiting deals with all commands that were not placed in a block that was sent: nothing of them was stored. While another process may lead the log
// by now they wait on, or are lost.
func (e *engine) refuseWaiting() {
	p := problem.New(problem.Unavailable, "log %s is being recovered; nothing was stored", e.name).WithHint("send it again in a moment, with the same command id")
	sure := e.orders == nil || e.lease != nil && e.lease.Held()
	if !sure {
		p = Lost
	}
	if e.open != nil {
		e.open.fall(p)
		e.open = nil
	}
	if sure || e.state().mode == stopped {
		e.leave(p)
	} else {
		e.ready = e.undecided()
	}
}

// leave ends every command that was not decided.
func (e *engine) leave(p *problem.Problem) {
	waiting := e.undecided()
	e.gate.Lock() // nobody enters in meanwhile
	for more := true; more; {
		select {
		case s := <-e.in:
			waiting = append(waiting, s)
		default:
			more = false
		}
	}
	e.gate.Unlock()
	for _, s := range waiting {
		s.reply(nil, p)
	}
}

// undecided are the commands that the engine has taken in hand and not placed, in the order in which they are decided.
func (e *engine) undecided() []*submission {
	var all []*submission
	if e.held != nil {
		all = append(all, e.held)
	}
	all = append(append(all, e.ready...), e.iced...)
	for id, list := range e.parked {
		all = append(all, list...)
		delete(e.parked, id)
	}
	e.held, e.ready, e.iced = nil, nil, nil
	return all
}
