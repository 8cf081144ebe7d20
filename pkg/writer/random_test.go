package writer_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// torture reports whether the long forms of tests are wanted.
func torture() bool { return os.Getenv("EVENTFUL_TORTURE") == "1" }

// seed is what a random test begins with: that of EVENTFUL_SEED, or a new one; it is printed.
func seed(t testing.TB) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(os.Getenv("EVENTFUL_SEED"), 10, 64)
	if err != nil || n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("EVENTFUL_SEED=%d repeats this run", n)
	return n
}

// Random commands, faults, restarts and lost states, against a plain map.
func TestTheWriterIsAPlainMap(t *testing.T) {
	t.Parallel()
	checks, steps := "6", "40"
	if torture() {
		checks, steps = "150", "60"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": steps, "rapid.seed": fmt.Sprint(seed(t)), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		w := newRandomWalk(t, r)
		r.Repeat(map[string]func(*rapid.T){
			"a few commands":         w.few,
			"a few more":             w.few,
			"many commands":          w.many,
			"many more":              w.many,
			"many again":             w.many,
			"many, cut by a restart": w.cut,
			"a fault":                w.fault,
			"another fault":          w.fault,
			"delayed appends come":   w.release,
			"a restart, state lost":  w.lose,
		})
		w.compare()
		w.restartWithout("eventful", "patient", "visit")
		w.compare()
	})
}

// randomTB lets the helpers of a site fail one random run, and clean up behind it.
type randomTB struct {
	testing.TB
	r *rapid.T
}

func (t randomTB) Helper()                   { t.r.Helper() }
func (t randomTB) Fatal(a ...any)            { t.r.Fatal(a...) }
func (t randomTB) Fatalf(f string, a ...any) { t.r.Fatalf(f, a...) }
func (t randomTB) Error(a ...any)            { t.r.Error(a...) }
func (t randomTB) Errorf(f string, a ...any) { t.r.Errorf(f, a...) }
func (t randomTB) Failed() bool              { return t.r.Failed() }
func (t randomTB) Cleanup(f func())          { t.r.Cleanup(f) }
func (t randomTB) TempDir() string {
	dir, err := os.MkdirTemp("", "eventful-model-")
	if err != nil {
		t.r.Fatal(err)
	}
	t.r.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// randomWalk is one random run: a site and the model of it.
type randomWalk struct {
	tb      randomTB
	memory  *eventlog.Memory
	site    *site
	model   *model
	rich    string   // has units enough in every log, so that commands keep their order
	tokens  []string // the rich one and some with few units
	history []writer.Request
	faulty  bool     // a fault was armed since the last answer
	steps   []string // what was done, for whoever reads a failure
	n       int
}

func (w *randomWalk) note(format string, a ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, a...))
}

// fail ends the run with all that was done.
func (w *randomWalk) fail(format string, a ...any) {
	w.tb.Helper()
	w.tb.Fatalf("%s\nbehind these steps:\n%s", fmt.Sprintf(format, a...), strings.Join(w.steps, "\n"))
}

func (w *randomWalk) text(req writer.Request) string {
	_, content := modelKey(req)
	_, content, _ = strings.Cut(content, "\n")
	dry := ""
	if req.Command.DryRun {
		dry = " dry"
	}
	return fmt.Sprintf("%s%s, token %d: %s", req.Command.ID, dry, slices.Index(w.tokens, req.Token), strings.ReplaceAll(strings.TrimSpace(content), "\n", "; "))
}

func told(o outcome) string {
	if o.problem != nil {
		return "-> " + o.problem.Error()
	}
	return fmt.Sprintf("-> repeated %v, %+v", o.answer.Repeated, o.answer.Commits)
}

func newRandomWalk(t *testing.T, r *rapid.T) *randomWalk {
	w := &randomWalk{tb: randomTB{t, r}, memory: eventlog.NewMemory(), model: newModel()}
	w.site = newSite(w.tb, w.memory)
	for _, definition := range modelSchemas {
		w.site.migrate(definition)
	}
	w.rich = w.site.token(1 << 40)
	w.model.left[w.rich] = 1 << 40
	w.tokens = []string{w.rich, w.rich}
	for range 2 {
		limit := rapid.Uint64Range(0, 9).Draw(r, "limit")
		jwt := w.site.token(limit)
		w.model.left[jwt], w.tokens = limit, append(w.tokens, jwt)
	}
	for _, id := range []event.AggregateID{{Type: "patient", ID: "p0"}, {Type: "visit", ID: "v0"}} {
		w.settle(writer.Request{Token: w.rich, Command: aggregate.Command{ID: "warm", Changes: []aggregate.Change{{Aggregate: id, Events: []aggregate.NewEvent{someEvent(id.Type)}}}}})
	}
	return w
}

func someEvent(typ string) aggregate.NewEvent {
	if typ == "visit" {
		return aggregate.NewEvent{Type: "made"}
	}
	return aggregate.NewEvent{Type: "crp", Fields: []event.Field{{Name: "crp", Value: "1", Set: true}}}
}

// few sends commands one after the other, each until it is decided.
func (w *randomWalk) few(r *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(r, "commands") {
		w.settle(w.command(r, w.tokens))
	}
}

// settle sends a command, again while the log is being recovered, and holds the answer against the model.
func (w *randomWalk) settle(req writer.Request) {
	for deadline := time.Now().Add(patience); ; {
		o := w.site.do(copied(req))
		if w.took(req, o) {
			return
		}
		if time.Now().After(deadline) {
			w.fail("command %s was not decided within %s: %v", req.Command.ID, patience, o.problem)
		}
	}
}

// took holds one answer against the model; false: nothing was stored, and it may be sent again.
func (w *randomWalk) took(req writer.Request, o outcome) bool {
	want := w.model.decide(req)
	w.note("%s %s", w.text(req), told(o))
	switch {
	case o.problem != nil && o.problem.Code == problem.Unavailable:
		if !w.faulty {
			w.fail("command %s: got %v without a fault", req.Command.ID, o.problem)
		}
		return false
	case o.problem != nil:
		if !slices.Contains(want.codes, o.problem.Code) {
			w.fail("command %s: got %v, want %+v", req.Command.ID, o.problem, want)
		}
		return true
	}
	w.compareAnswer(req, want, o.answer)
	if !want.repeated && !req.Command.DryRun {
		w.model.apply(req, want.first)
	}
	return true
}

func (w *randomWalk) compareAnswer(req writer.Request, want verdict, got *writer.Answer) {
	var first []event.Version
	for _, c := range got.Commits {
		first = append(first, c.FirstVersion)
	}
	if len(want.codes) > 0 || got.Repeated != want.repeated || !slices.Equal(first, want.first) || !want.repeated && got.DryRun != req.Command.DryRun {
		w.fail("command %s: got %+v, want %+v", req.Command.ID, got, want)
	}
}

// many sends commands of one token without waiting; with their blocks held back several of them share a block, and fall together.
func (w *randomWalk) many(r *rapid.T) {
	requests, waits := w.burst(r)
	for i, wait := range waits {
		if o := w.site.wait(wait); !w.took(requests[i], o) {
			w.note("%s fell", requests[i].Command.ID)
		}
	}
	for _, req := range requests {
		w.settle(req)
	}
}

// copied is a request of its own with the same content: the writer keeps notes in the events that it is given.
func copied(req writer.Request) writer.Request {
	req.Command.Changes = slices.Clone(req.Command.Changes)
	for i := range req.Command.Changes {
		req.Command.Changes[i].Events = slices.Clone(req.Command.Changes[i].Events)
	}
	return req
}

func (w *randomWalk) burst(r *rapid.T) (requests []writer.Request, waits []<-chan outcome) {
	content := map[string]string{}
	for range rapid.IntRange(2, 12).Draw(r, "commands") {
		req := w.command(r, []string{w.rich})
		key, text := modelKey(req)
		if other, there := content[key]; there && other != text {
			continue // which of the two comes first is nobody's promise
		}
		content[key] = text
		requests = append(requests, req)
	}
	release := func() {}
	if rapid.Bool().Draw(r, "held back") {
		release = w.memory.Hold("patient")
	}
	for _, req := range requests {
		waits = append(waits, w.site.send(copied(req)))
	}
	release()
	return requests, waits
}

// cut stops the writer while commands are under way. What nobody was told about is found in the log or not.
func (w *randomWalk) cut(r *rapid.T) {
	w.faulty = true
	requests, waits := w.burst(r)
	w.site.restart()
	for i, wait := range waits {
		req, o := requests[i], w.site.wait(wait)
		if o.problem == nil || o.problem.Code != problem.UnknownOutcome {
			w.took(req, o)
			continue
		}
		w.note("%s unknown", req.Command.ID)
		if want := w.model.decide(req); w.found(req) && !want.repeated {
			w.model.apply(req, want.first)
		}
	}
	for _, req := range requests {
		w.settle(req)
	}
}

// found reports whether this very command is in its log.
func (w *randomWalk) found(req writer.Request) bool {
	claims, err := w.site.w.Authenticate(req.Token)
	if err != nil {
		w.tb.Fatal(err)
	}
	log := modelLogs[req.Command.Changes[0].Aggregate.Type]
	return slices.ContainsFunc(w.site.commits(log), func(c *event.Commit) bool {
		return c.CommandID == req.Command.ID && c.CommandDigest == req.Command.Digest(claims.Actor())
	})
}

// fault makes one of the next appends fail.
func (w *randomWalk) fault(r *rapid.T) {
	log := rapid.SampledFrom([]string{"patient", "patient", "patient", "visit", "eventful"}).Draw(r, "log")
	fault := rapid.SampledFrom([]eventlog.Fault{eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay}).Draw(r, "fault")
	skip, times := rapid.IntRange(0, 2).Draw(r, "skip"), rapid.IntRange(1, 3).Draw(r, "times")
	w.faulty = true
	w.note("fault %s in %s behind %d, %d times", fault, log, skip, times)
	w.memory.SetFault(func(name string, _ uint64, _ []byte) eventlog.Fault {
		if name != log {
			return eventlog.None
		}
		if skip--; skip >= 0 {
			return eventlog.None
		}
		if times--; times >= 0 {
			return fault
		}
		return eventlog.None
	})
}

func (w *randomWalk) release(*rapid.T) {
	for _, log := range []string{"patient", "visit", "eventful"} {
		w.note("%d delayed appends stored in %s", w.memory.Release(log), log)
	}
}

func (w *randomWalk) lose(r *rapid.T) {
	w.restartWithout(rapid.SampledFrom([]string{"patient", "visit", "eventful"}).Draw(r, "lost"))
}

func (w *randomWalk) restartWithout(logs ...string) {
	w.note("restart without the state of %v", logs)
	if err := w.site.stop(); err != nil {
		w.tb.Fatal(err)
	}
	for _, log := range logs {
		if err := os.RemoveAll(w.site.stateDir(log)); err != nil {
			w.tb.Fatal(err)
		}
	}
	w.site.start()
}

// command draws a command: most are right, some are repeats, wrong, or about what is not there.
func (w *randomWalk) command(r *rapid.T, tokens []string) writer.Request {
	if len(w.history) > 0 && rapid.IntRange(0, 5).Draw(r, "repeat") == 0 {
		req := w.history[rapid.IntRange(0, len(w.history)-1).Draw(r, "of")]
		if rapid.IntRange(0, 3).Draw(r, "by another") == 0 {
			req.Token = tokens[rapid.IntRange(0, len(tokens)-1).Draw(r, "token")]
		}
		if slices.Contains(tokens, req.Token) {
			return req
		}
	}
	w.n++
	req := writer.Request{Token: tokens[rapid.IntRange(0, len(tokens)-1).Draw(r, "token")], Command: aggregate.Command{ID: fmt.Sprint("m", w.n)}}
	if len(w.history) > 0 && rapid.IntRange(0, 14).Draw(r, "id again") == 0 {
		req.Command.ID = w.history[rapid.IntRange(0, len(w.history)-1).Draw(r, "id of")].Command.ID
	}
	req.Command.DryRun = rapid.IntRange(0, 9).Draw(r, "dry run") == 0
	from := rapid.SampledFrom([][]string{inPatient, inPatient, inPatient, inVisit, anywhere}).Draw(r, "log")
	ids := rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(r, "most"), rapid.ID).Draw(r, "aggregates")
	for _, id := range ids {
		req.Command.Changes = append(req.Command.Changes, w.change(r, id))
	}
	w.history = append(w.history, req)
	return req
}

// Where commands go: to aggregates of one log, or also to what does not fit together or does not exist.
var (
	inPatient = []string{"patient/p0", "patient/p1", "patient/p2", "ward/w0", "user/u0", "user/u1", "user/u2"}
	inVisit   = []string{"visit/v0", "visit/v1", "visit/v2"}
	anywhere  = []string{"patient/p0", "visit/v0", "nobody/n", "eventful-key/k", "patient/"}
)

func (w *randomWalk) change(r *rapid.T, id string) aggregate.Change {
	typ, name, _ := strings.Cut(id, "/")
	c := aggregate.Change{Aggregate: event.AggregateID{Type: typ, ID: name}}
	n := uint64(len(w.model.history[c.Aggregate]))
	c.Expected = rapid.SampledFrom([]aggregate.Expected{
		aggregate.Any, aggregate.Any, aggregate.Any, aggregate.Exactly(event.Version(n)), aggregate.Exactly(event.Version(n)),
		aggregate.None, aggregate.Exists, aggregate.Exactly(event.Version(n + 1)), aggregate.Exactly(0),
	}).Draw(r, "expected")
	events := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 2, 3, 3}).Draw(r, "events")
	if rapid.IntRange(0, 29).Draw(r, "nothing") == 0 {
		events = 0
	}
	for range events {
		c.Events = append(c.Events, drawEvent(r, typ))
	}
	return c
}

func drawEvent(r *rapid.T, typ string) aggregate.NewEvent {
	field := func(name string, values ...string) []event.Field {
		value := rapid.SampledFrom(values).Draw(r, name)
		return []event.Field{{Name: name, Value: strings.TrimPrefix(value, "-"), Set: value != "-"}}
	}
	switch typ {
	case "patient":
		return rapid.SampledFrom([]aggregate.NewEvent{
			{Type: "crp", Fields: field("crp", "1", "1.10", "2", "3", "x")}, {Type: "crp", Fields: field("crp", "3", "-")}, {Type: "crp"}, {Type: "crp"},
			{Type: "registered", Fields: field("name", "Ada", "Bo", "Cy", "a name that is far too long")}, {Type: "died"},
			rapid.SampledFrom([]aggregate.NewEvent{{Type: "unheard-of"}, {Type: "registered"}, {Type: "died"}, {Type: "crp"}}).Draw(r, "rarely"),
		}).Draw(r, "event")
	case "ward":
		return aggregate.NewEvent{Type: "opened"}
	case "user":
		return rapid.SampledFrom([]aggregate.NewEvent{
			{Type: "registered", Fields: field("email", "a@x", "b@x", "c@x", "-")}, {Type: "registered", Fields: field("email", "a@x", "b@x")}, {Type: "left"},
		}).Draw(r, "event")
	}
	return aggregate.NewEvent{Type: "made", Fields: field("note", "n", "m")}
}

// compare holds everything against the model: histories, heads, holders of unique values, units.
func (w *randomWalk) compare() {
	w.memory.SetFault(nil)
	if d := cmp.Diff(w.model.history, w.site.histories("patient", "visit")); d != "" {
		w.fail("the logs differ from the model, -want +got:\n%s", d)
	}
	for a, history := range w.model.history {
		w.dry(w.rich, aggregate.Change{Aggregate: a, Expected: aggregate.Exactly(event.Version(len(history))), Events: []aggregate.NewEvent{plainEvent(a.Type)}})
	}
	for _, email := range []string{"a@x", "b@x", "c@x"} {
		w.dry(w.rich, user("probe", email))
	}
	for _, jwt := range w.tokens[2:] {
		for _, n := range []uint64{w.model.left[jwt], w.model.left[jwt] + 1} {
			for _, a := range []event.AggregateID{{Type: "patient", ID: "p0"}, {Type: "visit", ID: "v0"}} {
				if n > 0 {
					w.dry(jwt, aggregate.Change{Aggregate: a, Events: slices.Repeat([]aggregate.NewEvent{plainEvent(a.Type)}, int(n))})
				}
			}
		}
	}
}

func plainEvent(typ string) aggregate.NewEvent {
	return aggregate.NewEvent{Type: map[string]string{"patient": "crp", "ward": "opened", "user": "registered", "visit": "made"}[typ]}
}

func (w *randomWalk) dry(jwt string, c aggregate.Change) {
	w.n++
	w.settle(writer.Request{Token: jwt, Command: aggregate.Command{ID: fmt.Sprint("dry", w.n), DryRun: true, Changes: []aggregate.Change{c}}})
}
