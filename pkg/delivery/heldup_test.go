package delivery_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// watched tells how much is asked of the logs of a store; the system log does not count.
type watched struct {
	eventlog.Store
	open  atomic.Int32 // cursors that were not stopped
	asked atomic.Int64 // cursors, messages and bounds that were asked for
}

type watchedLog struct {
	eventlog.Log
	w *watched
}

type watchedCursor struct {
	eventlog.Cursor
	w *watched
}

func (w *watched) Open(ctx context.Context, name string) (eventlog.Log, error) {
	log, err := w.Store.Open(ctx, name)
	if err != nil || name == event.Reserved {
		return log, err
	}
	return watchedLog{log, w}, nil
}

func (l watchedLog) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	l.w.asked.Add(1)
	return l.Log.Get(ctx, sequence)
}

func (l watchedLog) Bounds(ctx context.Context) (first, last uint64, err error) {
	l.w.asked.Add(1)
	return l.Log.Bounds(ctx)
}

func (l watchedLog) Follow(ctx context.Context, after uint64) (eventlog.Cursor, error) {
	l.w.asked.Add(1)
	cursor, err := l.Log.Follow(ctx, after)
	if err != nil {
		return nil, err
	}
	l.w.open.Add(1)
	return watchedCursor{cursor, l.w}, nil
}

func (c watchedCursor) Next(ctx context.Context) (eventlog.Message, error) {
	c.w.asked.Add(1)
	return c.Cursor.Next(ctx)
}

func (c watchedCursor) Stop() {
	c.w.open.Add(-1)
	c.Cursor.Stop()
}

// TestWhoTakesNothingAsksForNothing: once every partition of a plugin is stopped by a target that is down, the log is not followed any more, however much is written to it, and hardly a checkpoint is saved. When the
// target is back reading goes on where it ended, in order and without a gap.
func TestWhoTakesNothingAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(time.Unix(0, int64(verifytest.Start)))) // the time of the blocks
		sink := newTarget()
		var away atomic.Bool
		away.Store(true)
		sink.outcome = func(*plugin.Change) plugin.Outcome {
			if away.Load() {
				return plugin.Retry(errBusy)
			}
			return plugin.Done()
		}
		w := newWorld(t, sink.kind(false))
		asked := &watched{Store: w.store}
		w.follows = asked
		w.configure("sink", map[string]string{"max-backoff": "10s", "batch": "10", "partitions": "3"})
		_, stop := w.runner()
		for range 60 {
			w.write(500, 50)
			<-time.After(time.Second)
		}
		if n := asked.open.Load(); n != 0 {
			t.Errorf("the log is followed by %d cursors of partitions that take nothing, want none", n)
		}
		before, saves := asked.asked.Load(), w.bucket.saves()
		for range 600 {
			w.write(50, 50)
			<-time.After(time.Second)
		}
		if n := asked.asked.Load() - before; n != 0 {
			t.Errorf("the log was asked %d times in ten minutes, want never", n)
		}
		if n := w.bucket.saves() - saves; n > 3 {
			t.Errorf("%d checkpoints were saved in ten minutes in which nothing changed, want at most one of each partition", n)
		}
		away.Store(false)
		w.arrived(sink)
		<-time.After(5 * time.Second) // until the checkpoints are saved
		if s := w.standing(); s.State != "delivering" || s.LagEvents != 0 {
			t.Errorf("got %+v behind it, want no lag", s)
		}
		if n := asked.open.Load(); n != 1 {
			t.Errorf("the log is followed by %d cursors when the target is back, want one for all partitions", n)
		}
		stop()
		if n := asked.open.Load(); n != 0 {
			t.Errorf("%d cursors were left behind", n)
		}
	})
}
