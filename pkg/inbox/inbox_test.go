package inbox_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// Each aggregate's commands are decided in their order, one at a time, although many fail at first and the engine is stopped in the middle several times. A
// transaction stands in the order of each of its aggregates.
func TestOrderWithinAnAggregate(t *testing.T) {
	const aggregates, rounds = 20, 15
	var mu sync.Mutex
	stored := map[string][]string{} // aggregate: bodies, each command once
	known := map[string]bool{}
	open := map[string]bool{}
	tries := 0
	o := newOffice(t, func(_ context.Context, subject string, header nats.Header, body []byte) *problem.Problem {
		about := []string{subject}
		if !strings.HasSuffix(subject, ".crp") {
			about = strings.Fields(header.Get("X-About"))
		}
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries%3 == 0 {
			return problem.New(problem.Unavailable, "not now")
		}
		id := header.Get(streams.HeaderCommandID)
		for _, a := range about {
			if open[a] {
				t.Errorf("%s: two commands at the same time", a)
			}
			if !known[id] {
				stored[a] = append(stored[a], header.Get("X-Mark"))
			}
		}
		known[id] = true
		if tries%5 == 0 {
			return problem.New(problem.UnknownOutcome, "stored, and the answer is lost")
		}
		return nil
	}, nil)
	want := map[string][]string{}
	n := 0
	for round := range rounds {
		for i := range aggregates {
			n++
			mark := fmt.Sprint(n)
			subject, _ := streams.CommandSubject(patient(i), "crp")
			header := nats.Header{streams.HeaderToken: {"token-of-ada"}, "X-Mark": {mark}}
			if (i+round)%7 == 0 {
				second, _ := streams.CommandSubject(patient((i+3)%aggregates), "crp")
				header.Set("X-About", subject+" "+second)
				o.raw("inbox.cmd.patient", header, fmt.Sprintf(`{"commits":[{"type":"patient","id":"P %d","events":[]},{"type":"patient","id":"P %d","events":[]}]}`, i, (i+3)%aggregates))
				want[second] = append(want[second], mark)
			} else {
				o.raw(streams.InboxSubject(subject), header, "{}")
			}
			want[subject] = append(want[subject], mark)
		}
	}
	for range 4 {
		stop := o.run()
		before := len(o.attempts())
		until(t, "some more are sent", func() bool { return len(o.attempts()) > before+40 || o.waiting() == 0 })
		stop()
	}
	o.run()
	o.empty()
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if got := o.entries(); len(got) > 0 {
		t.Errorf("got %+v refused, want nothing", got)
	}
}

func (o *office) waiting() uint64 {
	n, _, err := o.letters.Waiting(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// A command keeps its sender's id; else it has one that is the same in every attempt, by every process of the site, and that nobody without its key can foresee: a
// command that somebody else sent under it would have the letter refused.
func TestCommandIDs(t *testing.T) {
	fails := atomic.Int32{}
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		if fails.Add(1) <= 4 {
			return problem.New(problem.Unavailable, "not now")
		}
		return nil
	}, nil)
	o.put(patient(1), "{}")
	o.raw("inbox.cmd.patient.B.crp", nats.Header{"eventful-command-id": {"mine"}}, "{}")
	o.run()
	o.empty()
	ids := map[string]string{}
	for _, s := range o.attempts() {
		if before, ok := ids[s.subject]; ok && before != s.command {
			t.Errorf("%s: got command id %q, then %q", s.subject, before, s.command)
		}
		ids[s.subject] = s.command
	}
	id := ids["cmd.patient.P=201.crp"]
	if len(id) != len("inbox-")+26 || strings.Contains(id, o.letters.ID()) || event.CheckCommandID(id) != nil {
		t.Errorf("got command id %q, want one that says nothing of the inbox and the letter", id)
	}
	key := [32]byte{2}
	for what, c := range map[string]struct {
		key    [32]byte
		inbox  string
		letter uint64
		same   bool
	}{
		"another process": {key, o.letters.ID(), 1, true}, "another letter": {key, o.letters.ID(), 2, false}, "another site": {[32]byte{3}, o.letters.ID(), 1, false},
		"another inbox": {key, o.letters.ID() + "0", 1, false},
	} {
		if got := inbox.CommandID(c.key, c.inbox, c.letter); (got == id) != c.same {
			t.Errorf("%s: got command id %q beside %q, want the same: %v", what, got, id, c.same)
		}
	}
	if id := ids["cmd.patient.B.crp"]; id != "" { // the sender's stands under the name that he wrote
		t.Errorf("got command id %q beside the sender's", id)
	}
}

// Two hundred aggregates of a log that does not answer wait for ever, and hold up nobody else. When it answers again they are stored.
func TestALogThatDoesNotAnswerHoldsUpNobody(t *testing.T) {
	mended := make(chan struct{})
	o := newOffice(t, func(ctx context.Context, subject string, _ nats.Header, _ []byte) *problem.Problem {
		if !strings.HasPrefix(subject, "cmd.lab.") {
			return nil
		}
		select {
		case <-mended:
			return nil
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
		return problem.New(problem.UnknownOutcome, "no answer")
	}, func(c *inbox.Config) { c.Concurrency = 32 })
	for i := range 200 {
		o.put(event.AggregateID{Type: "lab", ID: fmt.Sprint(i)}, "{}")
	}
	for i := range 300 {
		o.put(patient(i%30), "{}")
	}
	o.run()
	until(t, "all patients are stored", func() bool {
		n := 0
		for _, s := range o.attempts() {
			if strings.HasPrefix(s.subject, "cmd.patient.") {
				n++
			}
		}
		return n == 300
	})
	until(t, "the patients are acknowledged", func() bool { return o.waiting() == 200 })
	close(mended)
	o.empty()
}

// Every refusal is kept, with all that was sent but the token, before the command leaves the inbox.
func TestRefusedCommandsAreKept(t *testing.T) {
	o := newOffice(t, func(_ context.Context, _ string, _ nats.Header, body []byte) *problem.Problem {
		if bytes.Contains(body, []byte("bad")) {
			return problem.New(problem.Invalid, "the field crp is no decimal").WithHint("a number")
		}
		return nil
	}, nil)
	header := nats.Header{streams.HeaderToken: {"token-of-ada"}, "eventful-command-id": {"mine"}, "traceparent": {"00-x"}}
	o.raw("inbox.cmd.patient.A=2E.crp", header, `{"crp":"bad"}`)
	o.raw("inbox.cmd.patient", nats.Header{streams.HeaderToken: {"token-of-bob"}}, `{"commits":[{"type":"patient","id":"bad","events":[]}]}`)
	o.put(patient(1), "{}")
	o.run()
	o.empty()
	all := o.entries()
	slices.SortFunc(all, func(a, b inbox.Entry) int { return strings.Compare(a.Actor, b.Actor) })
	if len(all) != 2 || all[0].ID != "A." || all[0].Event != "crp" || all[0].Actor != "user:ada" || all[0].Command != "mine" || all[0].Problem.Code != problem.Invalid ||
		all[1].Type != "patient" || all[1].ID != "" || all[1].Actor != "user:bob" {
		t.Errorf("got %+v, want ada's command and bob's transaction", all)
	}
	l, p := o.engine.Show(t.Context(), caller("ada"), all[0].Number)
	if p != nil {
		t.Fatal(p)
	}
	if l.Body != `{"crp":"bad"}` || l.Size != 13 || l.Token != "id-of-ada" || l.Position != 1 || l.Problem.Hint != "a number" {
		t.Errorf("got %+v, want body, size, token id and hint", l)
	}
	if diff := cmp.Diff([]string{"eventful-command-id", "traceparent"}, slices.Sorted(maps.Keys(l.Header))); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if _, p := o.engine.Show(t.Context(), caller("ada"), all[1].Number); p == nil || p.Code != problem.NotFound {
		t.Errorf("ada looks at bob's: got %v, want not_found", p)
	}
	if page, p := o.engine.List(t.Context(), caller("eve"), 0, 10); p != nil || len(page.Refused) > 0 {
		t.Errorf("eve lists: got %+v, %v, want nothing", page, p)
	}
	for number := uint64(1); number <= 2; number++ {
		_, _, data, err := o.refused.Next(t.Context(), number)
		if err != nil || bytes.Contains(data, []byte("bad")) || bytes.Contains(data, []byte("ada")) || bytes.Contains(data, []byte("patient")) {
			t.Errorf("refusal %d is not sealed (%v)", number, err)
		}
	}
}

// A crash between keeping a refusal and acknowledging the command: it comes again, is refused again, and is kept once.
func TestRefusalIsKeptOnce(t *testing.T) {
	var o *office
	again := atomic.Int32{}
	o = newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		if again.Add(1) == 1 { // another delivery: the acknowledgement of this one goes nowhere
			d, err := o.letters.Deliver(context.Background())
			if err != nil {
				t.Error(err)
				return nil
			}
			d.Stop()
		}
		return problem.New(problem.Invalid, "never")
	}, nil)
	o.put(patient(1), "{}")
	o.run()
	o.empty()
	if again.Load() < 2 {
		t.Errorf("got %d attempts, want the command to come again", again.Load())
	}
	if got := o.entries(); len(got) != 1 {
		t.Errorf("got %d refusals, want one", len(got))
	}
}

// What cannot be sent at all is refused with the reason and never comes again; what is behind it goes on.
func TestGarbage(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem { return nil }, nil)
	for _, subject := range []string{
		"inbox.cmd.*", "inbox.cmd.>", "inbox.cmd.patient.*.crp", "inbox.cmd.patient.A", "inbox.cmd.patient.A.crp.more", "inbox.cmd.Patient.A.crp",
		"inbox.cmd.patient.=41.crp", "inbox.cmd.patient.=2e.crp", "inbox.cmd.patient.A.>", "inbox.cmd.patient.\x00.crp",
	} {
		o.raw(subject, nil, "{}")
	}
	for _, body := range []string{"", "{", "[]", `{"commits":[{}]}`, "\x00\xff", `{"commits":[{"type":"patient","id":"A","events":[{"event":"crp","fields":{"a":[]}}]}]}`} {
		o.raw("inbox.cmd.patient", nil, body)
	}
	o.put(patient(1), "{}")
	o.run()
	o.empty()
	got := o.entries()
	if len(got) != 16 {
		t.Errorf("got %d refusals, want 16", len(got))
	}
	for _, e := range got {
		if e.Problem.Code != problem.Malformed || e.Problem.Detail == "" || e.Actor != "" {
			t.Errorf("%q: got %+v, want malformed, and no actor", e.Subject, e.Problem)
		}
	}
	if n := len(o.attempts()); n != 1 {
		t.Errorf("got %d commands sent, want one", n)
	}
	if done, p := o.engine.Purge(t.Context(), caller("eve"), 0, ""); p != nil || done.Purged != 0 {
		t.Errorf("eve drops all: got %+v, %v, want none", done, p)
	}
	if done, p := o.engine.Purge(t.Context(), admin(), 0, ""); p != nil || done.Purged != 16 || len(o.entries()) != 0 {
		t.Errorf("drop all: got %+v, %v, want 16", done, p)
	}
}

// A fault of EventfulDB itself is tried some times and then told, not tried for ever.
func TestFaultsEnd(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Internal, "a fault")
	}, nil)
	o.put(patient(1), "{}")
	o.run()
	o.empty()
	if got := o.entries(); len(got) != 1 || got[0].Problem.Code != problem.Internal || len(o.attempts()) != 5 {
		t.Errorf("got %+v after %d attempts, want one fault after 5", got, len(o.attempts()))
	}
}

// A body that fits into the inbox and not, with its reason, into a refusal is kept in part, and cannot be retried.
func TestLargeRefusal(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.TooLarge, "too large")
	}, nil)
	large := make([]byte, 1<<20-300) // of the server's 1 MiB; it cannot be packed
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	o.raw("inbox.cmd.patient.A.crp", nats.Header{streams.HeaderToken: {"token-of-ada"}}, string(large))
	o.run()
	o.empty()
	got := o.entries()
	if len(got) != 1 {
		t.Fatalf("got %d refusals, want one", len(got))
	}
	l, p := o.engine.Show(t.Context(), caller("ada"), got[0].Number)
	if p != nil || l.Size != len(large) || len(l.Base64) < 100_000 || !bytes.HasPrefix(large, l.Base64) {
		t.Errorf("got %d of %d bytes, %v, want the beginning of the body", len(l.Base64), l.Size, p)
	}
	if _, p := o.engine.Retry(t.Context(), caller("ada"), got[0].Number); p == nil || p.Code != problem.TooLarge {
		t.Errorf("retry: got %v, want too_large", p)
	}
}

// A retried command has its first id, and the token of whoever retries it, who must be its sender.
func TestRetry(t *testing.T) {
	mended := atomic.Bool{}
	o := newOffice(t, func(_ context.Context, _ string, h nats.Header, _ []byte) *problem.Problem {
		if mended.Load() && h.Get(streams.HeaderToken) == "token-of-ada" {
			return nil
		}
		return problem.New(problem.Invalid, "never")
	}, nil)
	o.put(patient(1), `{"crp":1}`)
	o.run()
	o.empty()
	number := o.entries()[0].Number
	for _, n := range []uint64{0, number + 1} {
		if _, p := o.engine.Retry(t.Context(), caller("ada"), n); p == nil || p.Code != problem.NotFound {
			t.Errorf("retry %d: got %v, want not_found", n, p)
		}
	}
	for _, who := range []inbox.Caller{caller("eve"), admin()} {
		if _, p := o.engine.Retry(t.Context(), who, number); p == nil {
			t.Errorf("%s retries ada's command: got nil, want a refusal", who.Claims.Actor())
		}
	}
	mended.Store(true)
	r, p := o.engine.Retry(t.Context(), caller("ada"), number)
	if p != nil {
		t.Fatal(p)
	}
	o.empty()
	sent := o.attempts()
	if last := sent[len(sent)-1]; last.command != sent[0].command || r.Command != sent[0].command || last.body != `{"crp":1}` || len(o.entries()) != 0 {
		t.Errorf("got %+v, want the first command again: %+v", last, sent[0])
	}
}

// Whoever does not lead leaves the inbox alone; whoever stops leading lets go of it.
func TestOnlyTheLeaderEmptiesTheInbox(t *testing.T) {
	lead := atomic.Bool{}
	asked := atomic.Int32{}
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem { return nil }, func(c *inbox.Config) {
		c.Lead = func() bool { asked.Add(1); return lead.Load() }
	})
	o.put(patient(1), "{}")
	o.run()
	until(t, "the engine has looked twice", func() bool { return asked.Load() >= 2 })
	if n := o.waiting(); n != 1 {
		t.Errorf("got %d waiting, want the one that was sent", n)
	}
	lead.Store(true)
	o.empty()
	lead.Store(false)
	before := asked.Load()
	until(t, "the engine has looked twice more", func() bool { return asked.Load() >= before+2 })
	o.put(patient(2), "{}")
	until(t, "the engine has looked again", func() bool { return asked.Load() >= before+3 })
	if n := o.waiting(); n != 1 {
		t.Errorf("got %d waiting, want the one that was sent since", n)
	}
}

// The server goes away in the middle and comes back.
func TestServerRestart(t *testing.T) {
	var mu sync.Mutex
	stored := map[string]int{}
	o := newOffice(t, func(_ context.Context, _ string, h nats.Header, _ []byte) *problem.Problem {
		mu.Lock()
		defer mu.Unlock()
		stored[h.Get(streams.HeaderCommandID)]++
		return nil
	}, func(c *inbox.Config) { c.Concurrency = 4 })
	for i := range 200 {
		o.put(patient(i%20), "{}")
	}
	o.run()
	until(t, "some are stored", func() bool { return len(o.attempts()) > 20 })
	o.server.Stop()
	o.server.Start()
	o.empty()
	mu.Lock()
	defer mu.Unlock()
	if len(stored) != 200 {
		t.Errorf("got %d commands, want 200", len(stored))
	}
}

// refusals names the stream of refused commands.
func (o *office) refusals() (js jetstream.JetStream, name string) {
	o.t.Helper()
	js, err := jetstream.New(o.nc)
	if err != nil {
		o.t.Fatal(err)
	}
	name, _, err = streams.RefusedStream(jetlogtest.Site)
	if err != nil {
		o.t.Fatal(err)
	}
	return js, name
}

// While a refusal cannot be kept the command stays in the inbox.
func TestRefusalComesBeforeTheAcknowledgement(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "never")
	}, nil)
	js, name := o.refusals()
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	o.put(patient(1), "{}")
	o.run()
	until(t, "the command was tried three times", func() bool { return len(o.attempts()) >= 3 })
	if n := o.waiting(); n != 1 {
		t.Errorf("got %d waiting while nothing can be kept, want the command", n)
	}
	if _, err := o.server.Store().Refused(t.Context()); err != nil { // makes it anew
		t.Fatal(err)
	}
	o.empty()
	if got := o.entries(); len(got) != 1 {
		t.Errorf("got %d refusals, want one", len(got))
	}
}
