package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

var patient = event.AggregateID{Type: "patient", ID: "../A 1"}

func TestCommandCarriesEverything(t *testing.T) {
	s := newSite(t)
	got := make(chan *nats.Msg, 1)
	want := client.Answer{Command: "c-1", Time: time.Unix(1, 5).UTC(), Commits: []client.Committed{
		{Type: "patient", ID: patient.ID, FirstVersion: 4, Version: 4, Position: "patient/8/0/ab", Hashes: []string{"aa"}, Root: "bb"}}}
	s.answer("cmd.>", func(m *nats.Msg) { got <- m; respond(t, m, want) })
	token := s.token()
	c := s.connect(nil)
	answer, err := c.Command(t.Context(), client.Command{
		Aggregate: patient, Event: "crp", Fields: client.Fields{"crp": json.Number("1.10"), "note": nil, "ok": true},
		Expected: client.Exactly(3), OccurredAt: time.Date(2014, 10, 22, 11, 27, 0, 1, time.UTC),
		Context: client.Context{CommandID: "c-1", CorrelationID: "corr é", CausationID: "caus", Traceparent: "00-ab", Token: token},
	})
	check(t, err)
	if diff := cmp.Diff(&want, answer); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	m := <-got
	if m.Subject != "cmd.patient.=2E=2E=2FA=201.crp" {
		t.Errorf("got subject %s", m.Subject)
	}
	if body := string(m.Data); body != `{"crp":1.10,"note":null,"ok":true}` {
		t.Errorf("got body %s", body)
	}
	header := nats.Header{
		"Eventful-Token": {token}, "Eventful-Command-Id": {"c-1"}, "Eventful-Expected-Version": {"3"},
		"Eventful-Occurred-At": {"2014-10-22T11:27:00.000000001Z"}, "Eventful-Correlation-Id": {"corr é"},
		"Eventful-Causation-Id": {"caus"}, "traceparent": {"00-ab"},
	}
	if diff := cmp.Diff(header, m.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestTransaction(t *testing.T) {
	s := newSite(t)
	got := make(chan string, 1)
	s.answer("cmd.patient", func(m *nats.Msg) { got <- string(m.Data); respond(t, m, client.Answer{}) })
	_, err := s.connect(nil).Transact(t.Context(), client.Transaction{Commits: []client.Commit{
		{Aggregate: patient, Expected: client.None, Events: []client.Event{{Type: "crp", Fields: client.Fields{"crp": "21"}}, {Type: "leucocytes"}}},
	}})
	check(t, err)
	want := `{"commits":[{"type":"patient","id":"../A 1","expected-version":"none","events":[{"event":"crp","fields":{"crp":"21"}},{"event":"leucocytes"}]}]}`
	if g := <-got; g != want {
		t.Errorf("got %s, want %s", g, want)
	}
}

func TestRefusalsAreTyped(t *testing.T) {
	s := newSite(t)
	conflict := problem.New(problem.Conflict, "patient/A is at 4").WithHint("read it again")
	conflict.Expected, conflict.Actual, conflict.Between = "3", "4", []problem.Between{{Version: 4, Event: "crp", Actor: "org:b", Hash: "aa"}}
	s.answer("cmd.>", func(m *nats.Msg) { refuse(t, m, conflict) })
	_, err := s.connect(nil).Command(t.Context(), client.Command{Aggregate: patient, Event: "crp"})
	if !errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrInvalid) {
		t.Errorf("got %v, want a conflict", err)
	}
	var p *problem.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %T, want a problem", err)
	}
	if diff := cmp.Diff(conflict, p); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
}

func TestRepeatsKeepTheCommandID(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	var ids []string
	s.answer("cmd.>", func(m *nats.Msg) {
		mu.Lock()
		ids = append(ids, m.Header.Get("Eventful-Command-Id"))
		n := len(ids)
		mu.Unlock()
		switch n {
		case 1:
			refuse(t, m, problem.New(problem.Unavailable, "no leader"))
		case 2:
			refuse(t, m, problem.New(problem.UnknownOutcome, "the flush did not answer"))
		case 3: // silence
		default:
			respond(t, m, client.Answer{Command: ids[0], Repeated: true})
		}
	})
	c := s.connect(func(o *client.Options) { o.Patience = 50 * time.Millisecond })
	answer, err := c.Command(t.Context(), client.Command{Aggregate: patient, Event: "crp"})
	check(t, err)
	if len(ids) != 4 || ids[0] == "" || ids[0] != ids[1] || ids[0] != ids[2] || ids[0] != ids[3] || !answer.Repeated {
		t.Errorf("got ids %q, answer %+v; want one id four times", ids, answer)
	}
}

func TestSilenceIsUnknownForCommandsOnly(t *testing.T) {
	s := newSite(t)
	s.answer("cmd.>", func(*nats.Msg) {})
	s.answer("qry.>", func(*nats.Msg) {})
	c := s.connect(func(o *client.Options) { o.Patience = 20 * time.Millisecond })
	ctx := within(t, 300*time.Millisecond)
	_, err := c.Command(ctx, client.Command{Aggregate: patient, Event: "crp", Context: client.Context{CommandID: "mine"}})
	if !errors.Is(err, client.ErrUnknownOutcome) || !strings.Contains(err.Error(), "mine") {
		t.Errorf("got %v, want unknown outcome of command mine", err)
	}
	_, err = c.Command(within(t, 100*time.Millisecond), client.Command{Aggregate: patient, Event: "crp", Context: client.Context{DryRun: true}})
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a dry run: got %v, want unavailable", err)
	}
	_, err = c.Get(within(t, 100*time.Millisecond), patient)
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a query: got %v, want unavailable", err)
	}
}

// TestASlowQueryIsNotRepeated: while the server works on it, which it gives up by itself. Whoever is told why he has to wait hears that in the end, and not that there was no answer.
func TestASlowQueryIsNotRepeated(t *testing.T) {
	s := newSite(t)
	var slow, waits atomic.Int32
	s.answer("qry.patient.list", func(m *nats.Msg) {
		slow.Add(1)
		time.AfterFunc(150*time.Millisecond, func() { respond(t, m, client.Page{Cursor: "x"}) })
	})
	s.answer("qry.patient.*.get", func(m *nats.Msg) {
		if waits.Add(1) == 1 {
			refuse(t, m, problem.New(problem.Unavailable, "the index stands at 1"))
		}
	})
	c := s.connect(func(o *client.Options) { o.Patience = 30 * time.Millisecond })
	page, err := c.ListPage(within(t, 5*time.Second), "patient", client.Filter("age > 1"))
	if err != nil || page.Cursor != "x" || slow.Load() != 1 {
		t.Errorf("got %+v, %v after %d requests, want the answer to one", page, err, slow.Load())
	}
	c = s.connect(nil)
	if _, err := c.Get(within(t, 300*time.Millisecond), patient); err == nil || !strings.Contains(err.Error(), "the index stands at 1") {
		t.Errorf("got %v, want why it had to wait", err)
	}
	if _, err := c.ListPage(t.Context(), "patient", client.Filter("name = \"\xff\"")); !errors.Is(err, client.ErrMalformed) {
		t.Errorf("got %v, want a filter that is no UTF-8 refused", err)
	}
}

func TestLaterRefusalDoesNotHideAnUnknownOutcome(t *testing.T) {
	s := newSite(t)
	var n atomic.Int32
	s.answer("cmd.>", func(m *nats.Msg) {
		if n.Add(1) == 1 {
			refuse(t, m, problem.New(problem.UnknownOutcome, "lost"))
			return
		}
		refuse(t, m, problem.New(problem.Unauthenticated, "expired"))
	})
	_, err := s.connect(nil).Command(t.Context(), client.Command{Aggregate: patient, Event: "crp"})
	if !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("got %v, want unknown outcome", err)
	}
}

// Whoever was asked first is gone without a word, as a writer that was killed: the act is asked for again, and ends long before its token does.
func TestActsThatTakeLongAreAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var n atomic.Int32
	s.answer("adm.schema.migrate", func(m *nats.Msg) {
		if n.Add(1) > 1 {
			respondMore(t, m, struct{}{})
			respond(t, m, map[string]any{"migrations": []client.Migration{{Type: "patient"}}})
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	if done, err := s.connect(nil).SchemaMigrate(ctx, "", false); err != nil || len(done) != 1 {
		t.Errorf("got %v, %v, want the answer to the repeat", done, err)
	}
}

func TestCancelledContextEndsTheCall(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.answer("cmd.>", func(*nats.Msg) { cancel() })
	_, err := s.connect(nil).Command(ctx, client.Command{Aggregate: patient, Event: "crp"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("got %v, want a cancelled command of unknown outcome", err)
	}
}

func TestForbiddenSubjectIsRefusedAtOnce(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	_, err := s.connect(nil).Command(t.Context(), client.Command{Aggregate: event.AggregateID{Type: "invoice", ID: "*"}, Event: "paid"})
	if !errors.Is(err, client.ErrForbidden) {
		t.Errorf("got %v, want forbidden", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s: silence was waited for", took)
	}
}

func TestForeignTokenCannotConnect(t *testing.T) {
	here, there := newSite(t), newSite(t)
	for name, token := range map[string]string{"foreign": there.token(), "no JWT": "abc", "no key": "a.e30.c"} {
		_, err := client.Connect(t.Context(), client.Options{URL: here.server.ClientURL(), Token: client.Static(token)})
		if !errors.Is(err, client.ErrUnauthenticated) {
			t.Errorf("%s: got %v, want unauthenticated", name, err)
		}
	}
}

func TestExpiredTokensAreNotSent(t *testing.T) {
	s := newSite(t)
	got := make(chan struct{}, 8)
	s.answer("cmd.>", func(m *nats.Msg) { got <- struct{}{}; respond(t, m, client.Answer{}) })
	for _, ago := range []time.Duration{0, time.Second, time.Hour} { // the server itself accepts one that expires in this very second
		expired := s.tokenUntil(time.Now().Add(-ago))
		_, err := client.Connect(t.Context(), client.Options{URL: s.server.ClientURL(), Token: client.Static(expired)})
		if !errors.Is(err, client.ErrUnauthenticated) || !strings.Contains(err.Error(), "expired at") {
			t.Errorf("connect, expired %s ago: got %v, want unauthenticated", ago, err)
		}
		_, err = s.connect(nil).Command(t.Context(), client.Command{Aggregate: patient, Event: "crp", Context: client.Context{Token: expired}})
		if !errors.Is(err, client.ErrUnauthenticated) {
			t.Errorf("command, expired %s ago: got %v, want unauthenticated", ago, err)
		}
	}
	if len(got) > 0 {
		t.Errorf("%d commands with an expired token were sent", len(got))
	}
}

func TestATokenThatExpiresInUse(t *testing.T) {
	s := newSite(t)
	s.answer("qry.>", func(*nats.Msg) {}) // no answer: the request is open when the token ends
	token := s.tokenUntil(time.Now().Add(2 * time.Second))
	c := s.connect(func(o *client.Options) { o.Token = client.Static(token) })
	if _, err := c.Get(t.Context(), patient); !errors.Is(err, client.ErrUnauthenticated) {
		t.Errorf("got %v, want unauthenticated", err)
	}
}

func TestNobodyThere(t *testing.T) {
	s := newSite(t)
	_, err := client.Connect(t.Context(), client.Options{URL: "nats://127.0.0.1:1", Token: client.Static(s.token())})
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("connect: got %v, want unavailable", err)
	}
	_, err = s.connect(nil).Get(within(t, 100*time.Millisecond), patient)
	var p *problem.Problem
	if !errors.As(err, &p) || p.Code != problem.Unavailable || p.Hint == "" {
		t.Errorf("no engine: got %v, want unavailable with a hint", err)
	}
}

func TestConnectionLostInFlight(t *testing.T) {
	s := newSite(t)
	asked := make(chan string, 8)
	s.answer("cmd.>", func(m *nats.Msg) { asked <- m.Header.Get("Eventful-Command-Id") })
	c := s.connect(nil)
	ended := make(chan error, 1)
	c.CommandAsync(t.Context(), client.Command{Aggregate: patient, Event: "crp"}, func(_ *client.Answer, err error) { ended <- err })
	first := <-asked
	s.restart()
	s.answer("cmd.>", func(m *nats.Msg) {
		asked <- m.Header.Get("Eventful-Command-Id")
		respond(t, m, client.Answer{})
	})
	check(t, <-ended)
	if again := <-asked; again != first {
		t.Errorf("the repeat has the command id %s, want %s", again, first)
	}
}

func TestTokenOfAnotherUserOpensAnotherConnection(t *testing.T) {
	s := newSite(t)
	var token atomic.Value
	token.Store(s.token())
	c := s.connect(func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return token.Load().(string), nil }
	})
	seen := make(chan string, 2)
	s.answer("qry.>", func(m *nats.Msg) { seen <- m.Reply; respond(t, m, client.State{}) })
	for range 2 {
		_, err := c.Get(t.Context(), patient)
		check(t, err)
		token.Store(s.token())
	}
	if a, b := <-seen, <-seen; strings.Split(a, ".")[1] == strings.Split(b, ".")[1] {
		t.Errorf("both requests used the inbox of one user: %s", a)
	}
}

func TestClosedClient(t *testing.T) {
	s := newSite(t)
	c := s.connect(nil)
	s.answer("qry.>", func(*nats.Msg) { c.Close() })
	_, err := c.Get(t.Context(), patient)
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestThousandsInFlightCostNoGoroutines(t *testing.T) {
	s := newSite(t)
	const n = 2000
	var held []*nats.Msg // on a slow machine some are repeated meanwhile
	seen := map[string]bool{}
	all, released := make(chan struct{}), make(chan struct{})
	s.answer("cmd.>", func(m *nats.Msg) {
		held, seen[m.Header.Get("Eventful-Command-Id")] = append(held, m), true
		if len(seen) < n {
			return
		}
		select {
		case <-all:
		default:
			close(all)
			<-released
		}
		for _, m := range held {
			respond(t, m, client.Answer{Command: m.Header.Get("Eventful-Command-Id")})
		}
		held = nil
	})
	c := s.connect(nil)
	before := runtime.NumGoroutine()
	done := make(chan string, n)
	for i := range n {
		cmd := client.Command{Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}, Event: "crp"}
		c.CommandAsync(t.Context(), cmd, func(a *client.Answer, err error) {
			if err != nil {
				t.Errorf("command %d: %v", i, err)
				a = &client.Answer{}
			}
			done <- a.Command
		})
	}
	<-all
	if more := runtime.NumGoroutine() - before; more > 50 {
		t.Errorf("%d commands in flight cost %d goroutines", n, more)
	}
	close(released)
	ids := map[string]bool{}
	for range n {
		ids[<-done] = true
	}
	if len(ids) != n {
		t.Errorf("got %d different answers, want %d", len(ids), n)
	}
}

func TestBadInputNeverLeaves(t *testing.T) {
	s := newSite(t)
	s.answer(">", func(m *nats.Msg) {
		if !strings.HasPrefix(m.Subject, "_INBOX") {
			t.Errorf("%s was sent", m.Subject)
		}
	})
	c := s.connect(nil)
	bad := map[string]client.Command{
		"type":        {Aggregate: event.AggregateID{Type: "a.*", ID: "x"}, Event: "crp"},
		"id":          {Aggregate: event.AggregateID{Type: "patient", ID: "a\x00"}, Event: "crp"},
		"event":       {Aggregate: patient, Event: ">"},
		"command id":  {Aggregate: patient, Event: "crp", Context: client.Context{CommandID: "a\r\nPUB x"}},
		"correlation": {Aggregate: patient, Event: "crp", Context: client.Context{CorrelationID: "a\r\nNats-X: y"}},
		"field":       {Aggregate: patient, Event: "crp", Fields: client.Fields{"crp": "\xff"}},
		"value":       {Aggregate: patient, Event: "crp", Fields: client.Fields{"crp": make(chan int)}},
	}
	for name, cmd := range bad {
		if _, err := c.Command(t.Context(), cmd); !errors.Is(err, client.ErrMalformed) {
			t.Errorf("%s: got %v, want malformed", name, err)
		}
	}
	big := client.Command{Aggregate: patient, Event: "crp", Fields: client.Fields{"crp": strings.Repeat("x", 3<<20)}}
	if _, err := c.Command(t.Context(), big); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("3 MiB: got %v, want too large", err)
	}
}
