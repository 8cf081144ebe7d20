package projector_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func unavailable(err error) bool {
	return errors.Is(err, &problem.Problem{Code: problem.Unavailable})
}

// TestReadYourWrites: each position written is waited for and then seen, also in a log that did not exist when the projector started.
func TestReadYourWrites(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	p := h.start()
	<-p.Ready()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := range 100 {
		at := h.log(patient).Block(one("A", "crp", text("crp", "x")))
		if err := p.WaitFor(ctx, at[0]); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Get(ctx, of("A"), projector.When{}); err != nil || got.Version != uint64(i+1) {
			t.Fatalf("got %+v, %v, want version %d", got, err, i+1)
		}
	}
}

func TestNewLogByTick(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	p := h.start()
	h.log(patient).Block(one("A", "crp"))
	h.tick("the log is found", func() bool { return h.status(patient).Indexed == 1 })
	if _, err := p.Get(context.Background(), of("A"), projector.When{}); err != nil {
		t.Error(err)
	}
}

func TestWaitRefuses(t *testing.T) {
	h := newHarness(t)
	at := h.log(patient).Block(one("A", "crp"))[0]
	p := h.start()
	h.current()
	wrong, later, ghost := at, at, at
	wrong.Block[3] ^= 1
	later.Sequence = 7
	ghost.Log = "ghost"
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := p.WaitFor(ctx, wrong); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("another block: got %v, want not_found", err)
	}
	if err := p.WaitFor(ctx, later); !unavailable(err) || !strings.Contains(problem.From(err).Detail, "behind the end of the log, which has 1 messages") {
		t.Errorf("not written yet: got %v, want unavailable, and where the log ends", err)
	}
	if err := p.WaitFor(context.Background(), ghost); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("no such log: got %v, want not_found", err)
	}
	if err := p.WaitForLatest(context.Background(), "ghost"); err != nil {
		t.Errorf("latest of no such log: got %v, want nil", err)
	}
}

// TestNotRunning: before Run and after it every query is refused, none says "not found".
func TestNotRunning(t *testing.T) {
	h := newHarness(t)
	h.log(patient).Block(one("A", "crp"))
	p, err := projector.New(projector.Config{Store: h.store, Dir: h.dir, Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Get(context.Background(), of("A"), projector.When{}); !unavailable(err) {
		t.Errorf("before run: got %v, want unavailable", err)
	}
	p = h.start()
	h.current()
	h.stop()
	if _, err := p.Get(context.Background(), of("A"), projector.When{}); !unavailable(err) {
		t.Errorf("after run: got %v, want unavailable", err)
	}
	if err := p.WaitForLatest(context.Background(), patient); !unavailable(err) && err != nil {
		t.Errorf("after run: got %v, want nil or unavailable", err)
	}
	if err := p.Run(context.Background()); err == nil {
		t.Error("second run: got nil, want an error")
	}
}

// TestNewerFormat: the log's reader stops and says so; what was indexed before stays readable once it was complete, other logs go on.
func TestNewerFormat(t *testing.T) {
	h := newHarness(t)
	b := h.log(patient)
	b.Block(one("A", "crp"))
	p := h.start()
	ctx := h.current()
	newer := bytes.Clone(verifytest.Messages(t, h.raw[patient])[0])
	newer[3] = 7
	b.Damage(newer)
	h.tick("reader stops", func() bool { return h.status(patient).State == "stopped" })
	if s := h.status(patient); !strings.Contains(s.Error, "version 7") {
		t.Errorf("got status %+v, want it to name version 7", s)
	}
	if _, err := p.Get(ctx, of("A"), projector.When{}); err != nil {
		t.Errorf("what was indexed: %v", err)
	}
	if err := p.WaitForLatest(ctx, patient); !unavailable(err) {
		t.Errorf("wait for what will not come: got %v, want unavailable", err)
	}
	h.log("bed").Block(verifytest.Commit{Aggregate: verifytest.Aggregate("bed", "1"), Events: []verifytest.Event{{Type: "moved"}}})
	h.tick("the other log is followed", func() bool { return h.status("bed").Indexed == 1 })
	h.stop()
	p = h.start()
	<-p.Ready()
}

// flaky fails every read of a log until it is healed.
type flaky struct {
	eventlog.Store
	healed chan struct{}
}

func (f flaky) Open(ctx context.Context, name string) (eventlog.Log, error) {
	select {
	case <-f.healed:
		return f.Store.Open(ctx, name)
	default:
		return nil, eventlog.ErrUnavailable
	}
}

func TestTriedAgain(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	h.log(patient).Block(one("A", "crp"))
	healed := make(chan struct{})
	h.from = flaky{h.store, healed}
	p := h.start()
	h.tick("the failure shows", func() bool { return h.status(patient).State == "retrying" })
	if _, err := p.Get(context.Background(), of("A"), projector.When{}); !unavailable(err) {
		t.Errorf("got %v, want unavailable", err)
	}
	close(healed)
	h.tick("it is followed", func() bool { return h.status(patient).State == "following" && h.status(patient).Indexed == 1 })
	<-p.Ready()
}

func TestMetrics(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	fill(h.log(patient), 300, 10)
	registry := prometheus.NewRegistry()
	config := projector.Config{Store: h.store, Dir: h.dir, Key: key, Site: site, Metrics: registry}
	p, err := projector.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := projector.New(config); err == nil {
		t.Error("the same registry twice: got nil, want an error")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := p.WaitForLatest(ctx, ""); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := `
# HELP eventful_projector_events_total Events written to the index of a log since the program started.
# TYPE eventful_projector_events_total counter
eventful_projector_events_total{log="patient"} 300
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "eventful_projector_events_total"); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	_, err := projector.New(projector.Config{Site: "NO", Key: []byte("short"), MemoryThreshold: -1})
	for _, part := range []string{"store", "folder", "key has 5 bytes", `"NO"`, "-1"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want every fault, also %s", err, part)
		}
	}
}

// TestSystemTypes holds that the system log is followed like any other.
func TestSystemTypes(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), definition)
	p := h.start()
	ctx := h.current()
	got, err := p.Get(ctx, verifytest.Aggregate("eventful-schema", patient), projector.When{})
	if err != nil || got.Fields["log"] != patient {
		t.Errorf("got %+v, %v, want the schema of %s", got, err, patient)
	}
}
