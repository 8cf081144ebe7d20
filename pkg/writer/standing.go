package writer

import (
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// mode is what an engine does with its log.
type mode string

const (
	starting mode = "starting" // its state is not open yet
	standby  mode = "standby"  // follows the log while another process writes it, or nobody
	taking   mode = "taking"   // reads to the end and takes the next place
	active   mode = "serving"
	settling mode = "recovering" // as taking, behind an outcome that is not known: whoever asks is told to ask again
	leaving  mode = "leaving"    // hands over: settles what is in flight and holds what comes
	stopped  mode = "stopped"
)

// status is what the rest of the process may know of an engine.
type status struct {
	mode  mode
	err   error            // why the log takes no commands, for people; nil while it may come to that by itself
	lease *lease.Lease     // requests for the log are let in under it; nil: they are not, or there are no leases
	after *problem.Problem // … and what requests come to that still come when the last one is gone; nil: that is not known yet
	chain event.Chain      // behind the newest block that this process wrote when it began to serve
}

// Moved and Lost are what a command comes to that this process took in and did not decide. Neither is an answer: another process may answer the same request.
var (
	// Moved: the log was handed over. The request, published again as it came, reaches who writes the log now.
	Moved = problem.New(problem.Unavailable, "the log was handed to another process").WithHint("send it again, with the same command id")
	// Lost: another process may have taken the log over. Say nothing: its sender asks again.
	Lost = problem.New(problem.Unavailable, "another process may write the log by now").WithHint("send it again, with the same command id")
)

// enter changes the mode.
func (e *engine) enter(m mode) {
	st := *e.status.Load()
	st.mode, st.chain = m, e.chain
	e.status.Store(&st)
}

// submit hands a command to the engine; it never blocks.
func (e *engine) submit(s *submission) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	st := e.state()
	if st.err == nil && s.barrier == nil && e.refusesRoom(s) {
		return
	}
	switch {
	case st.err != nil, st.mode == stopped, e.orders == nil && st.mode != active, st.mode == settling && st.lease != nil && st.lease.Held():
		e.turnAway(s, e.notServing(st))
	default: // what cannot be decided yet waits until it is known who leads the log
		select {
		case e.in <- s:
		default:
			e.turnAway(s, problem.New(problem.Unavailable, "log %s has %d commands waiting", e.name, cap(e.in)).WithHint("send it again in a moment, with the same command id"))
		}
	}
}

// refusesRoom refuses a command for want of room, if this process may answer it. Else the command waits until it is known who leads the log: that one may have room.
func (e *engine) refusesRoom(s *submission) bool {
	p := e.cfg.Room()
	if p == nil {
		return false
	}
	if l := e.status.Load().lease; e.orders != nil && (l == nil || !l.Held()) {
		return false
	}
	e.metrics.refused.WithLabelValues(string(p.Code)).Inc()
	s.reply(nil, p)
	return true
}

// turnAway answers a command that was not decided, with p only if nobody else can answer it.
func (e *engine) turnAway(s *submission, p *problem.Problem) {
	if e.orders != nil && !holds(e.status.Load().lease) {
		p = Lost
	}
	s.reply(nil, p)
}

// holds reports whether nobody else can write the log; without leases that is so as far as anybody knows.
func holds(l *lease.Lease) bool { return l == nil || l.Held() }

// state is the status, with damage that was found meanwhile.
func (e *engine) state() *status {
	st := e.status.Load()
	if found := e.damage.Load(); found != nil && st.err == nil {
		with := *st
		with.err = fmt.Errorf("%s: %w", *found, ErrDamaged)
		return &with
	}
	return st
}

func (e *engine) notServing(st *status) *problem.Problem {
	switch {
	case errors.Is(st.err, ErrDamaged):
		return problem.New(problem.Damaged, "log %s: %v", e.name, st.err).WithHint("run `eventful aggregate:verify --all`: it names what is wrong and where")
	case st.err != nil:
		return problem.New(problem.Unavailable, "log %s is not written by this process: %v", e.name, st.err)
	}
	return problem.New(problem.Unavailable, "log %s is being recovered", e.name).WithHint("send it again in a moment, with the same command id")
}
