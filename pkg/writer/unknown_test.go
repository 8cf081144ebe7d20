package writer_test

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const patientSubject = "evt.here.patient"

// wire is a site whose log connection goes through a proxy, with two blocks on their way: that of the command "first", and that of "second".
type wire struct {
	*site
	proxy   *jetlogtest.Proxy
	direct  eventlog.Store // past the proxy
	jwt     string
	waits   map[string]<-chan outcome
	answers map[string]outcome
}

func newWire(t *testing.T) *wire {
	t.Helper()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	proxy := server.Proxy()
	nc, err := jetlog.Connect(proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	options := jetlog.Options{AckTimeout: 300 * time.Millisecond, RequestTimeout: 200 * time.Millisecond}
	store, err := jetlog.New(nc, "here", options)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := jetlog.New(server.Conn(), "here", jetlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{site: newSite(t, store), proxy: proxy, direct: direct, waits: map[string]<-chan outcome{}, answers: map[string]outcome{}}
	w.site.store = direct
	w.jwt = w.token(1000)
	w.must(crp(w.jwt, "", "A", "0"))
	w.must(crp(w.jwt, "", "B", "0"))
	return w
}

func (w *wire) put(name string, r writer.Request) { w.waits[name] = w.send(r) }

// first sends a command, and others that rest on it.
func (w *wire) first() {
	w.put("first", crp(w.jwt, "first", "A", "1"))
	w.put("its repeat", crp(w.jwt, "first", "A", "1"))
	w.put("its conflict", expect(crp(w.jwt, "conflict", "A", "9"), "1"))
	dry := crp(w.jwt, "dry", "A", "9")
	dry.Command.DryRun = true
	w.put("its dry run", dry)
	w.put("its reuse", crp(w.jwt, "first", "A", "7"))
}

func (w *wire) second() { w.put("second", crp(w.jwt, "second", "B", "1")) }

// end is the last sequence of the log, asked past the proxy.
func (w *wire) end() uint64 {
	w.t.Helper()
	_, last := ended(w.t, w.direct, "patient")
	return last
}

func (w *wire) until(what string, reached func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !reached(); runtime.Gosched() {
		if time.Now().After(deadline) {
			w.t.Fatalf("got no sign in %s that %s", patience, what)
		}
	}
}

// doubting waits until the writer has given up an append of the log.
func (w *wire) doubting() {
	w.t.Helper()
	w.until("an append was given up", func() bool {
		for _, l := range w.w.Status() {
			if l.Log == "patient" {
				return !l.Serving
			}
		}
		return false
	})
}

// settled waits for all answers.
func (w *wire) settled() {
	w.t.Helper()
	for name, wait := range w.waits {
		w.answers[name] = w.wait(wait)
		delete(w.waits, name)
	}
}

func within(t *testing.T, held <-chan struct{}) {
	t.Helper()
	select {
	case <-held:
	case <-time.After(patience):
		t.Fatal("the publish did not come")
	}
}

// What becomes of blocks whose outcome the writer cannot know, over a real connection. want says which of the two commands are stored.
func TestUnknownOutcomesOverTheWire(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run           func(t *testing.T, w *wire)
		first, second bool
	}{
		"late, before the fence": {func(t *testing.T, w *wire) {
			held := w.proxy.HoldPublish(patientSubject, 1)
			w.first()
			within(t, held)
			w.second()
			w.doubting()
			w.proxy.Release() // the fence waits behind it on the same connection
			w.settled()
		}, true, true},
		"late, behind the fence": {func(t *testing.T, w *wire) {
			held := w.proxy.HoldPublish(patientSubject, 1)
			w.first()
			within(t, held)
			w.second()
			w.proxy.Strand()
			w.settled() // by the fence, over a new connection
			w.proxy.Release()
			w.proxy.AwaitStranded()
		}, false, false},
		"timed out, then late behind the fence": {func(t *testing.T, w *wire) {
			held := w.proxy.HoldPublish(patientSubject, 1)
			w.first()
			within(t, held)
			w.doubting()
			w.proxy.Strand()
			w.second() // refused: the log is being recovered
			w.settled()
			w.proxy.Release()
			w.proxy.AwaitStranded()
		}, false, false},
		"never delivered": {func(t *testing.T, w *wire) {
			held := w.proxy.HoldPublish(patientSubject, 1)
			w.first()
			within(t, held)
			w.second()
			w.proxy.Cut()
			w.settled()
		}, false, false},
		"the answer lost": {func(t *testing.T, w *wire) {
			last := w.end()
			w.proxy.HoldAnswers()
			w.first()
			w.until("the block is stored", func() bool { return w.end() > last })
			w.proxy.Cut()
			w.settled()
			waitServing(t, w.site)
			w.second()
			w.settled()
		}, true, true},
		"the answer late": {func(t *testing.T, w *wire) {
			w.proxy.HoldAnswers()
			w.first()
			w.doubting()
			w.proxy.Release()
			w.settled()
			waitServing(t, w.site)
			w.second()
			w.settled()
		}, true, true},
		"cut between two blocks": {func(t *testing.T, w *wire) {
			w.betweenTwo(t)
			w.proxy.Cut()
			w.settled()
		}, true, false},
		"cut between two blocks, the second late behind the fence": {func(t *testing.T, w *wire) {
			w.betweenTwo(t)
			w.proxy.Strand()
			w.settled()
			w.proxy.Release()
			w.proxy.AwaitStranded()
		}, true, false},
		"cut between two blocks, the second late before the fence": {func(t *testing.T, w *wire) {
			w.betweenTwo(t)
			w.proxy.Strand()
			w.proxy.Release() // the writer waits a moment before it connects again
			w.proxy.AwaitStranded()
			w.settled()
		}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			test.run(t, w)
			w.told(test.first, test.second)
			w.again()
		})
	}
}

// betweenTwo has the first block stored without the writer being told, and the second held back behind it.
func (w *wire) betweenTwo(t *testing.T) {
	last := w.end()
	held := w.proxy.HoldPublish(patientSubject, 2)
	w.proxy.HoldAnswers()
	w.first()
	w.until("the first block is stored", func() bool { return w.end() > last })
	w.second()
	within(t, held)
}

// told holds the answers against what is stored: acknowledged is stored, refused as unavailable is not, and what rests on a block is told only if it is there.
func (w *wire) told(first, second bool) {
	w.t.Helper()
	stored := w.stored("patient")
	for id, want := range map[string]bool{"first": first, "second": second} {
		if got := stored[id]; got > 1 || (got == 1) != want {
			w.t.Errorf("command %s is stored %d times, want stored %v", id, got, want)
		}
		o := w.answers[id]
		switch {
		case o.problem == nil && !want:
			w.t.Errorf("command %s was acknowledged and is not stored", id)
		case o.problem != nil && (want || o.problem.Code != problem.Unavailable):
			w.t.Errorf("command %s: got %v, want stored %v", id, o.problem, want)
		}
	}
	for name, code := range map[string]problem.Code{"its repeat": "", "its conflict": problem.Conflict, "its reuse": problem.CommandIDReused, "its dry run": ""} {
		o := w.answers[name]
		switch {
		case o.problem != nil && o.problem.Code == problem.Unavailable: // says nothing
		case !first:
			w.t.Errorf("%s: got %+v, %v, which tells of a command that is not stored", name, o.answer, o.problem)
		case code == "" && o.problem != nil, code != "" && (o.problem == nil || o.problem.Code != code):
			w.t.Errorf("%s: got %+v, %v, want %q", name, o.answer, o.problem, code)
		case code == problem.Conflict && o.problem.Actual != "2":
			w.t.Errorf("%s: got the actual version %s, want 2", name, o.problem.Actual)
		}
	}
	if o := w.answers["its dry run"]; o.problem == nil && o.answer.Commits[0].FirstVersion != 3 {
		w.t.Errorf("got a dry run at version %d, want 3", o.answer.Commits[0].FirstVersion)
	}
	if stored["conflict"]+stored["dry"] > 0 {
		w.t.Error("a refused command or a dry run was stored")
	}
}

// again sends both commands until they are taken: each is stored once then, and both aggregates go on without a gap.
func (w *wire) again() {
	w.t.Helper()
	for id, aggregateID := range map[string]string{"first": "A", "second": "B"} {
		w.untilStored(w.jwt, id, aggregateID, "1")
		w.must(expect(crp(w.jwt, "", aggregateID, "2"), strconv.Itoa(2)))
	}
	for id, n := range w.stored("patient") {
		if n != 1 {
			w.t.Errorf("command %s is stored %d times, want once", id, n)
		}
	}
	for _, id := range []string{"A", "B"} {
		a := event.AggregateID{Type: "patient", ID: id}
		if n := len(w.histories("patient")[a]); n != 3 {
			w.t.Errorf("got %d events of %s, want 3", n, a)
		}
	}
}
