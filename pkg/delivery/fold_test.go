package delivery_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// storied writes random histories, and knows what they fold to.
type storied struct {
	w      *world
	states map[event.AggregateID][]aggregate.State // behind each version
}

// blocks appends blocks of 50 commits of patients 0..aggregates-1, at random.
func (s *storied) blocks(n, aggregates int) {
	for range n {
		var commits []verifytest.Commit
		for range 50 {
			commits = append(commits, s.commit(fmt.Sprint(rand.N(aggregates))))
		}
		s.w.logs["patient"].Block(commits...)
	}
}

func (s *storied) commit(id string) verifytest.Commit {
	var fields []event.Field
	for _, name := range []string{"bed", "crp", "ward"} {
		if f := (event.Field{Name: name, Set: rand.N(4) > 0}); rand.N(2) == 0 {
			if f.Set {
				f.Value = fmt.Sprint(rand.N(1000))
			}
			fields = append(fields, f)
		}
	}
	c := s.w.commit(id, "came", fields...)
	e := &c.Events[0]
	switch rand.N(20) {
	case 0:
		e.Type = "left"
	case 1:
		e.Type, e.SchemaDigest = aggregate.EventRolledBackEnded, schema.RolledBackDigest
	}
	before := aggregate.State{}
	if known := s.states[c.Aggregate]; len(known) > 0 {
		before = known[len(known)-1]
	}
	s.states[c.Aggregate] = append(s.states[c.Aggregate], aggregate.FoldFields(before, event.Event{SchemaDigest: e.SchemaDigest}, fields, e.Type != "came"))
	return c
}

// check holds every state that was handed over against what the histories fold to.
func (s *storied) check(sink *target) {
	s.w.t.Helper()
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for a, changes := range sink.log {
		for _, c := range changes {
			want, got := s.states[a][c.Version-1], map[string]string{}
			for _, f := range c.State.Fields {
				got[f.Name] = f.Value
			}
			if !maps.Equal(got, want.Fields) || c.State.Deleted != want.Deleted || c.Deletes != want.Deleted {
				s.w.t.Fatalf("%s version %d, deleted %v and %v (-want +got):\n%s", a, c.Version, want.Deleted, c.State.Deleted, cmp.Diff(want.Fields, got))
			}
		}
	}
}

// Behind a restart no state is in memory. The past is gone through a few times, and not for each aggregate or block: here 200 blocks with 500 aggregates of 20 events.
func TestPastsAreReadSideBySide(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(true))
	s := &storied{w, map[event.AggregateID][]aggregate.State{}}
	log := &watched{Store: w.store}
	w.follows = log
	w.configure("sink", map[string]string{"state": "true"})
	s.blocks(200, 500)
	_, stop := w.runner()
	w.arrived(sink)
	stop()
	s.blocks(40, 500)
	log.asked.Store(0)
	_, stop = w.runner()
	w.arrived(sink)
	stop()
	s.check(sink)
	if asked := log.asked.Load(); asked > 1000 { // each aggregate by itself: 10,000
		t.Errorf("%d messages were asked for behind a restart, of 240", asked)
	}
}

// So it is with a retry: here of 1,500 changes of 300 aggregates.
func TestRetriesShareTheirPasts(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(false))
	s := &storied{w, map[event.AggregateID][]aggregate.State{}}
	log := &watched{Store: w.store}
	w.follows = log
	w.configure("sink", map[string]string{"state": "true"})
	s.blocks(60, 300)
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if c.Version%2 == 0 {
			return plugin.Park(fmt.Errorf("even"))
		}
		return plugin.Done()
	}
	even := 0
	for _, n := range w.written {
		even += n / 2
	}
	w.runner()
	w.until("half of it is parked", func() bool { first, _ := sink.count(); return first == 3000-even && w.dead.count() == even })
	sink.mu.Lock()
	sink.outcome, sink.log, sink.newest = nil, map[event.AggregateID][]plugin.Change{}, map[event.AggregateID]event.Version{}
	sink.mu.Unlock()
	log.asked.Store(0)
	w.plugin("sink", registry.Retried, nil)
	w.until("what was parked arrives", func() bool { first, _ := sink.count(); return first == even && w.dead.count() == 0 })
	s.check(sink)
	if asked := log.asked.Load(); asked > 1500 { // each change by itself: 9,000
		t.Errorf("%d messages were asked for by a retry, of 60", asked)
	}
}

// cut is a store whose log of patients has lost its end, as when an administrator deleted its last message.
type cut struct{ eventlog.Store }

func (c cut) Open(ctx context.Context, name string) (eventlog.Log, error) {
	log, err := c.Store.Open(ctx, name)
	if err != nil || name == event.Reserved {
		return log, err
	}
	_, last, err := log.Bounds(ctx)
	return verifytest.Without(log, last), err
}

// What is read ahead does not wait for a message that does not come.
func TestALogWithoutItsEndIsDelivered(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(true))
	s := &storied{w, map[event.AggregateID][]aggregate.State{}}
	w.configure("sink", map[string]string{"state": "true"})
	s.blocks(10, 20)
	_, stop := w.runner()
	w.arrived(sink)
	stop()
	s.blocks(3, 20)
	w.follows = cut{w.store}
	_, stop = w.runner()
	w.until("all but the end arrives", func() bool { first, _ := sink.count(); return first == 12*50 })
	stop()
	s.check(sink)
}

// Behind a restart each sealed value of a state is opened by the key that it is under; those under a key that was forgotten are left out.
func TestSealedValuesOfAPast(t *testing.T) {
	sink := newTarget()
	w := newWorld(t, sink.kind(true))
	var err error
	if w.keys, err = fieldkey.New(fieldkey.Config{Site: verifytest.Site, Bucket: fieldkeytest.NewMemory(), After: func(time.Duration, func()) {}}); err != nil {
		t.Fatal(err)
	}
	a := verifytest.Aggregate("patient", "A")
	write := func(name string) (commitment event.Hash) {
		t.Helper()
		key, err := w.keys.Make(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		commitment = key.Commitment()
		value := key.Seal(fieldkey.Place{Site: verifytest.Site, Aggregate: a, Field: name}, "text of "+name, nil)
		c := w.commit("A", "came", event.Field{Name: name, Value: value, Set: true, Sealed: true})
		c.KeyCommitment = commitment[:]
		w.logs["patient"].Block(c)
		return commitment
	}
	write("alias")
	first := write("name")
	if err := w.keys.Destroy(t.Context(), a, first); err != nil {
		t.Fatal(err)
	}
	write("street")
	w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", "5")))
	w.configure("sink", map[string]string{"state": "true", "pii": "true"})
	_, stop := w.runner()
	w.arrived(sink)
	stop()
	write("town")
	_, stop = w.runner()
	w.arrived(sink)
	stop()
	last, got := sink.log[a][4], []string{}
	for _, f := range last.State.Fields {
		got = append(got, f.Name+"="+f.Value)
	}
	if diff := cmp.Diff([]string{"crp=5", "street=text of street", "town=text of town"}, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}
