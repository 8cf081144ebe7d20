package delivery_test

import (
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// refuser is a target that refuses version 2 of every aggregate, with a cause that can be changed.
type refuser struct {
	*target
	cause string // guarded by mu; empty: nothing is refused
	tried int    // version 2, guarded by mu
}

func newRefuser() *refuser {
	r := &refuser{target: newTarget(), cause: "the first cause"}
	r.outcome = func(c *plugin.Change) plugin.Outcome {
		if c.Version == 2 {
			if r.tried++; r.cause != "" {
				return plugin.Park(errors.New(r.cause))
			}
		}
		return plugin.Done()
	}
	return r
}

func (r *refuser) says(cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cause, r.tried = cause, 0
}

// parked are the versions that are parked, with their causes, in the order of their numbers.
func (w *world) parked() (all []delivery.Parked) {
	w.t.Helper()
	_, err := w.desk().Parked(w.t.Context(), "sink", 1, func(_ uint64, one delivery.Parked) bool {
		all = append(all, one)
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// replayed asks for a replay of everything, and waits until it is through.
func (w *world) replayed() {
	w.t.Helper()
	w.plugin("sink", registry.Replayed, registry.Replay{}.Fields())
	number := w.registered("sink").Replay.Number
	w.until("the replay is through", func() bool {
		all := w.checkpoints("sink")
		return len(all) == 1 && all[0].Replay == number && len(all[0].Replaying) == 0 && len(all[0].Logs) > 0
	})
}

// A replay that brings again what is parked parks nothing twice: what is refused once more has its new cause, and what arrives is not parked any more.
func TestAReplayOfWhatIsParked(t *testing.T) {
	t.Parallel()
	sink := newRefuser()
	w := newWorld(t, sink.kind(false))
	w.configure("sink", nil)
	w.logs["patient"].Block(w.commit("A", "came"), w.commit("A", "came"), w.commit("A", "came"))
	_, stop := w.runner()
	w.until("it is parked", func() bool { return w.dead.count() == 1 })
	sink.says("the second cause")
	w.replayed()
	if all := w.parked(); len(all) != 1 || all[0].Version != 2 || all[0].Cause != "the second cause" {
		t.Errorf("behind a replay got %+v, want version 2 once, with the second cause", all)
	}
	sink.says("the third cause")
	w.plugin("sink", registry.Retried, nil)
	w.until("the retry is done", func() bool { return w.checkpoints("sink")[0].Retry == 1 })
	w.replayed()
	if all := w.parked(); len(all) != 1 || all[0].Cause != "the third cause" {
		t.Errorf("behind a retry and a replay got %+v, want version 2 once, with the third cause", all)
	}
	sink.says("")
	w.replayed()
	if all := w.parked(); len(all) != 0 {
		t.Errorf("behind a replay that brought it got %+v, want nothing", all)
	}
	stop()
}

// With --on-error=block what is parked stays as it is: a retry brings it in its order, once.
func TestAReplayOfWhatIsBlocked(t *testing.T) {
	t.Parallel()
	sink := newRefuser()
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"on-error": "block"})
	w.logs["patient"].Block(w.commit("A", "came"), w.commit("A", "came"), w.commit("A", "came"))
	_, stop := w.runner()
	w.until("both are parked", func() bool { return w.dead.count() == 2 })
	w.replayed()
	all := w.parked()
	if len(all) != 2 || all[0].Version != 2 || all[0].Behind || all[1].Version != 3 {
		t.Errorf("behind a replay got %+v, want versions 2 and 3 as they were", all)
	}
	sink.says("")
	w.plugin("sink", registry.Retried, nil)
	w.until("the retry is done", func() bool { return w.checkpoints("sink")[0].Retry == 1 })
	w.logs["patient"].Block(w.commit("A", "came"))
	w.arrived(sink.target)
	stop()
	if n := sink.deliveries[event.AggregateID{Type: "patient", ID: "A"}]; n != 5 || sink.tried != 1 {
		t.Errorf("got %d deliveries and %d of version 2, want 5 and 1: four versions, and the first one twice", n, sink.tried)
	}
}

// Behind a crash a change comes again that was parked before a retry of others was asked for: it is parked once.
func TestWhatComesAgainBehindARetryIsParkedOnce(t *testing.T) {
	t.Parallel()
	sink, held := newRefuser(), true
	refuse := sink.outcome
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if held && c.Aggregate.ID == "slow" {
			return plugin.Retry(errBusy)
		}
		return refuse(c)
	}
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"max-backoff": "50ms"})
	w.logs["patient"].Block(w.commit("slow", "came"), w.commit("A", "came"), w.commit("A", "came"))
	_, stop := w.runner()
	w.until("it is parked", func() bool { return w.dead.count() == 1 })
	stop() // the checkpoint stands before the block
	w.plugin("sink", registry.Retried, map[string]string{"number": "99"})
	sink.mu.Lock()
	held = false
	sink.mu.Unlock()
	_, stop = w.runner()
	w.arrivedBut(sink.target, 1)
	stop()
	if all := w.parked(); len(all) != 1 {
		t.Errorf("got %+v, want version 2 once", all)
	}
}

// arrivedBut waits until everything is settled, all but so many changes at the target.
func (w *world) arrivedBut(t *target, missing int) {
	w.t.Helper()
	all := -missing
	for _, n := range w.written {
		all += n
	}
	w.until("everything else arrives", func() bool { first, _ := t.count(); return first == all })
}

// What is purged while a retry has it stays away: the refusal comes too late.
func TestPurgedWhileItIsRetried(t *testing.T) {
	t.Parallel()
	sink, called, ends := newRefuser(), make(chan struct{}), make(chan struct{})
	w := newWorld(t, sink.kind(false))
	w.configure("sink", nil)
	w.logs["patient"].Block(w.commit("A", "came"), w.commit("A", "came"))
	_, stop := w.runner()
	w.until("it is parked", func() bool { return w.dead.count() == 1 })
	sink.mu.Lock()
	refuse := sink.outcome
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		close(called)
		<-ends
		return refuse(c)
	}
	sink.mu.Unlock()
	w.plugin("sink", registry.Retried, nil)
	<-called
	if n, err := w.desk().Purge(t.Context(), "sink", 0); n != 1 || err != nil {
		t.Fatalf("got %d purged, %v, want 1", n, err)
	}
	w.plugin("sink", registry.Purged, nil)
	close(ends)
	w.until("the retry is done", func() bool { return w.checkpoints("sink")[0].Retry == 1 })
	stop()
	if all := w.parked(); len(all) != 0 {
		t.Errorf("got %+v, want nothing: it was purged", all)
	}
}
