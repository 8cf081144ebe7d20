package delivery_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

var errBusy = errors.New("busy")

// flaky answers retry to a part of what it gets.
func flaky(part float64) func(*plugin.Change) plugin.Outcome {
	return func(*plugin.Change) plugin.Outcome {
		if rand.Float64() < part {
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
}

func TestEverythingArrivesInOrder(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered=", ordered), func(t *testing.T) {
			sink := newTarget()
			sink.outcome = flaky(0.05)
			w := newWorld(t, sink.kind(ordered))
			w.write(1500, 40)
			w.logs["patient"].Void(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "ghost"), Events: []verifytest.Event{{Type: "came"}}})
			w.configure("sink", map[string]string{"partitions": "3", "max-backoff": "20ms", "batch": "20"})
			_, stop := w.runner()
			w.write(500, 40)
			w.arrived(sink)
			stop()
			_, total := sink.count()
			w.write(100, 40)
			_, stop = w.runner()
			w.arrived(sink)
			stop()
			if _, now := sink.count(); now != total+100 {
				t.Errorf("got %d deliveries behind the restart, want 100: nothing is repeated behind an orderly end", now-total)
			}
			if sink.newest[verifytest.Aggregate("patient", "ghost")] != 0 {
				t.Error("a void block was delivered")
			}
		})
	}
}

func TestRunnersShareThePartitions(t *testing.T) {
	sink := newTarget()
	sink.outcome = flaky(0.01)
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "6", "max-backoff": "20ms"})
	_, first := w.runner()
	w.write(400, 60)
	_, second := w.runner()
	_, third := w.runner()
	owners := func() map[string]int {
		count := map[string]int{}
		for _, c := range w.checkpoints("sink") {
			count[c.Owner]++
		}
		return count
	}
	w.until("three runners have two partitions each", func() bool {
		w.write(10, 60)
		return cmp.Equal(owners(), map[string]int{"m1": 2, "m2": 2, "m3": 2})
	})
	second()
	third()
	w.until("one runner has all", func() bool {
		w.write(10, 60)
		return cmp.Equal(owners(), map[string]int{"m1": 6})
	})
	w.arrived(sink)
	first()
}

func TestRefusedChangesAreParked(t *testing.T) {
	t.Parallel()
	for _, block := range []bool{false, true} {
		t.Run(fmt.Sprint("block=", block), func(t *testing.T) {
			sink, mended := newTarget(), false
			sink.outcome = func(c *plugin.Change) plugin.Outcome {
				if f, _ := c.Field("crp"); f.Value == "poison" && !mended {
					return plugin.Park(errors.New("no such crp"))
				}
				return plugin.Done()
			}
			w := newWorld(t, sink.kind(true))
			options := map[string]string{"on-error": "park", "partitions": "2"}
			if block {
				options["on-error"] = "block"
			}
			w.configure("sink", options)
			_, stop := w.runner()
			for _, crp := range []string{"1", "poison", "3", "4"} {
				w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", crp)), w.commit("B", "came", verifytest.Text("crp", "1")))
			}
			a, b := verifytest.Aggregate("patient", "A"), verifytest.Aggregate("patient", "B")
			parked := 1
			if block {
				parked = 3
			}
			w.until("the others arrive", func() bool { return len(sink.versions(b)) == 4 && w.dead.count() == parked })
			want := []event.Version{1, 3, 4}
			if block {
				want = want[:1]
			}
			w.until("later ones pass, or wait", func() bool { return cmp.Equal(sink.versions(a), want) })
			w.plugin("sink", registry.Retried, nil)
			w.until("a retry before the mending", func() bool {
				for _, c := range w.checkpoints("sink") {
					if c.Retry != 1 {
						return false
					}
				}
				return true
			})
			if n := w.dead.count(); n != parked {
				t.Errorf("got %d parked, want %d", n, parked)
			}
			sink.mu.Lock()
			mended = true
			sink.mu.Unlock()
			w.plugin("sink", registry.Retried, nil)
			w.until("the retry empties what is parked", func() bool { return w.dead.count() == 0 })
			w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", "5")))
			if block {
				w.arrived(sink)
			} else {
				w.until("new ones arrive", func() bool { return sink.versions(a)[len(sink.versions(a))-1] == 5 })
			}
			stop()
			if w.dead.count() != 0 {
				t.Error("something was parked behind nothing")
			}
		})
	}
}

// Behind a crash changes come again that stand in front of a parked one: they arrived before, and are not parked behind it.
func TestWhatComesAgainIsNotParkedBehindALaterChange(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if f, _ := c.Field("crp"); f.Value == "poison" {
			return plugin.Park(errors.New("no such crp"))
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(true))
	w.configure("sink", map[string]string{"on-error": "block"})
	a := verifytest.Aggregate("patient", "A")
	_, stop := w.runner()
	w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", "1")))
	w.until("the first arrives", func() bool { return len(sink.versions(a)) == 1 })
	stop()
	saved := maps.Clone(w.bucket.values)
	_, stop = w.runner()
	for _, crp := range []string{"2", "poison", "4"} {
		w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", crp)))
	}
	w.until("two are parked", func() bool { return w.dead.count() == 2 })
	stop()
	w.bucket.values = saved // as if no checkpoint had been saved since, before the crash
	_, before := sink.count()
	_, stop = w.runner()
	w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", "5")))
	w.until("the newest is parked", func() bool { return w.dead.count() >= 3 })
	stop()
	if got := w.dead.count(); got != 3 {
		t.Errorf("got %d changes parked, want versions 3, 4 and 5", got)
	}
	if _, now := sink.count(); now == before {
		t.Error("version 2 did not come again")
	}
}

func TestReplay(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	w.write(300, 10)
	w.configure("sink", map[string]string{"partitions": "3"})
	_, stop := w.runner()
	w.arrived(sink)
	replay := func(r registry.Replay, want int) {
		t.Helper()
		_, before := sink.count()
		w.plugin("sink", registry.Replayed, r.Fields())
		defer func() {
			if t.Failed() {
				_, now := sink.count()
				t.Logf("%+v: before %d, want %d more, got %d; again %d; written %v; checkpoints %v", r, before, want, now, sink.again, w.written, w.checkpoints("sink"))
				for a := range w.written {
					t.Logf("%s: partition %d, got %d", a, registry.Partition(a, 3), sink.deliveries[a])
				}
			}
		}()
		w.until("the replay", func() bool { _, now := sink.count(); return now >= before+want })
		w.write(20, 10)
		w.arrived(sink)
		if _, now := sink.count(); now != before+want+20 {
			t.Errorf("%+v: got %d deliveries again, want %d", r, now-before-20, want)
		}
	}
	one := verifytest.Aggregate("patient", "3")
	replay(registry.Replay{Scope: one.String()}, w.written[one])
	replay(registry.Replay{Scope: "patient"}, 320)
	replay(registry.Replay{}, 340)
	replay(registry.Replay{Log: "patient", Sequence: 6}, 360-250)
	replay(registry.Replay{Time: verifytest.Start + 6*1e9}, 380-250)
	if sink.again == 0 {
		t.Error("nothing was said to be a repeat")
	}
	stop()
}

func TestAnotherLayout(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "4"})
	_, stop := w.runner()
	for _, n := range []string{"1", "7", "3"} {
		w.write(200, 30)
		w.configure("sink", map[string]string{"partitions": n})
	}
	w.write(200, 30)
	w.arrived(sink)
	stop()
}

func TestACheckpointThatDoesNotFit(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	w.write(100, 10)
	w.configure("sink", nil)
	_, stop := w.runner()
	w.arrived(sink)
	stop()
	key := delivery.CheckpointKey("sink", 0, 0)
	c, err := delivery.DecodeCheckpoint(w.secrets, key, w.bucket.values[key])
	if err != nil {
		t.Fatal(err)
	}
	mark := c.Logs["patient"]
	at, err := event.ParsePosition(mark.Position)
	if err != nil {
		t.Fatal(err)
	}
	at.Block[0] ^= 1
	mark.Position = at.String()
	c.Logs["patient"] = mark
	if w.bucket.values[key], err = delivery.EncodeCheckpoint(w.secrets, key, c); err != nil {
		t.Fatal(err)
	}
	w.write(20, 10)
	_, before := sink.count()
	_, stop = w.runner()
	w.until("the plugin stops and says so", func() bool {
		c := w.checkpoints("sink")[0]
		return c.State == "stopped" && strings.Contains(c.Error, "does not fit")
	})
	if _, now := sink.count(); now != before {
		t.Errorf("got %d deliveries from a checkpoint that does not fit", now-before)
	}
	w.plugin("sink", registry.Replayed, registry.Replay{}.Fields())
	w.arrived(sink)
	stop()
}

// A target that is away costs a few calls, and everything arrives when it is back.
func TestATargetThatIsAway(t *testing.T) {
	sink, calls, away := newTarget(), 0, true
	sink.outcome = func(*plugin.Change) plugin.Outcome {
		calls++
		if away {
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(false))
	w.write(2000, 50)
	w.configure("sink", map[string]string{"max-backoff": "100ms", "batch": "10"})
	_, stop := w.runner()
	w.until("the plugin says so", func() bool {
		all := w.checkpoints("sink")
		return len(all) == 1 && all[0].State == "retrying" && all[0].Error == "busy"
	})
	sink.mu.Lock()
	if calls > 100 {
		t.Errorf("a target that is away got %d changes", calls)
	}
	away = false
	sink.mu.Unlock()
	w.arrived(sink)
	stop()
	if c := w.checkpoints("sink")[0]; c.State != "delivering" || c.Error != "" {
		t.Errorf("got %+v", c)
	}
}

// A target that cannot be opened, since it is down when the runner starts, is tried again until it can: nobody has to do anything.
func TestATargetThatIsDownAtTheStart(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	sink.shut = errBusy
	w := newWorld(t, sink.kind(false))
	w.write(50, 5)
	w.configure("sink", map[string]string{})
	_, stop := w.runner()
	w.until("the plugin says so", func() bool {
		all := w.checkpoints("sink")
		return len(all) == 1 && all[0].State == "retrying" && all[0].Error == "open the target: busy"
	})
	sink.mu.Lock()
	sink.shut = nil
	sink.mu.Unlock()
	w.arrived(sink)
	stop()
	if c := w.checkpoints("sink")[0]; c.State != "delivering" || c.Error != "" {
		t.Errorf("got %+v", c)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	w.write(300, 50)
	w.configure("sink", map[string]string{"rate": "200", "partitions": "2"})
	began := time.Now()
	_, stop := w.runner()
	w.arrived(sink)
	if took := time.Since(began); took < time.Second {
		t.Errorf("300 changes at 200 a second took %s", took)
	}
	stop()
}

// A plugin that panics, or gives too few outcomes, loses nothing and harms nobody.
func TestFaultsOfAPlugin(t *testing.T) {
	sink, calls := newTarget(), 0
	sink.outcome = func(*plugin.Change) plugin.Outcome {
		if calls++; calls%7 == 3 {
			sink.mu.Unlock()
			defer sink.mu.Lock()
			sink.busy = map[event.AggregateID]bool{}
			panic("a fault")
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(false))
	w.write(50, 50)
	w.configure("sink", map[string]string{"max-backoff": "10ms", "concurrency": "1", "batch": "5"})
	_, stop := w.runner()
	w.arrived(sink)
	stop()
}

func TestTheStateIsHandedOver(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	b := w.logs["patient"]
	b.Block(w.commit("A", "came", verifytest.Text("crp", "1"), verifytest.Text("ward", "7")))
	b.Block(w.commit("A", "came", verifytest.Text("crp", "2")), w.commit("B", "came", verifytest.Text("crp", "9")))
	b.Block(w.commit("A", "left"))
	b.Block(w.commit("A", "came", event.Field{Name: "crp"}, verifytest.Text("bed", "3")))
	w.configure("sink", map[string]string{"state": "true"})
	_, stop := w.runner()
	w.arrived(sink)
	check := func() {
		t.Helper()
		want := []string{"crp=1 ward=7", "crp=2 ward=7", "deleted crp=2 ward=7", "bed=3"}
		for i, c := range sink.log[verifytest.Aggregate("patient", "A")] {
			got := ""
			if c.State.Deleted {
				got = "deleted "
			}
			for _, f := range c.State.Fields {
				got += f.Name + "=" + f.Value + " "
			}
			if strings.TrimSpace(got) != want[i] || c.Deletes != (i == 2) {
				t.Errorf("version %d: got state %q, deletes %v, want %q", c.Version, got, c.Deletes, want[i])
			}
		}
	}
	check()
	stop()
	b.Block(w.commit("A", "came", verifytest.Text("crp", "5"))) // its state is read along the links
	_, stop = w.runner()
	w.arrived(sink)
	stop()
	last := sink.log[verifytest.Aggregate("patient", "A")][4]
	if v, _ := last.State.Field("crp"); v != "5" || len(last.State.Fields) != 2 {
		t.Errorf("got %+v", last.State)
	}
}

func TestSecretsOfAConfiguration(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	d := &delivery.Desk{Site: "here", Kinds: w.kinds, Secrets: w.secrets}
	p, _, err := d.Examine(registry.Plugin{Name: "sink", Kind: "sink"}, plugin.Values{"password": "canary"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprint(p), "canary") || len(p.Secrets) == 0 {
		t.Errorf("got %+v", p)
	}
	shown, err := d.Shown(&p, nil)
	if err != nil || shown["password"] != "********" {
		t.Errorf("got %v, %v", shown, err)
	}
	again, _, err := d.Examine(registry.Plugin{Name: "sink", Kind: "sink"}, plugin.Values(shown), &p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if values, err := w.secrets.Join(&again); err != nil || values["password"] != "canary" {
		t.Errorf("got %v, %v: what is given as it is shown stays", values, err)
	}
	again.Name = "other"
	if _, err := w.secrets.Join(&again); err == nil {
		t.Error("the secrets of one plugin open as those of another")
	}
}

// Runners that end at any moment, and answers of the bucket that are lost: nothing is lost or out of order.
func TestLostAnswersAndEnds(t *testing.T) {
	sink := newTarget()
	sink.outcome = flaky(0.02)
	w := newWorld(t, sink.kind(true))
	w.bucket.lose = func() bool { return rand.N(3) == 0 }
	w.configure("sink", map[string]string{"partitions": "3", "max-backoff": "10ms"})
	for range 10 {
		_, stop := w.runner()
		w.write(100, 20)
		<-time.After(rand.N(60 * time.Millisecond)) // it may end at any moment
		stop()
	}
	w.runner()
	w.arrived(sink)
}
