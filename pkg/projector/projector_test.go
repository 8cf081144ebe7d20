package projector_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	site    = "test-site"
	patient = "patient"
)

var key = []byte("0123456789abcdef0123456789abcdef")

// harness is a store of logs, builders for them, and a projector that can be stopped and started again.
type harness struct {
	t     testing.TB
	store *eventlog.Memory
	from  eventlog.Store // what the projector reads: store, unless a test puts something between
	dir   string
	ticks chan time.Time
	limit int
	room  func() error
	logs  map[string]*verifytest.Builder
	raw   map[string]eventlog.Log
	p     *projector.Projector
	end   func()
	keys  *fieldkey.Keys
	snaps *snapshot.Snapshots
	idle  time.Duration
	now   func() time.Time
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	store := eventlog.NewMemory()
	h := &harness{t: t, store: store, from: store, dir: t.TempDir(), ticks: make(chan time.Time), limit: 1000,
		logs: map[string]*verifytest.Builder{}, raw: map[string]eventlog.Log{}}
	t.Cleanup(h.stop)
	return h
}

// verifyAtEnd runs verify on every log when the test is over.
func (h *harness) verifyAtEnd() {
	h.t.Cleanup(func() {
		for name, log := range h.raw {
			report, err := verify.All(context.Background(), log, nil)
			if err != nil || !report.OK() {
				h.t.Errorf("verify log %s: got %+v, %v, want no failure", name, report.Failures(), err)
			}
		}
	})
}

// log gives the builder of a log, which is made if it does not exist.
func (h *harness) log(name string) *verifytest.Builder {
	h.t.Helper()
	if b, ok := h.logs[name]; ok {
		return b
	}
	log, err := h.store.Create(context.Background(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	h.raw[name] = log
	h.logs[name] = verifytest.New(h.t, log)
	return h.logs[name]
}

func (h *harness) start() *projector.Projector {
	h.t.Helper()
	p, err := projector.New(projector.Config{Store: h.from, Dir: h.dir, Key: key, Site: site, MemoryThreshold: h.limit, Ticks: h.ticks, Room: h.room, Keys: h.keys, Snapshots: h.snaps, IdleFor: func(string) time.Duration { return h.idle }, Now: h.now})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	h.p, h.end = p, func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("run: got %v, want nil", err)
		}
	}
	return p
}

func (h *harness) stop() {
	if h.end != nil {
		h.end()
		h.end = nil
	}
}

// current waits until every log is indexed.
func (h *harness) current() context.Context {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	h.t.Cleanup(cancel)
	if err := h.p.WaitForLatest(ctx, ""); err != nil {
		h.t.Fatal(err)
	}
	return ctx
}

// tick lets the projector look at its logs until cond holds.
func (h *harness) tick(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !cond() {
		select {
		case h.ticks <- time.Time{}:
		case <-deadline.C:
			h.t.Fatalf("%s: did not happen in 20 s; status %+v", what, h.p.Status())
		}
	}
}

// digest is that of a log's index; the projector must not run.
func (h *harness) digest(log string) [32]byte {
	h.t.Helper()
	return digestOf(h.t, h.dir+"/"+log, h.raw[log])
}

func digestOf(t testing.TB, dir string, log eventlog.Log) [32]byte {
	t.Helper()
	digest, err := projector.IndexDigest(dir, key, site, log)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func (h *harness) status(log string) projector.LogStatus {
	for _, s := range h.p.Status() {
		if s.Log == log {
			return s
		}
	}
	return projector.LogStatus{}
}

func of(id string) event.AggregateID { return event.AggregateID{Type: patient, ID: id} }

// one is a commit with one event.
func one(id, eventType string, fields ...event.Field) verifytest.Commit {
	return verifytest.Commit{Aggregate: of(id), Events: []verifytest.Event{{Type: eventType, Fields: fields}}}
}

func text(name, value string) event.Field { return verifytest.Text(name, value) }

// fill writes blocks of 100 commits with one event each.
func fill(b *verifytest.Builder, events, aggregates int) {
	fillWith(b, events, aggregates, "a value of middling length, as they come")
}

// large is a value of which a few thousand are more than an index keeps in memory.
var large = strings.Repeat("a value of some length ", 180)

func fillWith(b *verifytest.Builder, events, aggregates int, note string) {
	for n := 0; n < events; n += 100 {
		commits := make([]verifytest.Commit, 100)
		for i := range commits {
			commits[i] = one(fmt.Sprintf("P%06d", (n+i)%aggregates), "crp", text("crp", "21.0"), text("group", "A"), text("note", note))
		}
		b.Block(commits...)
	}
}

// processor is the processor time of this process so far: on a machine with other work it says more than the clock.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkFollow indexes a log from its start, the store's writing and merging included.
func BenchmarkFollow(b *testing.B) {
	const events = 100_000
	h := newHarness(b)
	fill(h.log(patient), events, 7_000)
	b.ReportAllocs()
	began := processor(b)
	for b.Loop() {
		h.dir = b.TempDir()
		h.start()
		h.current()
		b.StopTimer()
		h.stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(processor(b)-began)/float64(b.N)/events, "cpu-ns/event")
}
