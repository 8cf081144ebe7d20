package delivery_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// Disabling a plugin comes to an end, also if its target never opened, or if whoever had its partitions is gone: who has them next says that nothing is under way.
func TestADisabledPluginIsSettled(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"at work": true, "gone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := newTarget()
			sink.shut = errBusy
			w := newWorld(t, sink.kind(false))
			w.write(50, 5)
			w.configure("sink", map[string]string{"partitions": "2"})
			_, stop := w.runner()
			w.until("both partitions say so", func() bool {
				all := w.checkpoints("sink")
				return len(all) == 2 && all[0].State == "retrying" && all[1].State == "retrying"
			})
			if open, err := w.desk().Open(t.Context(), w.registered("sink")); err != nil || len(open) != 2 {
				t.Fatalf("got %v, %v, want that both are worked on", open, err)
			}
			if !running {
				stop()
			}
			w.plugin("sink", registry.Disabled, nil)
			if !running {
				_, stop = w.runner()
			}
			w.until("nothing is under way", func() bool {
				open, err := w.desk().Open(t.Context(), w.registered("sink"))
				return err == nil && len(open) == 0
			})
			sink.mu.Lock()
			sink.shut = nil
			sink.mu.Unlock()
			w.plugin("sink", registry.Enabled, nil)
			w.arrived(sink)
			stop()
		})
	}
}

// A plugin that is disabled right behind a change of its partitions is not said to be settled while a call of the former layout is under way.
func TestADisabledPluginOfAnotherLayoutIsSettled(t *testing.T) {
	t.Parallel()
	sink, called, ends := newTarget(), make(chan struct{}, 1000), make(chan struct{})
	sink.outcome = func(*plugin.Change) plugin.Outcome {
		called <- struct{}{}
		<-ends
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(false))
	w.write(1, 1)
	w.configure("sink", map[string]string{"partitions": "2"})
	_, stop := w.runner()
	<-called
	w.configure("sink", map[string]string{"partitions": "1"})
	w.plugin("sink", registry.Disabled, nil)
	open := func() []int {
		t.Helper()
		open, err := w.desk().Open(t.Context(), w.registered("sink"))
		if err != nil {
			t.Fatal(err)
		}
		return open
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until); <-time.After(20 * time.Millisecond) {
		if len(open()) == 0 {
			t.Fatal("it is said to be settled with a call under way")
		}
	}
	close(ends)
	w.until("nothing is under way", func() bool { return len(open()) == 0 })
	stop()
}

// Whoever has partition 0 settles those that the newest layout does not have, behind a runner that is gone.
func TestPartitionsThatAreNoMoreAreSettled(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	sink.shut = errBusy
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "2"})
	_, stop := w.runner()
	w.until("both partitions are begun", func() bool { return len(w.checkpoints("sink")) == 2 })
	stop()
	w.configure("sink", map[string]string{"partitions": "1"})
	w.plugin("sink", registry.Disabled, nil)
	_, stop = w.runner()
	w.until("nothing is under way", func() bool {
		open, err := w.desk().Open(t.Context(), w.registered("sink"))
		return err == nil && len(open) == 0
	})
	stop()
}

// Until its target is open a plugin is starting, and not said to deliver; disabled, no partition of it is.
func TestATargetThatOpensLate(t *testing.T) {
	t.Parallel()
	sink, opens := newTarget(), make(chan struct{})
	k := sink.kind(false)
	open := k.Open
	k.Open = func(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
		<-opens
		return open(ctx, s)
	}
	w := newWorld(t, k)
	w.write(50, 5)
	w.configure("sink", nil)
	_, stop := w.runner()
	w.until("the partition has an owner", func() bool { return len(w.checkpoints("sink")) == 1 })
	states := func(plugin, partition string) bool {
		s, err := w.desk().Standing(t.Context(), w.registered("sink"), []string{"patient"})
		return err == nil && s.State == plugin && len(s.Partitions) == 1 && s.Partitions[0].State == partition
	}
	if !states("starting", "starting") {
		t.Error("it delivers to a target that is not open")
	}
	close(opens)
	w.arrived(sink)
	w.until("it delivers", func() bool { return states("delivering", "delivering") })
	w.plugin("sink", registry.Disabled, nil)
	w.until("it is disabled", func() bool { return states("disabled", "disabled") })
	stop()
}

// What keeps a partition from delivering is shown before what another one has parked.
func TestTheErrorOfThePartitionThatIsWorstOff(t *testing.T) {
	t.Parallel()
	for state, at := range map[string]int{"retrying": 0, "stopped": 1} {
		w := newWorld(t, newTarget().kind(false))
		w.configure("sink", map[string]string{"partitions": "3"})
		for i := range 3 {
			c := delivery.Checkpoint{State: "delivering", Error: "it was parked"}
			if i == at {
				c = delivery.Checkpoint{State: state, Error: "the target is away"}
			}
			key := delivery.CheckpointKey("sink", 0, i)
			value, err := delivery.EncodeCheckpoint(w.secrets, key, c)
			if err == nil {
				err = w.bucket.Put(t.Context(), key, value, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if s, err := w.desk().Standing(t.Context(), w.registered("sink"), nil); err != nil || s.State != state || s.Error != "the target is away" {
			t.Errorf("got %+v, %v, want %s and its error", s, err, state)
		}
	}
}

// A secret that is kept goes nowhere else than it did.
func TestAKeptSecretStaysWithItsAddress(t *testing.T) {
	t.Parallel()
	kind := &plugin.Kind{Name: "sink", Options: []plugin.Option{{Name: "url", Address: true}, {Name: "password", Secret: true}, {Name: "mode"}}}
	other := *kind
	other.Name = "drain"
	d := &delivery.Desk{Site: "here", Kinds: []*plugin.Kind{kind, &other}}
	before, _, err := d.Examine(registry.Plugin{Name: "one", Kind: "sink"}, plugin.Values{"url": "a", "password": "hunter2"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind  string
		given plugin.Values
		fits  bool
	}{
		"another option":             {"sink", plugin.Values{"url": "a", "password": plugin.Masked, "mode": "x"}, true},
		"another address":            {"sink", plugin.Values{"url": "b", "password": plugin.Masked}, false},
		"no address":                 {"sink", plugin.Values{"password": plugin.Masked}, false},
		"another type":               {"drain", plugin.Values{"url": "a", "password": plugin.Masked}, false},
		"another address and secret": {"sink", plugin.Values{"url": "b", "password": "hunter3"}, true},
	} {
		p, _, err := d.Examine(registry.Plugin{Name: "one", Kind: c.kind}, c.given, &before, nil)
		if (err == nil) != c.fits {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
		if values, joining := d.Secrets.Join(&p); err == nil && (joining != nil || !strings.HasPrefix(values["password"], "hunter")) {
			t.Errorf("%s: got %v, %v", name, values, joining)
		}
	}
}
