package delivery_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// generations are the targets of a plugin that can be filled anew, and which of them readers use.
type generations struct {
	mu        sync.Mutex // guards what follows
	targets   map[uint64]*target
	published []uint64 // in the order of the calls
	tried     []uint64 // generations that a test was opened with
	refuse    int      // so many times
	atPublish func(generation uint64)
}

type oneOf struct {
	*target
	all        *generations
	generation uint64
}

func (g *generations) kind() *plugin.Kind {
	k := newTarget().kind(false)
	k.Rebuilds = true
	k.Open = func(_ context.Context, s plugin.Settings) (plugin.Plugin, error) {
		if s.Trial {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.tried = append(g.tried, s.Generation)
			return newTarget(), nil
		}
		return oneOf{g.of(s.Generation), g, s.Generation}, nil
	}
	return k
}

func (g *generations) of(n uint64) *target {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.targets == nil {
		g.targets = map[uint64]*target{}
	}
	if g.targets[n] == nil {
		g.targets[n] = newTarget()
	}
	return g.targets[n]
}

func (o oneOf) Publish(context.Context) error {
	o.all.mu.Lock()
	defer o.all.mu.Unlock()
	if o.all.refuse > 0 {
		o.all.refuse--
		return errors.New("not now")
	}
	if o.all.atPublish != nil {
		o.all.atPublish(o.generation)
	}
	o.all.published = append(o.all.published, o.generation)
	return nil
}

func (g *generations) last() (n uint64, times int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, p := range g.published {
		if i == len(g.published)-1 {
			n = p
		}
	}
	return n, len(g.published)
}

var rebuild = registry.Replay{Rebuild: true}.Fields()

// A new generation is filled from the start beside the one that readers use, which goes on; it takes over when it has everything, and the one before gets nothing more.
func TestRebuild(t *testing.T) {
	t.Parallel()
	g := &generations{refuse: 1}
	w := newWorld(t, g.kind())
	w.configure("sink", map[string]string{"partitions": "3"})
	w.write(300, 20)
	_, stop := w.runner()
	w.arrived(g.of(0))
	slow := make(chan struct{})
	g.of(1).outcome = func(c *plugin.Change) plugin.Outcome {
		select {
		case <-slow:
			return plugin.Done()
		default:
			return plugin.Retry(errBusy)
		}
	}
	g.atPublish = func(n uint64) {
		if first, _ := g.targets[n].count(); first < 400 { // mu is held
			t.Errorf("generation %d was published with %d changes of 400", n, first)
		}
	}
	w.plugin("sink", registry.Replayed, rebuild)
	w.write(100, 20)
	w.arrived(g.of(0)) // the one that readers use goes on
	d := w.desk()
	standing := func() delivery.Standing {
		t.Helper()
		s, err := d.Standing(t.Context(), w.registered("sink"), []string{"patient"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := standing(); !s.Rebuilding || s.Generation != 1 {
		t.Errorf("got %+v, want a rebuild", s)
	}
	if _, times := g.last(); times != 0 {
		t.Error("a generation was published that has nothing")
	}
	close(slow)
	w.until("the generation takes over", func() bool { n, _ := g.last(); return n == 1 && !standing().Rebuilding })
	_, before := g.of(0).count()
	w.write(100, 20)
	w.arrived(g.of(1))
	if _, now := g.of(0).count(); now != before {
		t.Errorf("the former generation got %d changes behind the takeover", now-before)
	}
	stop()
	_, stop = w.runner()
	w.write(10, 20)
	w.arrived(g.of(1))
	stop()
	if _, times := g.last(); times != 1 {
		t.Errorf("published %d times", times)
	}
}

// Runners come and go, answers are lost, partitions change and one rebuild follows another: the newest generation ends up with everything, in order.
func TestRebuildsUnderChange(t *testing.T) {
	t.Parallel()
	g := &generations{}
	w := newWorld(t, g.kind())
	lost := 0
	w.bucket.lose = func() bool { lost++; return lost%5 == 0 }
	w.configure("sink", map[string]string{"partitions": "2"})
	w.write(200, 20)
	for i, partitions := range []int{2, 3, 1} {
		_, stop := w.runner()
		w.plugin("sink", registry.Replayed, rebuild)
		w.write(50, 20)
		w.configure("sink", map[string]string{"partitions": strconv.Itoa(partitions)})
		w.until("something is delivered to it", func() bool { first, _ := g.of(uint64(i + 1)).count(); return first > 0 })
		if i == 1 {
			w.until("it takes over", func() bool { n, _ := g.last(); return n == 2 })
		}
		stop()
	}
	_, stop := w.runner()
	w.until("the last one takes over", func() bool { n, _ := g.last(); return n == 3 })
	w.write(50, 20)
	w.arrived(g.of(3))
	stop()
}

// parksSecond refuses each aggregate's second version for good.
func parksSecond(c *plugin.Change) plugin.Outcome {
	if c.Version == 2 {
		return plugin.Park(errors.New("no"))
	}
	return plugin.Done()
}

// What a generation had parked is no matter of the next one, which gets the change itself; when that takes over it is dropped.
func TestRebuildDropsWhatWasParked(t *testing.T) {
	t.Parallel()
	g := &generations{}
	g.of(0).outcome = parksSecond
	w := newWorld(t, g.kind())
	w.configure("sink", map[string]string{"on-error": "block"})
	w.write(30, 3)
	_, stop := w.runner()
	w.until("changes are parked", func() bool { return w.dead.count() > 3 })
	w.plugin("sink", registry.Replayed, rebuild)
	w.arrived(g.of(1))
	w.until("they are dropped", func() bool { return w.dead.count() == 0 })
	stop()
}

// What cannot be read any more is named and has a way out: a parked change is purged, a checkpoint goes with its plugin, or with the layout that a rebuild leaves.
func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	g := &generations{}
	g.of(0).outcome = parksSecond
	w := newWorld(t, g.kind())
	w.configure("sink", map[string]string{"partitions": "2"})
	w.write(30, 3)
	_, stop := w.runner()
	w.until("changes are parked", func() bool { return w.dead.count() == 3 })
	stop()
	w.dead.entries[1].data = []byte("what is this")
	broken := delivery.CheckpointKey("sink", 0, 1)
	w.bucket.values[broken][20] ^= 1
	d := w.desk()
	standing, err := d.Standing(t.Context(), w.registered("sink"), []string{"patient"})
	if err != nil || standing.State != "stopped" || !strings.Contains(standing.Error, "cannot be read") || !strings.Contains(standing.Error, "plugin:remove") {
		t.Errorf("got %+v, %v, want that it is stopped, and what helps", standing, err)
	}
	var numbers []uint64
	_, err = d.Parked(t.Context(), "sink", 1, func(n uint64, one delivery.Parked) bool {
		if strings.Contains(one.Cause, "purged") {
			numbers = append(numbers, n)
		}
		return true
	})
	if err != nil || len(numbers) != 1 {
		t.Fatalf("got %v, %v, want one that cannot be read", numbers, err)
	}
	if n, err := d.Purge(t.Context(), "sink", numbers[0]); err != nil || n != 1 {
		t.Errorf("purge: got %d, %v", n, err)
	}
	if open, err := d.Open(t.Context(), w.registered("sink")); err != nil || len(open) != 0 {
		t.Errorf("got %v, %v, want that nothing holds up disabling it", open, err)
	}
	w.plugin("sink", registry.Replayed, rebuild)
	_, stop = w.runner()
	w.until("a new generation takes over", func() bool { n, _ := g.last(); return n == 1 })
	w.plugin("sink", registry.Disabled, nil)
	w.plugin("sink", registry.Removed, nil)
	w.configure("sink", map[string]string{"partitions": "2"})
	w.write(20, 3)
	w.arrived(g.of(1))
	stop()
}

// data:forget reaches targets as a change of its own, behind those before it, in the partition of the aggregate; also a target that parks it, and in a replay.
func TestForgettingReachesTargets(t *testing.T) {
	t.Parallel()
	sink, refuse := newTarget(), true
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if c.Forgotten && refuse {
			return plugin.Park(errors.New("not yet"))
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "3", "state": "true"})
	a := verifytest.Aggregate("patient", "A")
	record := verifytest.Commit{Aggregate: verifytest.Aggregate(schema.SystemForgotten, schema.ForgottenID(a)), Events: []verifytest.Event{{
		Type: "data-forgotten", Fields: []event.Field{verifytest.Text("commitment", event.Hash{7}.String()), verifytest.Text("id", "A"), verifytest.Text("type", "patient")},
	}}}
	w.logs["patient"].Block(w.commit("A", "came", verifytest.Text("crp", "1")), record, w.commit("B", "came"))
	_, stop := w.runner()
	w.arrived(sink)
	w.until("it is parked", func() bool { return w.dead.count() == 1 })
	sink.mu.Lock()
	refuse = false
	sink.mu.Unlock()
	w.plugin("sink", registry.Retried, nil)
	came := func() int { sink.mu.Lock(); defer sink.mu.Unlock(); return len(sink.forgets) }
	w.until("it comes", func() bool { return came() == 1 && w.dead.count() == 0 })
	w.plugin("sink", registry.Replayed, registry.Replay{Scope: a.String()}.Fields())
	w.until("and again", func() bool { return came() == 2 })
	stop()
	for i, c := range sink.forgets {
		if c.Aggregate != a || c.Version != 0 || c.State != nil || len(c.Fields) != 1 || c.Fields[0] != (event.Field{Name: "name"}) || c.EventType != "eventful-forgotten" || !c.Again {
			t.Errorf("%d: got %+v", i, c)
		}
	}
}

// A test is of the generation that changes go to, and is told to be one.
func TestATestIsOfTheNewestGeneration(t *testing.T) {
	t.Parallel()
	g := &generations{}
	w := newWorld(t, g.kind())
	w.configure("sink", nil)
	w.write(10, 2)
	e, stop := w.runner()
	w.arrived(g.of(0))
	w.plugin("sink", registry.Replayed, rebuild)
	w.until("it is published", func() bool { n, _ := g.last(); return n == 1 })
	if err := e.Try(t.Context(), "sink"); err != nil {
		t.Fatal(err)
	}
	if len(g.tried) != 1 || g.tried[0] != 1 {
		t.Errorf("got %v, want generation 1 tried once", g.tried)
	}
	stop()
}

// A target is told whether changes went to it before, which they did not if all are about to come again; for such a replay it is opened anew.
func TestATargetIsToldWhatWentThere(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []bool // of each opening
	sink := newTarget()
	k := sink.kind(false)
	k.Open = func(_ context.Context, s plugin.Settings) (plugin.Plugin, error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, s.Begun)
		return sink, nil
	}
	w := newWorld(t, k)
	w.configure("sink", nil)
	w.write(10, 2)
	e, stop := w.runner()
	w.arrived(sink)
	opened := func(times int, begun bool) {
		t.Helper()
		w.until("it is opened", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= times })
		mu.Lock()
		defer mu.Unlock()
		if len(told) != times || told[times-1] != begun {
			t.Errorf("got %v, want %d openings, the last one %t", told, times, begun)
		}
	}
	opened(1, false)
	w.until("its checkpoint says so", func() bool { c := w.checkpoints("sink"); return len(c[0].Logs) > 0 })
	try := func() {
		t.Helper()
		if err := e.Try(t.Context(), "sink"); err != nil {
			t.Error(err)
		}
	}
	try()
	opened(2, true)
	w.plugin("sink", registry.Replayed, registry.Replay{}.Fields())
	opened(3, false)
	w.until("it is replayed", func() bool { _, total := sink.count(); return total == 20 })
	stop()
	w.plugin("sink", registry.Replayed, registry.Replay{Scope: "patient"}.Fields())
	_, stop = w.runner()
	w.until("it is replayed again", func() bool { _, total := sink.count(); return total == 30 })
	stop()
}
