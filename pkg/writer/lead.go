package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// errHandedOver ends serving when nothing is in flight any more.
var errHandedOver = errors.New("the log is handed over")

// run leads or follows the log until ctx ends (nil), or until neither can be done here any more. ready is called when the log takes commands, or is
// followed and was read to its end.
func (e *engine) run(ctx context.Context, ready func()) error {
	e.answering, e.answered = make(chan *openBlock, maxUnanswered), make(chan struct{})
	go e.answer()
	defer e.stop()
	aside, cancel := context.WithCancel(ctx)
	defer cancel() // before stop, which waits for what runs aside: nobody takes its outcomes any more
	e.ctx = aside
	e.up = sync.OnceFunc(ready)
	for ctx.Err() == nil {
		err := e.turn(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		e.fail(err)
		if e.orders == nil || e.isSystem() || !errors.Is(err, ErrDamaged) {
			return fmt.Errorf("log %s: %w", e.name, err)
		}
		e.logger.Error().Err(err).Msg("log takes no commands")
		e.up()
		e.complain(ctx)
	}
	return nil
}

// turn does what the orders say until they change.
func (e *engine) turn(ctx context.Context) error {
	if e.orders == nil {
		return e.lead(ctx, nil)
	}
	l, ended := e.orders.next()
	if ended != nil {
		e.depart(ctx, ended.republish)
	}
	if l == nil {
		return e.standBy(ctx)
	}
	return e.lead(ctx, l)
}

func (e *engine) fail(err error) {
	st := *e.status.Load()
	st.mode, st.err = stopped, err
	e.status.Store(&st)
}

// lead takes the log over and serves it, until ctx or the lease ends (nil), or until that cannot be done here any more.
func (e *engine) lead(ctx context.Context, l *lease.Lease) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l != nil && !e.orders.begin(l, cancel) {
		return nil
	}
	e.lease, e.bound = l, nil
	defer func() { e.lease = nil; e.sys.lead(e, false) }()
	var cause error
	e.enter(taking)
	for {
		if err := e.recover(ctx, cause); err != nil {
			return e.notLed(ctx, err)
		}
		if err := e.serveUnder(ctx); err != nil {
			return e.notLed(ctx, err)
		}
		cause = e.serve(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(cause, errHandedOver):
			e.orders.handedOver(l)
			if err := l.Left(ctx); err != nil && ctx.Err() == nil {
				e.logger.Warn().Err(err).Msg("log could not be handed over")
			}
			return nil
		}
		e.enter(settling)
		if errors.Is(cause, errOtherUnique) {
			e.rebuilds(cause)
			continue
		}
		e.logger.Warn().Err(cause).Msg("stopped serving to settle an outcome")
		e.metrics.recoveries.Inc()
	}
}

// notLed says what becomes of a log that could not be taken: a lease that is gone, or of no use, leaves it to others.
func (e *engine) notLed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil, errors.Is(err, lease.ErrLost):
		return nil
	case e.lease != nil && errors.Is(err, ErrFenced):
		e.logger.Warn().Err(err).Msg("log was taken over by another process")
		e.lease.Fenced()
		return e.waitGone(ctx)
	case e.lease != nil && errors.Is(err, syscall.ENOSPC):
		e.logger.Warn().Err(err).Msg("log was given up, as it is to be handed over and there is no room to settle it")
		e.lease.Fenced()
		return e.waitGone(ctx)
	}
	return err
}

// waitGone waits until the Keeper has taken a lease back that is of no use any more.
func (e *engine) waitGone(ctx context.Context) error {
	<-ctx.Done() // Gone ends it
	return nil
}

// serveUnder lets requests in and tells the Keeper that the log is served.
func (e *engine) serveUnder(ctx context.Context) error {
	if e.lease != nil {
		e.letIn(ctx, e.lease)
		if err := e.serving(ctx, e.chain.Epoch); err != nil {
			return err
		}
	}
	e.sys.lead(e, true)
	if e.state().mode == taking { // not: once more, behind an outcome that had to be settled
		e.metrics.takeovers.Inc()
	}
	e.enter(active)
	e.up()
	return nil
}

// serving records in the table that the log is served, and tries until the lease is gone.
func (e *engine) serving(ctx context.Context, epoch uint64) error {
	for {
		err := e.lease.Serving(ctx, epoch)
		if err == nil || errors.Is(err, lease.ErrLost) {
			return err
		}
		e.logger.Warn().Err(err).Msg("that the log is served could not be recorded")
		if err := pause(ctx, retryAtLeast); err != nil {
			return err
		}
	}
}

// handOver settles what is in flight; what is not decided stays for the successor, or for this process should it not be there.
func (e *engine) handOver(ctx context.Context) error {
	e.enter(leaving)
	for e.open != nil || len(e.inFlight) > 0 {
		e.send()
		if err := e.settle(); err != nil {
			return err
		}
	}
	if err := e.endApplier(ctx); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err // else it is read again from the log when there is room
	}
	e.ready, e.held = e.undecided(), nil
	return errHandedOver
}

// drainPatience bounds how long a process that gave a log up waits until no request for it comes any more.
const drainPatience = 2 * time.Second

// depart ends what a lease began: requests for the log are not let in any more, and those that wait are Moved or Lost.
func (e *engine) depart(ctx context.Context, republish bool) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	done := e.letIn(ctx, nil)
	p := Lost
	if republish {
		p = Moved
		select {
		case <-done:
		case <-ctx.Done():
		}
		e.sealer.settled(ctx, e)
	}
	if e.open != nil {
		e.open.fall(p)
		e.open = nil
	}
	e.leave(p)
	st := *e.status.Load()
	st.after = p
	e.status.Store(&st)
}

// letIn has requests let in under a lease, or, with nil, not any more; done is closed when the servers know. With a lease it waits for that.
func (e *engine) letIn(ctx context.Context, l *lease.Lease) (done <-chan struct{}) {
	st := *e.status.Load()
	st.lease, st.after = l, nil
	e.status.Store(&st)
	done = e.doors.sync()
	if l != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return done
}

// complain answers for a log that is damaged, as far as this process leads it: its senders are told why.
func (e *engine) complain(ctx context.Context) {
	for ctx.Err() == nil {
		if !e.others() {
			e.follows(e.name) // nobody else can say so
		}
		l, ended := e.orders.next()
		if ended != nil {
			e.depart(ctx, ended.republish)
		}
		if l != nil && e.lease != l {
			e.lease = l
			e.letIn(ctx, l)
			if err := e.serving(ctx, 0); err != nil && ctx.Err() == nil {
				e.logger.Warn().Err(err).Msg("lease of a damaged log was lost")
			}
		}
		if l != nil && e.orders.leaving() {
			e.orders.handedOver(l)
			if err := l.Left(ctx); err != nil && ctx.Err() == nil {
				e.logger.Warn().Err(err).Msg("log could not be handed over")
			}
		}
		e.rest(ctx, retryAtMost)
	}
}
