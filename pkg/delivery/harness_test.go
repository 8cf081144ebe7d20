package delivery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// target is what a plugin delivers to: it notes every change, and asserts the order of each aggregate itself.
type target struct {
	mu     sync.Mutex // guards what follows
	newest map[event.AggregateID]event.Version
	log    map[event.AggregateID][]plugin.Change // first deliveries
	total  int                                   // deliveries, repeated ones too
	again  int                                   // of these: said to be repeats
	busy   map[event.AggregateID]bool
	wrong  []string
	opened int
	shut   error // why the target cannot be opened; nil: it can

	deliveries map[event.AggregateID]int
	outcome    func(c *plugin.Change) plugin.Outcome // nil: done
	forgets    []plugin.Change                       // that came
}

// tries is how often it was to be opened.
func (s *target) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

func newTarget() *target {
	return &target{newest: map[event.AggregateID]event.Version{}, log: map[event.AggregateID][]plugin.Change{}, busy: map[event.AggregateID]bool{}, deliveries: map[event.AggregateID]int{}}
}

func (t *target) kind(ordered bool) *plugin.Kind {
	return &plugin.Kind{Name: "sink", Summary: "notes changes", Ordered: ordered,
		Options: []plugin.Option{{Name: "password", Help: "a secret", Secret: true}},
		Open: func(context.Context, plugin.Settings) (plugin.Plugin, error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.opened++; t.shut != nil {
				return nil, t.shut
			}
			return t, nil
		}}
}

func (t *target) Test(context.Context) error { return nil }
func (t *target) Close() error               { return nil }

func (t *target) Deliver(_ context.Context, b plugin.Batch) []plugin.Outcome {
	t.begin(b)
	out := make([]plugin.Outcome, len(b.Changes))
	held := map[event.AggregateID]bool{}
	for i := range b.Changes {
		c := &b.Changes[i]
		out[i] = plugin.Outcome{}
		if !held[c.Aggregate] {
			out[i] = t.one(c)
		}
		held[c.Aggregate] = held[c.Aggregate] || out[i].Status != plugin.StatusDone
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range b.Changes {
		delete(t.busy, b.Changes[i].Aggregate)
	}
	return out
}

func (t *target) begin(b plugin.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range b.Changes {
		if t.busy[b.Changes[i].Aggregate] && (i == 0 || b.Changes[i-1].Aggregate != b.Changes[i].Aggregate) {
			t.wrong = append(t.wrong, fmt.Sprintf("%s is in two calls at the same time", b.Changes[i].Aggregate))
		}
	}
	for i := range b.Changes {
		t.busy[b.Changes[i].Aggregate] = true
	}
}

func (t *target) one(c *plugin.Change) plugin.Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcome != nil {
		if o := t.outcome(c); o.Status != plugin.StatusDone {
			return o
		}
	}
	if c.Forgotten {
		t.forgets = append(t.forgets, *c)
		return plugin.Done()
	}
	t.total++
	t.deliveries[c.Aggregate]++
	if c.Again {
		t.again++
	}
	if newest := t.newest[c.Aggregate]; c.Version > newest {
		t.newest[c.Aggregate] = c.Version
		t.log[c.Aggregate] = append(t.log[c.Aggregate], *c)
	}
	return plugin.Done()
}

// versions are those of an aggregate, in the order of their first deliveries.
func (t *target) versions(a event.AggregateID) (all []event.Version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.log[a] {
		all = append(all, t.log[a][i].Version)
	}
	return all
}

func (t *target) count() (first, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.log {
		first += len(l)
	}
	return first, t.total
}

// world is a site with logs, a system log, and what runners share.
type world struct {
	t       *testing.T
	store   *eventlog.Memory
	logs    map[string]*verifytest.Builder
	raw     map[string]eventlog.Log
	bucket  *bucket
	dead    *dead
	table   *lease.Memory
	secrets delivery.Secrets
	kinds   []*plugin.Kind
	keys    *fieldkey.Keys
	members int
	written map[event.AggregateID]int
	plugins map[string]*registry.Plugin
	digest  event.Hash
	follows eventlog.Store // what runners read, if not store
	ahead   time.Duration  // the clock of the runners that are started
}

const patientSchema = `{"aggregate":"patient","log":"patient","fields":{"name":{"pii":true}},"events":{"came":{"fields":["crp","name"]},"left":{"deletes":true}}}`

func newWorld(t *testing.T, kinds ...*plugin.Kind) *world {
	t.Helper()
	w := &world{t: t, store: eventlog.NewMemory(), logs: map[string]*verifytest.Builder{}, raw: map[string]eventlog.Log{}, bucket: newBucket(), dead: &dead{},
		table: lease.NewMemory(), kinds: kinds, written: map[event.AggregateID]int{}, plugins: map[string]*registry.Plugin{}}
	w.secrets.Options[0], w.secrets.Parked[0] = 1, 2
	for _, name := range []string{event.Reserved, "patient"} {
		log, err := w.store.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		w.raw[name], w.logs[name] = log, verifytest.New(t, log)
	}
	w.digest = schema.Digest([]byte(patientSchema))
	w.act(schema.SystemSchema, "patient", "schema-migrated", map[string]string{"definition": patientSchema, "digest": w.digest.String(), "version": "1", "log": "patient"})
	t.Cleanup(func() {
		for name, log := range w.raw {
			if report, err := verify.All(context.Background(), log, nil); err != nil || !report.OK() {
				t.Errorf("verify log %s: %v, %+v", name, err, report.Failures())
			}
		}
	})
	return w
}

// act appends an event of the system log.
func (w *world) act(aggregateType, id, eventType string, values map[string]string) {
	w.t.Helper()
	e := verifytest.Event{Type: eventType}
	for name, value := range values {
		if value != "" {
			e.Fields = append(e.Fields, verifytest.Text(name, value))
		}
	}
	w.logs[event.Reserved].Block(verifytest.Commit{Aggregate: verifytest.Aggregate(aggregateType, id), Events: []verifytest.Event{e}})
}

func (w *world) plugin(name, eventType string, values map[string]string) {
	var err error
	if w.plugins[name], err = registry.Apply(w.plugins[name], name, eventType, values); err != nil {
		w.t.Fatal(err)
	}
	w.act(schema.SystemPlugin, name, eventType, values)
}

// configure makes a plugin of the kind sink and enables it.
func (w *world) configure(name string, options map[string]string) {
	w.t.Helper()
	d := &delivery.Desk{Site: "here", Kinds: w.kinds, Secrets: w.secrets}
	compiled, err := schema.Compile(definition(w.t), 1)
	if err != nil {
		w.t.Fatal(err)
	}
	p, partitions, err := d.Examine(registry.Plugin{Name: name, Kind: "sink"}, options, nil, []*schema.Schema{compiled})
	if err != nil {
		w.t.Fatal(err)
	}
	text, _ := json.Marshal(p.Options)
	w.plugin(name, registry.Configured, map[string]string{"kind": "sink", "options": string(text), "secrets": string(p.Secrets), "partitions": strconv.Itoa(partitions)})
	w.plugin(name, registry.Enabled, nil)
}

func definition(t *testing.T) schema.Definition {
	all, err := schema.Parse([]byte(patientSchema))
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// write appends blocks with n events of patients 0..aggregates-1, at random.
func (w *world) write(n, aggregates int) {
	for n > 0 {
		var commits []verifytest.Commit
		for range min(n, 50) {
			commits = append(commits, w.commit(fmt.Sprint(rand.N(aggregates)), "came", verifytest.Text("crp", fmt.Sprint(n))))
		}
		w.logs["patient"].Block(commits...)
		n -= len(commits)
	}
}

func (w *world) commit(id, eventType string, fields ...event.Field) verifytest.Commit {
	a := verifytest.Aggregate("patient", id)
	w.written[a]++
	return verifytest.Commit{Aggregate: a, Events: []verifytest.Event{{Type: eventType, Fields: fields, SchemaDigest: w.digest, SchemaVersion: 1}}}
}

// runner starts a plugin-runner; stop ends it in order.
func (w *world) runner() (e *delivery.Engine, stop func()) {
	w.t.Helper()
	w.members++
	if w.follows == nil {
		w.follows = w.store
	}
	ahead := w.ahead
	e, err := delivery.New(delivery.Config{
		Site: "here", Store: w.follows, Now: func() time.Time { return time.Now().Add(ahead) }, Kinds: w.kinds, Secrets: w.secrets, Keys: w.keys,
		Checkpoints: func(context.Context) (delivery.Bucket, error) { return w.bucket, nil },
		Dead:        func(context.Context) (delivery.Dead, error) { return w.dead, nil },
		Lease: lease.Config{Table: w.table, TTL: 600 * time.Millisecond, Grace: -1, Settle: 100 * time.Millisecond, Pace: 20 * time.Millisecond,
			Member: lease.Member{ID: fmt.Sprint("m", w.members), Name: "test", Host: "test", PID: w.members}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return e, stop
}

// until polls.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("%s: did not happen in %s; checkpoints %v", what, patience, w.checkpoints("sink"))
		}
	}
}

// checkpoints are all of a plugin.
func (w *world) checkpoints(string) (all []delivery.Checkpoint) {
	w.bucket.mu.Lock()
	values := maps.Clone(w.bucket.values)
	w.bucket.mu.Unlock()
	for key, value := range values {
		if key == delivery.TakeoverKey("sink") {
			continue
		}
		c, err := delivery.DecodeCheckpoint(w.secrets, key, value)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// arrived waits until every event is in the target, and checks that each aggregate has all its versions in order.
func (w *world) arrived(t *target) {
	w.t.Helper()
	all := 0
	for _, n := range w.written {
		all += n
	}
	w.until("everything arrives", func() bool { first, _ := t.count(); return first >= all })
	for a, n := range w.written {
		versions := t.versions(a)
		if len(versions) != n {
			w.t.Errorf("%s: got %d versions, want %d", a, len(versions), n)
		}
		for i, v := range versions {
			if v != event.Version(i+1) {
				w.t.Errorf("%s: got version %d at place %d", a, v, i)
				break
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, text := range t.wrong {
		w.t.Error(text)
	}
}

// desk looks after the plugins of the world.
func (w *world) desk() *delivery.Desk {
	return &delivery.Desk{Site: "here", Store: w.store, Kinds: w.kinds, Secrets: w.secrets, Now: time.Now,
		Checkpoints: func(context.Context) (delivery.Bucket, error) { return w.bucket, nil },
		Dead:        func(context.Context) (delivery.Dead, error) { return w.dead, nil }}
}

// registered is a plugin as the acts so far say.
func (w *world) registered(name string) *registry.Plugin { return w.plugins[name] }
