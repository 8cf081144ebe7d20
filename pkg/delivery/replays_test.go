package delivery_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// inTwoParts has 200 changes of 10 aggregates arrive through two partitions.
func inTwoParts(t *testing.T, sink *target) (w *world, stop func()) {
	t.Helper()
	w = newWorld(t, sink.kind(false))
	w.write(200, 10)
	w.configure("sink", map[string]string{"partitions": "2", "max-backoff": "100ms"})
	_, stop = w.runner()
	w.arrived(sink)
	return w, stop
}

// Replays that are asked for one after the other all happen: none takes the place of one that was not begun, or that is under way.
func TestReplaysAtOnce(t *testing.T) {
	t.Parallel()
	sink, held := newTarget(), false
	var tried map[event.AggregateID]bool
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if held && c.Again {
			tried[c.Aggregate] = true
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
	w, stop := inTwoParts(t, sink)
	one, two, three := verifytest.Aggregate("patient", "1"), verifytest.Aggregate("patient", "2"), verifytest.Aggregate("patient", "3")
	ask := func(a event.AggregateID) {
		w.plugin("sink", registry.Replayed, registry.Replay{Scope: a.String()}.Fields())
	}
	hold := func(on bool) {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		held, tried = on, map[event.AggregateID]bool{}
		clear(sink.deliveries)
	}
	came := func(all ...event.AggregateID) {
		t.Helper()
		w.until("all of them come again", func() bool {
			sink.mu.Lock()
			defer sink.mu.Unlock()
			return !slices.ContainsFunc(all, func(a event.AggregateID) bool { return sink.deliveries[a] < w.written[a] })
		})
		w.write(20, 10)
		w.arrived(sink)
	}

	hold(true)
	ask(one)
	w.until("the first is under way", func() bool {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		return tried[one]
	})
	ask(two)
	ask(three)
	sink.mu.Lock()
	held = false
	sink.mu.Unlock()
	came(one, two, three)

	stop()
	hold(false)
	before := maps.Clone(w.written)
	ask(two)
	ask(three)
	_, stop = w.runner()
	came(two, three)
	stop()
	for a, n := range sink.deliveries {
		if want := w.written[a] - before[a]; a != two && a != three && n != want {
			t.Errorf("%s: got %d deliveries, want %d, as nobody asked for it again", a, n, want)
		}
	}
}

// Another number of partitions amid a replay of one aggregate brings that again, and nothing else: what the others got is not taken for new.
func TestAnotherLayoutAmidAReplay(t *testing.T) {
	t.Parallel()
	sink, held := newTarget(), true
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if held && c.Again {
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
	w, stop := inTwoParts(t, sink)
	one := verifytest.Aggregate("patient", "1")
	w.plugin("sink", registry.Replayed, registry.Replay{Scope: one.String()}.Fields())
	w.until("the replay is held up", func() bool {
		return slices.ContainsFunc(w.checkpoints("sink"), func(c delivery.Checkpoint) bool { return c.State == "retrying" && len(c.Replaying) > 0 })
	})
	for _, partitions := range []string{"5", "3"} {
		w.configure("sink", map[string]string{"partitions": partitions, "max-backoff": "100ms"})
		w.until("the replay is held up there too", func() bool {
			number, _ := w.registered("sink").Layout()
			return slices.ContainsFunc(w.layout(number), func(c delivery.Checkpoint) bool { return c.State == "retrying" && len(c.Replaying) > 0 })
		})
	}
	sink.mu.Lock()
	held = false
	sink.mu.Unlock()
	w.until("it comes again", func() bool {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		return sink.deliveries[one] >= 2*w.written[one]
	})
	w.write(20, 10)
	w.arrived(sink)
	stop()
	for a, n := range sink.deliveries {
		if a != one && n != w.written[a] {
			t.Errorf("%s: got %d deliveries, want %d, as nobody asked for it again", a, n, w.written[a])
		}
	}
	if sink.again < w.written[one]-20 {
		t.Errorf("got %d changes that are said to be repeats, want all of the replay", sink.again)
	}
}

// layout are the checkpoints of one.
func (w *world) layout(number int) (all []delivery.Checkpoint) {
	w.bucket.mu.Lock()
	defer w.bucket.mu.Unlock()
	for i := range w.registered("sink").Layouts[number].Partitions {
		key := delivery.CheckpointKey("sink", number, i)
		if c, err := delivery.DecodeCheckpoint(w.secrets, key, w.bucket.values[key]); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// So it is with parked changes: a retry of one does not take the place of that of another.
func TestRetriesAtOnce(t *testing.T) {
	t.Parallel()
	sink, mended := newTarget(), false
	sink.outcome = func(*plugin.Change) plugin.Outcome {
		if !mended {
			return plugin.Park(errBusy)
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(false))
	w.configure("sink", nil)
	_, stop := w.runner()
	w.logs["patient"].Block(w.commit("A", "came"), w.commit("B", "came"))
	w.until("both are parked", func() bool { return w.dead.count() == 2 })
	stop()
	mended = true
	w.plugin("sink", registry.Retried, map[string]string{"number": "1"})
	w.plugin("sink", registry.Retried, map[string]string{"number": "2"})
	_, stop = w.runner()
	w.until("both are tried again", func() bool { return w.dead.count() == 0 })
	w.arrived(sink)
	stop()
}

// A plugin that is removed amid a replay delivers no more, nothing of it is under way any more, and one that takes its name begins anew.
func TestRemovedAmidAReplay(t *testing.T) {
	t.Parallel()
	sink, held := newTarget(), false
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if held && c.Again {
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
	w, stop := inTwoParts(t, sink)
	sink.mu.Lock()
	held = true
	sink.mu.Unlock()
	w.plugin("sink", registry.Replayed, registry.Replay{}.Fields())
	w.until("the replay is held up", func() bool {
		all := w.checkpoints("sink")
		return slices.ContainsFunc(all, func(c delivery.Checkpoint) bool { return c.State == "retrying" && len(c.Replaying) > 0 })
	})
	w.plugin("sink", registry.Disabled, nil)
	w.until("nothing is under way", func() bool {
		open, err := w.desk().Open(t.Context(), w.registered("sink"))
		return err == nil && len(open) == 0
	})
	w.plugin("sink", registry.Removed, nil)
	sink.mu.Lock()
	held = false
	clear(sink.deliveries)
	clear(sink.newest)
	clear(sink.log)
	sink.mu.Unlock()
	w.write(20, 10)
	w.configure("sink", map[string]string{"partitions": "2"})
	w.arrived(sink)
	stop()
	for a, n := range sink.deliveries {
		if n != w.written[a] {
			t.Errorf("%s: got %d deliveries, want %d: nothing is left of the replay", a, n, w.written[a])
		}
	}
}

// A change that is refused again is parked once, with the new cause, and a retry tries it once, however many there are.
func TestWhatIsRefusedAgainHasItsNewCause(t *testing.T) {
	t.Parallel()
	const n = 1100 // more than are tried at a time
	sink, cause, tries := newTarget(), "the first cause", 0
	sink.outcome = func(*plugin.Change) plugin.Outcome {
		tries++
		return plugin.Park(errors.New(cause))
	}
	w := newWorld(t, sink.kind(false))
	w.configure("sink", nil)
	w.write(n, 2*n)
	_, stop := w.runner()
	w.until("all are parked", func() bool { return w.dead.count() == n })
	sink.mu.Lock()
	cause = "the second cause"
	sink.mu.Unlock()
	w.plugin("sink", registry.Retried, nil)
	w.until("the retry is done", func() bool { return w.checkpoints("sink")[0].Retry == 1 })
	stop()
	if tries != 2*n {
		t.Errorf("got %d tries, want %d", tries, 2*n)
	}
	found, err := w.desk().Parked(t.Context(), "sink", 1, func(number uint64, one delivery.Parked) bool {
		if one.Cause != "the second cause" {
			t.Errorf("%d: got %q, want the second cause", number, one.Cause)
		}
		return one.Cause == "the second cause"
	})
	if err != nil || found != n {
		t.Errorf("got %d parked, %v, want %d", found, err, n)
	}
}
