package delivery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// standing is what `plugin:list` shows of the plugin.
func (w *world) standing() delivery.Standing {
	w.t.Helper()
	s, err := w.desk().Standing(context.Background(), w.registered("sink"), []string{"patient"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestATargetThatIsAwayForAnHour: in an hour, which passes in no time here, a target that takes nothing costs a call now and then of one change each; the lag grows and is shown, nothing is parked, and
// everything arrives in order within seconds of its return.
func TestATargetThatIsAwayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const longest = 10 * time.Second
		<-time.After(time.Until(time.Unix(0, int64(verifytest.Start)))) // the time of the blocks
		sink, away := newTarget(), true
		var calls []time.Time
		sink.outcome = func(*plugin.Change) plugin.Outcome {
			if !away {
				return plugin.Done()
			}
			calls = append(calls, time.Now())
			return plugin.Retry(errBusy)
		}
		w := newWorld(t, sink.kind(false))
		w.configure("sink", map[string]string{"max-backoff": longest.String(), "batch": "10"})
		_, stop := w.runner()
		began, written := time.Now(), 0
		for time.Since(began) < time.Hour {
			w.write(500, 50)
			written += 500
			<-time.After(time.Minute)
		}
		s := w.standing()
		if s.State != "retrying" || s.Error != "busy" || s.Parked != 0 || s.LagEvents != uint64(written) || s.LagSeconds < 3590 || s.LagSeconds > 3700 {
			t.Errorf("got %+v, want it retrying, %d events and an hour behind", s, written)
		}
		sink.mu.Lock()
		late := calls[len(calls)/2:]
		pause := late[len(late)-1].Sub(late[0]) / time.Duration(len(late)-1)
		if pause < longest/2 || pause > longest || len(calls) > 800 {
			t.Errorf("%d calls, one each %s; want one each %s to %s", len(calls), pause, longest/2, longest)
		}
		away = false
		sink.mu.Unlock()
		back := time.Now()
		w.arrived(sink)
		if took := time.Since(back); took > longest+5*time.Second {
			t.Errorf("it took %s until everything had arrived, want no longer than the longest pause and a moment", took)
		}
		<-time.After(5 * time.Second) // until the checkpoint is saved
		if s := w.standing(); s.State != "delivering" || s.Error != "" || s.LagEvents != 0 || s.LagSeconds != 0 {
			t.Errorf("got %+v behind it, want no lag and no error", s)
		}
		stop()
	})
}

// TestATargetThatCannotBeOpenedForAnHour: it is tried with pauses that grow, too.
func TestATargetThatCannotBeOpenedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newTarget()
		sink.shut = errBusy
		w := newWorld(t, sink.kind(false))
		w.write(50, 5)
		w.configure("sink", map[string]string{"max-backoff": "10s"})
		_, stop := w.runner()
		<-time.After(time.Minute)
		early := sink.tries()
		<-time.After(time.Hour)
		if late := sink.tries() - early; early < 10 || late < 360 || late > 600 {
			t.Errorf("it was tried %d times in the first minute and %d times in the hour behind it; want one each 5 s to 10 s, and more at the start", early, late)
		}
		sink.mu.Lock()
		sink.shut = nil
		sink.mu.Unlock()
		<-time.After(15 * time.Second)
		w.arrived(sink)
		stop()
	})
}

// TestASlowTarget takes a minute for each call, which is more than it may take, and half of what it is given arrives all the same: nothing is lost, and no more calls are made than may be under way.
func TestASlowTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newTarget()
		kind := sink.kind(false)
		busy := make(chan struct{}, 2)
		kind.Open = func(context.Context, plugin.Settings) (plugin.Plugin, error) {
			return slow{sink, busy, t}, nil
		}
		w := newWorld(t, kind)
		w.write(300, 30)
		w.configure("sink", map[string]string{"call-timeout": "30s", "batch": "10", "concurrency": "2", "max-backoff": "1s"})
		_, stop := w.runner()
		for first := 0; first < 300; first, _ = sink.count() {
			<-time.After(time.Minute)
		}
		w.arrived(sink)
		stop()
	})
}

// slow brings the first half of a batch to its target, and says nothing until its time is over.
type slow struct {
	*target
	busy chan struct{} // as many elements as calls may be under way
	t    *testing.T
}

func (s slow) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		s.t.Error("there are more calls at a time than are configured")
	}
	arrived := b
	arrived.Changes = b.Changes[:(len(b.Changes)+1)/2]
	out := s.target.Deliver(ctx, arrived)
	select {
	case <-time.After(time.Minute):
		s.t.Error("a call was not ended")
	case <-ctx.Done():
	}
	return append(out, plugin.All(len(b.Changes)-len(arrived.Changes), plugin.Retry(ctx.Err()))...)
}
