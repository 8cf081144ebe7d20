package writer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// handler hands what the Keeper of the leases wants to the engines.
type handler struct{ w *Writer }

func (h handler) Lead(l *lease.Lease) {
	if e := h.w.engine(l.Log()); e != nil {
		e.orders.lead(l)
	}
}

func (h handler) Leave(l *lease.Lease) {
	if e := h.w.engine(l.Log()); e != nil {
		e.orders.handOver(l)
	}
}

func (h handler) Gone(l *lease.Lease, republish bool) {
	if e := h.w.engine(l.Log()); e != nil {
		e.orders.gone(l, republish)
	}
}

// newKeeper makes the Keeper, if there are leases.
func (w *Writer) newKeeper() error {
	c := w.cfg.Lease
	if c.Table == nil {
		return nil
	}
	changed := c.Changed
	c.Site, c.Handler, c.Log = w.cfg.Site, handler{w}, w.cfg.Log
	c.Changed = func() {
		w.doors.poke()
		select {
		case w.owners <- struct{}{}:
		default:
		}
		if changed != nil {
			changed()
		}
	}
	var err error
	w.keeper, err = lease.New(c)
	return err
}

// startSharing runs share beside the engines; stop ends it and waits for it.
func (w *Writer) startSharing(ctx context.Context, failed context.CancelCauseFunc) (stop func()) {
	if w.keeper == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.share(ctx); err != nil {
			failed(fmt.Errorf("share the logs: %w", err))
		}
	}()
	return func() { cancel(); <-ended }
}

// share runs what shares the logs with other processes until ctx ends; then it hands over what it leads, and closes the doors.
func (w *Writer) share(ctx context.Context) error {
	doors, cancel := context.WithCancel(context.WithoutCancel(ctx))
	closed := make(chan struct{})
	go func() { defer close(closed); w.keepDoors(doors) }()
	defer func() { cancel(); <-closed }()
	if w.cfg.Peers != nil {
		stop, err := w.cfg.Peers.Serve(ctx, "", w.answerCall(""))
		if err != nil {
			return err
		}
		defer stop()
	}
	err := w.keeper.Run(ctx)
	if d := w.doors.outside; d != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
		defer cancel()
		err = errors.Join(err, d.Set(late, nil))
	}
	return err
}

// Others reports whether there are other writer processes; sure that none is silent and may still live.
func (w *Writer) Others() (others, sure bool) {
	if w.keeper == nil {
		return false, true
	}
	others = len(w.keeper.Members()) > 1
	return others, others || w.keeper.Alone()
}

// Lapsed is why this process may write nothing at the moment, whatever it leads: its leases could not be renewed. nil: they were, or there are none.
func (w *Writer) Lapsed() error {
	if w.keeper == nil {
		return nil
	}
	ago, lapsed := w.keeper.Lapsed()
	switch {
	case !lapsed:
		return nil
	case ago == 0:
		return errors.New("the table of leases was not reached yet")
	}
	return fmt.Errorf("the writer's leases could not be renewed and lapsed %s ago", ago.Round(time.Second))
}

// watchLogs opens every log that the system log comes to name, until ctx ends.
func (w *Writer) watchLogs(ctx context.Context) {
	for {
		changed := w.sys.changes()
		again := false
		for _, name := range w.sys.now.Load().logs() {
			if w.engine(name) != nil {
				continue
			}
			if err := w.openLog(ctx, name); err != nil && ctx.Err() == nil {
				w.cfg.Log.Warn().Err(err).Str("log", name).Msg("new log could not be opened")
				again = true
			}
		}
		var retry <-chan time.Time
		if again {
			retry = time.After(retryAtMost)
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// awaitOwners waits until each log takes commands, here or in another process, or is known to be damaged.
func (w *Writer) awaitOwners(ctx context.Context) error {
	for {
		owners := w.keeper.Owners()
		if !slices.ContainsFunc(w.engines(), func(e *engine) bool { return !e.served(owners) }) {
			return nil
		}
		select {
		case <-w.owners:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *engine) served(owners []lease.Owner) bool {
	st := e.state()
	return st.mode == active || st.err != nil || slices.ContainsFunc(owners, func(o lease.Owner) bool {
		return o.Log == e.name && o.Live && o.State == lease.Serving
	})
}

// Current waits until this process is sure to know the newest state of the system log as its writer: what it reads then may be told. The problem is Moved or
// Lost if it never will; then nothing may be told.
func (w *Writer) Current(ctx context.Context) *problem.Problem {
	e := w.engine(event.Reserved)
	if w.keeper == nil || e == nil {
		return nil
	}
	for {
		st := e.status.Load()
		var changed <-chan struct{}
		switch {
		case st.after != nil:
			return st.after
		case st.lease != nil:
			changed = st.lease.Changed()
			if st.mode == active && st.lease.Held() {
				return nil
			}
		}
		select {
		case <-changed:
		case <-time.After(retryAtLeast):
		case <-ctx.Done():
			return Lost
		}
	}
}
