package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// errOrders ends following a log because the orders changed.
var errOrders = errors.New("the orders changed")

// standBy follows the log, and keeps the state as an active writer would have it, until the orders change (nil) or the log cannot be followed here any more.
func (e *engine) standBy(ctx context.Context) error {
	e.enter(standby)
	if err := e.endApplier(ctx); errors.Is(err, statestore.ErrDoubted) {
		if err := e.removeState(); err != nil {
			return err
		}
	}
	e.bound = nil
	for wait := retryAtLeast; ctx.Err() == nil && e.orders.idle(); wait = min(2*wait, retryAtMost) {
		err := e.follow(ctx)
		switch {
		case err == nil, errors.Is(err, errOrders):
			return nil
		case errors.Is(err, ErrDamaged), errors.Is(err, event.ErrNewerFormat), isFinal(err):
			return err
		case errors.Is(err, errLost):
			if err := e.setAside(err); err != nil {
				return err
			}
			continue
		case errors.Is(err, statestore.ErrDoubted):
			e.rebuilds(err)
			if err := e.removeState(); err != nil {
				return err
			}
			continue
		case ctx.Err() == nil:
			e.logger.Warn().Err(err).Dur("retry", wait).Msg("log could not be followed")
		}
		e.rest(ctx, wait)
	}
	return nil
}

// rest is pause that new orders end.
func (e *engine) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.orders.come():
	case <-ctx.Done():
	}
}

// follower reads a log without an end, on a goroutine of its own.
type follower struct {
	found  chan met
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func (e *engine) startFollower(ctx context.Context, from event.Chain) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{found: make(chan met, readAhead), cancel: cancel}
	hash := e.st.hasher
	f.ended.Go(func() { f.read(ctx, e.log, from, hash) })
	return f
}

func (f *follower) read(ctx context.Context, log eventlog.Log, from event.Chain, hash hasher) {
	reader, err := eventlog.Read(ctx, log, from)
	if err == nil {
		defer reader.Stop()
	}
	for {
		var m met
		if err == nil {
			m.Found, err = reader.Next(ctx)
			m.chain = reader.Chain()
			m.hashed(hash)
		}
		m.err = err
		select {
		case f.found <- m:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (f *follower) stop() {
	f.cancel()
	f.ended.Wait()
}

// follow reads the log from the state's position on and applies each block, until the orders change, ctx ends (both nil), or something fails.
func (e *engine) follow(ctx context.Context) error {
	if err := e.openState(ctx); err != nil {
		return err
	}
	_, last, err := e.log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("ask for the end of the log: %w", err)
	}
	from := e.st.meta.chain
	if last < from.Sequence {
		return fmt.Errorf("the state is at sequence %d, the log ends at %d: %w", from.Sequence, last, errLost)
	}
	e.stored.Store(from.Sequence)
	reading := e.startFollower(ctx, from)
	defer reading.stop()
	err = e.apply(ctx, reading, last)
	if ctx.Err() != nil || errors.Is(err, errOrders) {
		return nil
	}
	return err
}

// apply keeps the state up with what the follower finds. Blocks are gathered before they are written, as those of an active writer.
func (e *engine) apply(ctx context.Context, reading *follower, last uint64) (err error) {
	r := newReplay(e)
	defer func() {
		if err == nil || errors.Is(err, errOrders) || ctx.Err() != nil {
			err = errors.Join(err, r.write()) // what was applied stays, and the view of the system log went with it
		}
	}()
	write := time.NewTimer(gatherFor)
	defer write.Stop()
	var seen *view
	for caught := false; ; {
		if !caught && r.c.meta.chain.Sequence >= last {
			if err := r.write(); err != nil {
				return err
			}
			caught = true
			e.caughtUp()
		}
		changed := e.sys.changes()
		if v := e.sys.now.Load(); v == seen {
		} else if seen = v; v.uniqueIn(e.name).key(v) != e.uniqueKey {
			return errOtherUnique
		}
		select {
		case m := <-reading.found:
			if m.err != nil {
				return errors.Join(m.err, r.write())
			}
			if err := e.take(ctx, r, m); err != nil {
				return err
			}
			write.Reset(gatherFor)
		case <-write.C:
			if err := r.write(); err != nil {
				return err
			}
		case <-changed:
		case <-e.orders.come():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// take applies one message. A block of another writer says that whoever waits here for an answer gets it there, if at all, and what became of the
// blocks that were in flight when this process lost the log.
func (e *engine) take(ctx context.Context, r *replay, m met) error {
	if err := r.take(ctx, m); err != nil {
		return err
	}
	e.stored.Store(m.Sequence)
	if m.Standing != event.Counts || m.Block.Epoch <= e.chain.Epoch {
		return nil
	}
	if len(e.inFlight) > 0 {
		e.settleFallen(nil)
	}
	if e.orders.settled() && len(e.in)+len(e.ready) > 0 {
		e.leave(Lost)
	}
	return nil
}

// viewPatience is how long a log that is being taken over waits for the system log to come to the place that its blocks name.
const viewPatience = 10 * time.Second

// awaitView waits until this process has the system log as far as a block that names its sequence was decided under. A standby waits for as long as it takes.
func (e *engine) awaitView(ctx context.Context, sequence uint64) error {
	if e.isSystem() || e.orders == nil {
		return nil
	}
	var patience <-chan time.Time
	orders := e.orders.come()
	if e.lease != nil {
		t := time.NewTimer(viewPatience)
		defer t.Stop()
		patience, orders = t.C, nil
	}
	for {
		changed := e.sys.changes()
		if e.sys.led.Load() || e.sys.now.Load().position.Sequence >= sequence {
			return nil
		}
		select {
		case <-changed:
		case <-orders:
			return errOrders
		case <-patience:
			return fmt.Errorf("the log is decided under sequence %d of the system log, which is known up to %d: %w", sequence, e.sys.now.Load().position.Sequence, eventlog.ErrUnavailable)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// caughtUp says that the log can be led from here at once.
func (e *engine) caughtUp() {
	e.up()
	e.follows(e.name)
}
