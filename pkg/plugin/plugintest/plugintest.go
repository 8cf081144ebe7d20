// Package plugintest is the suite that every plugin must pass, and changes to deliver in tests.
package plugintest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// patience is how long anything may take before the suite fails.
const patience = time.Minute

// Target is a plugin under test, and a look at what stands behind it.
type Target struct {
	// Kind is checked for what every kind must hold.
	Kind *plugin.Kind
	// Open opens the plugin on the same target each time; it closes it with the test.
	Open func(t *testing.T) plugin.Plugin
	// Newest gives the newest version of an aggregate that stands in the target, 0 for none or a deleted one. It may poll until the target shows what it acknowledged.
	Newest func(t *testing.T, a event.AggregateID) event.Version
	// Versioned: the target refuses an older version than it has, so that a repeated one does not take it back.
	Versioned bool
	// Deletes: a change that deletes the aggregate takes it out of the target.
	Deletes bool
}

// Open opens a plugin with options that its kind finds nothing wrong with, and closes it with the test.
func Open(t *testing.T, k *plugin.Kind, s plugin.Settings) plugin.Plugin {
	t.Helper()
	var err error
	if s.Options, err = k.Examine(s); err != nil {
		t.Fatal(err)
	}
	p, err := k.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Run runs the suite.
func Run(t *testing.T, target Target) {
	for _, test := range []struct {
		name string
		test func(*testing.T, Target)
	}{
		{"Kind", testKind},
		{"DeliverOne", testDeliverOne},
		{"DeliverMany", testDeliverMany},
		{"Repeated", testRepeated},
		{"Deleted", testDeleted},
		{"Forgotten", testForgotten},
		{"OddValues", testOddValues},
		{"Concurrent", testConcurrent},
		{"Cancelled", testCancelled},
		{"TestLeavesNothing", testTestLeavesNothing},
		{"Reopened", testReopened},
	} {
		t.Run(test.name, func(t *testing.T) { test.test(t, target) })
	}
}

// Change makes a change of an aggregate of type patient: version v sets the fields, name and value in turns.
func Change(id string, v event.Version, fields ...string) plugin.Change {
	c := plugin.Change{
		Aggregate: event.AggregateID{Type: "patient", ID: id}, Version: v, EventType: "patient-updated",
		Position: event.Position{Log: "patient", Sequence: uint64(v), Block: event.ID16{1}},
		Leaf:     sha256.Sum256(fmt.Appendf(nil, "%s/%d", id, v)),
		Meta: plugin.Meta{Site: "test", Actor: "dr.house", Command: fmt.Sprintf("cmd-%s-%d", strings.ToValidUTF8(id, ""), v), Schema: 1,
			Time: event.Time(time.Date(2026, 2, 3, 4, 5, 6, int(v), time.UTC).UnixNano()), Transaction: event.Transaction{ID: event.ID16{2}, Count: 1}},
	}
	if v == 1 {
		c.EventType = "patient-admitted"
	}
	for i := 0; i+1 < len(fields); i += 2 {
		c.Fields = append(c.Fields, event.Field{Name: fields[i], Value: fields[i+1], Set: true})
	}
	c.State = &plugin.State{Fields: c.Fields}
	return c
}

// Delete makes a change that ends the aggregate.
func Delete(id string, v event.Version) plugin.Change {
	c := Change(id, v)
	c.EventType, c.Deletes, c.State.Deleted = "patient-erased", true, true
	return c
}

// Forget makes the change by which targets learn that the encrypted fields of an aggregate, here its name, are forgotten.
func Forget(id string) plugin.Change {
	c := Change(id, 0)
	c.EventType, c.Forgotten, c.Fields, c.State = "eventful-forgotten", true, []event.Field{{Name: "name"}}, nil
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// id makes the ids of a test differ from those of others on the same target.
func id(t *testing.T, name string) string {
	return fmt.Sprintf("%s-%x", name, sha256.Sum256([]byte(t.Name())))[:len(name)+9]
}

// deliver brings changes in, again while the plugin says Retry, and fails the test for anything but Done.
func deliver(t *testing.T, p plugin.Plugin, changes ...plugin.Change) {
	t.Helper()
	ctx := within(t)
	for len(changes) > 0 && ctx.Err() == nil {
		outcomes := p.Deliver(ctx, plugin.Batch{Changes: changes})
		if len(outcomes) != len(changes) {
			t.Fatalf("got %d outcomes for %d changes", len(outcomes), len(changes))
		}
		var again []plugin.Change
		for i, o := range outcomes {
			switch {
			case o.Status == plugin.StatusPark:
				t.Fatalf("%s version %d was parked: %v", changes[i].Aggregate, changes[i].Version, o.Err)
			case o.Status == plugin.StatusRetry:
				again = append(again, changes[i])
			}
		}
		changes = again
	}
	if len(changes) > 0 {
		t.Fatalf("%d changes did not arrive in %s", len(changes), patience)
	}
}

func (target *Target) want(t *testing.T, id string, want event.Version) {
	t.Helper()
	if got := target.Newest(t, event.AggregateID{Type: "patient", ID: id}); got != want {
		t.Errorf("patient/%s: got version %d in the target, want %d", id, got, want)
	}
}

func testKind(t *testing.T, target Target) {
	k := target.Kind
	if k.Name == "" || len(k.Name) > 20 || strings.Trim(k.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("name %q is not 1 to 20 of a-z, 0-9 and hyphen", k.Name)
	}
	if k.Summary == "" || k.Open == nil {
		t.Error("a kind needs a summary and Open")
	}
	seen := map[string]bool{}
	for i := range k.Options {
		o := &k.Options[i]
		switch {
		case strings.Trim(o.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || o.Name == "":
			t.Errorf("option %q is not of a-z, 0-9 and hyphen", o.Name)
		case slices.Contains(plugin.Taken(), o.Name):
			t.Errorf("option %s has a name that is taken", o.Name)
		case seen[o.Name]:
			t.Errorf("option %s is there twice", o.Name)
		case o.Help == "":
			t.Errorf("option %s has no help", o.Name)
		case o.Secret && o.Default != "":
			t.Errorf("option %s is secret and has a default", o.Name)
		}
		seen[o.Name] = true
		if o.Default != "" {
			if err := o.Examine(o.Default); err != nil {
				t.Errorf("option %s refuses its own default: %v", o.Name, err)
			}
		}
	}
	if _, err := k.Examine(plugin.Settings{Name: "x", Site: "test", Options: plugin.Values{"no-such-option": "1"}}); err == nil {
		t.Error("an option that is not declared was taken")
	}
}

func testDeliverOne(t *testing.T, target Target) {
	p, a := target.Open(t), id(t, "one")
	deliver(t, p, Change(a, 1, "name", "Ada", "ward", "7"))
	target.want(t, a, 1)
	deliver(t, p, Change(a, 2, "ward", "8"))
	target.want(t, a, 2)
}

func testDeliverMany(t *testing.T, target Target) {
	const n = 200
	p := target.Open(t)
	for v := event.Version(1); v <= 3; v++ {
		var changes []plugin.Change
		for i := range n {
			changes = append(changes, Change(id(t, fmt.Sprint("many", i)), v, "name", fmt.Sprint("n", v)))
		}
		deliver(t, p, changes...)
	}
	for _, i := range []int{0, 1, n / 2, n - 1} {
		target.want(t, id(t, fmt.Sprint("many", i)), 3)
	}
}

func testRepeated(t *testing.T, target Target) {
	p, a := target.Open(t), id(t, "again")
	changes := []plugin.Change{Change(a, 1, "name", "Ada"), Change(a, 2, "name", "Eve"), Change(a, 3, "name", "Mia")}
	for i := range changes {
		deliver(t, p, changes[i])
	}
	if !target.Versioned {
		deliver(t, p, changes[2])
		target.want(t, a, 3)
		return
	}
	for i := range changes[:2] {
		changes[i].Again = true
		deliver(t, p, changes[i])
		target.want(t, a, 3)
	}
}

func testDeleted(t *testing.T, target Target) {
	if !target.Deletes {
		t.Skip("the target keeps what is deleted")
	}
	p, a := target.Open(t), id(t, "gone")
	deliver(t, p, Change(a, 1, "name", "Ada"))
	deliver(t, p, Delete(a, 2))
	target.want(t, a, 0)
	deliver(t, p, Delete(a, 2)) // what is not there any more is deleted
	target.want(t, a, 0)
	deliver(t, p, Change(a, 3, "name", "Eve"))
	target.want(t, a, 3)
	if target.Versioned {
		deliver(t, p, Delete(a, 2))
		target.want(t, a, 3)
	}
}

// What is forgotten may be in the target or not, and comes again; versions go on as if it had not been.
func testForgotten(t *testing.T, target Target) {
	p, a := target.Open(t), id(t, "forgotten")
	deliver(t, p, Forget(a))
	target.want(t, a, 0)
	deliver(t, p, Change(a, 1, "name", "Ada", "ward", "7"))
	deliver(t, p, Forget(a))
	again := Forget(a)
	again.Again = true
	deliver(t, p, again)
	target.want(t, a, 1)
	deliver(t, p, Change(a, 2, "ward", "8"))
	target.want(t, a, 2)
}

func testOddValues(t *testing.T, target Target) {
	p := target.Open(t)
	for i, value := range []string{"", " ", "\"quoted\\", "line\nbreak\r\n\ttab", "nul\x00 and \x1b", "zwölf \u2028 \U0001F600 \u202e", "</script>&amp;", "null", "1.10", strings.Repeat("long ", 20000)} {
		c := Change(id(t, fmt.Sprint("odd ä/#?%", i)), 1, "name", value)
		c.Fields = append(c.Fields, event.Field{Name: "ward"}) // unset
		deliver(t, p, c)
		target.want(t, c.Aggregate.ID, 1)
	}
}

func testConcurrent(t *testing.T, target Target) {
	p := target.Open(t)
	ctx := within(t)
	var all sync.WaitGroup
	failed := make(chan error, 8)
	for g := range 8 {
		all.Go(func() {
			for v := event.Version(1); v <= 5; v++ {
				c := Change(id(t, fmt.Sprint("par", g)), v, "name", "x")
				for ctx.Err() == nil {
					if o := p.Deliver(ctx, plugin.Batch{Partition: g, Changes: []plugin.Change{c}}); len(o) != 1 || o[0].Status == plugin.StatusPark {
						failed <- fmt.Errorf("goroutine %d: outcomes %v", g, o)
						return
					} else if o[0].Status == plugin.StatusDone {
						break
					}
				}
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	for g := range 8 {
		target.want(t, id(t, fmt.Sprint("par", g)), 5)
	}
}

func testCancelled(t *testing.T, target Target) {
	p := target.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	a := id(t, "cut")
	outcomes := p.Deliver(ctx, plugin.Batch{Changes: []plugin.Change{Change(a, 1, "name", "Ada")}})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Deliver took %s with an ended context", took)
	}
	if len(outcomes) != 1 || outcomes[0].Status == plugin.StatusPark {
		t.Fatalf("got %v, want one outcome that is not parked", outcomes)
	}
	deliver(t, p, Change(a, 1, "name", "Ada")) // the plugin goes on
	target.want(t, a, 1)
}

func testTestLeavesNothing(t *testing.T, target Target) {
	p, a := target.Open(t), id(t, "beside")
	deliver(t, p, Change(a, 1, "name", "Ada"))
	for range 2 {
		if err := p.Test(within(t)); err != nil {
			t.Fatalf("test of the plugin: %v", err)
		}
	}
	deliver(t, p, Change(a, 2, "name", "Eve"))
	target.want(t, a, 2)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Test(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Logf("with an ended context: %v", err)
	}
}

func testReopened(t *testing.T, target Target) {
	a := id(t, "twice")
	deliver(t, target.Open(t), Change(a, 1, "name", "Ada"))
	deliver(t, target.Open(t), Change(a, 2, "name", "Eve"))
	target.want(t, a, 2)
}
