package e2e_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// TestInboxUnderKills puts commands into the durable inbox while the server is killed again and again. Each is stored exactly once, those of an aggregate in the
// order in which they were put in; each that the schema refuses is listed once with its reason.
func TestInboxUnderKills(t *testing.T) {
	t.Parallel()
	commands, kills := 1_000, 3
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		commands, kills = 10_000, 10
	}
	s := newSite(t)
	post := s.post(commands)
	defer post.stop()
	for n := range kills {
		until(t, "some more commands are in the inbox", func() bool { return post.accepted.Load() >= int64((n+1)*commands/(kills+1)) })
		was := s.kill()
		s.again(was)
	}
	until(t, "all commands are in the inbox", func() bool { return post.accepted.Load() == int64(commands) })
	post.stop()
	c := s.client()
	s.inboxIsEmpty(c)
	for id, want := range post.good {
		var got []string
		for e, err := range c.History(context.Background(), event.AggregateID{Type: "ward", ID: id}, client.Latest(), client.PageSize(1000)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Command)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ward/%s (-want +got):\n%.2000s", id, diff)
		}
	}
	refused := map[string]bool{}
	for _, r := range s.refusedCommands(c) {
		if r.Problem.Code != problem.Invalid || r.Actor != "user:ada" {
			t.Errorf("got %+v refused, want what the schema does not allow", r)
		}
		refused[r.Command] = true
	}
	if diff := cmp.Diff(post.bad, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%.2000s", diff)
	}
}

// post is many senders at once, each with aggregates of its own.
type post struct {
	accepted atomic.Int64
	stop     func()

	mu   sync.Mutex // guards what follows until stop
	good map[string][]string
	bad  map[string]bool
}

// post sends that many commands; every twentieth is one that the schema refuses. A sender sends its next command when the inbox has the one before.
func (s *site) post(commands int) *post {
	s.t.Helper()
	const senders = 10
	ctx, cancel := context.WithCancel(context.Background())
	p := &post{good: map[string][]string{}, bad: map[string]bool{}}
	var wait sync.WaitGroup
	p.stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	for sender := range senders {
		c := s.client()
		wait.Go(func() {
			for i := range commands / senders {
				cmd := client.Command{Aggregate: event.AggregateID{Type: "ward", ID: fmt.Sprint(sender, "-", i%3)}, Event: "note", Context: client.Context{CommandID: fmt.Sprint(sender, "/", i)}}
				bad := i%20 == 7
				if cmd.Fields = (client.Fields{"text": cmd.CommandID}); bad {
					cmd.Fields = client.Fields{"nothing": "x"}
				}
				for ctx.Err() == nil {
					if _, err := c.Enqueue(ctx, cmd); err == nil {
						break
					}
				}
				p.mu.Lock()
				if bad {
					p.bad[cmd.CommandID] = true
				} else {
					p.good[cmd.Aggregate.ID] = append(p.good[cmd.Aggregate.ID], cmd.CommandID)
				}
				p.mu.Unlock()
				p.accepted.Add(1)
			}
		})
	}
	return p
}

func (s *site) inboxIsEmpty(c *client.Client) {
	s.t.Helper()
	until(s.t, "the inbox is empty", func() bool {
		status, err := c.InboxStatus(context.Background())
		return err == nil && status.Waiting == 0
	})
}

func (s *site) refusedCommands(c *client.Client) (all []client.Refused) {
	s.t.Helper()
	for after := uint64(0); ; {
		page, cursor, err := c.RefusedPage(context.Background(), after, 100)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, page...)
		if after = cursor; after == 0 {
			return all
		}
	}
}

// TestBadLetters puts into the inbox what no command is: wrong tokens, subjects, headers, bodies, sizes. Each is refused with its reason and gone; the
// good command behind them is stored, and nothing else.
func TestBadLetters(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	c := g.client
	k := dialSocket(t, g.info().NATS, g.mint(token.Claims{Limit: 10}))
	good := []header{{"Eventful-Token", g.token}}
	type letter struct {
		subject string
		headers []header
		body    string
		want    problem.Code
	}
	letters := []letter{
		{"inbox.cmd.patient.A.note", nil, "{}", problem.Unauthenticated},
		{"inbox.cmd.patient.A.note", []header{{"Eventful-Token", "eyJ0eXAi.e30.x"}}, "{}", problem.Unauthenticated},
		{"inbox.cmd.patient.A.note", []header{{"Eventful-Token", strings.Repeat("x", 18_000)}}, "{}", problem.Unauthenticated},
		{"inbox.cmd.patient.A.note", []header{{"Eventful-Token", g.token}, {"Eventful-Token", g.token}}, "{}", problem.Malformed},
		{"inbox.cmd.patient.A.note", append(slices.Clone(good), header{"Nats-Msg-Id", "x"}), "{}", problem.Malformed},
		{"inbox.cmd.patient.A.note", append(slices.Clone(good), header{"Eventful-Command-Id", strings.Repeat("x", 129)}), "{}", problem.Malformed},
		{"inbox.cmd.patient.A.note", append(slices.Clone(good), header{"Eventful-Expected-Version", "-1"}), "{}", problem.Malformed},
		{"inbox.cmd.patient.A.note", good, "\x00\xff garbage", problem.Malformed},
		{"inbox.cmd.patient.A.note", good, `{"text":"a","text":"b"}`, problem.Malformed},
		{"inbox.cmd.patient.A.note", good, `{"text":"` + strings.Repeat("x", 1_048_577) + `"}`, problem.TooLarge},
		{"inbox.cmd.patient.A.note", good, strings.Repeat(" ", 8<<20-20_000), problem.Malformed},
		{"inbox.cmd.patient.A.no-such-event", good, "{}", problem.Invalid},
		{"inbox.cmd.patient.A", good, "{}", problem.Malformed},
		{"inbox.cmd.patient.*.note", good, "{}", problem.Malformed},
		{"inbox.cmd.patient.>", good, "{}", problem.Malformed},
		{"inbox.cmd.closed.A.note", good, "{}", problem.Locked},
		{"inbox.cmd.nurse.A.note", good, "{}", problem.NotFound},
		{"inbox.cmd.patient", good, "{}", problem.Malformed},
		{"inbox.cmd.patient", good, `{"commits":[]}`, problem.Malformed},
		{"inbox.cmd.patient", good, `{"commits":[{"type":"ward","id":"A","events":[{"event":"note"}]}]}`, problem.Malformed},
		{"inbox.cmd.patient", good, `{"commits":[{"type":"patient","id":"A","events":[{"event":"note"}]},{"type":"ward","id":"A","events":[{"event":"note"}]}]}`, problem.Invalid},
		{"inbox.cmd.eventful-token.A.token-issued", good, "{}", problem.Forbidden},
	}
	var want []string
	for _, l := range letters {
		reply := k.request(l.subject, l.headers, l.body)
		if f := k.next(); f.subject != reply || !strings.Contains(string(f.body), `"seq":`) {
			t.Errorf("%s: got %+v, want that the inbox took it", l.subject, f)
		}
		want = append(want, fmt.Sprint(l.subject, " ", l.want))
	}
	k.request("inbox.cmd.patient.A.note", append(slices.Clone(good), header{"Nats-Rollup", "all"}), "{}")
	if f := k.next(); !strings.Contains(string(f.body), `"error":`) {
		t.Errorf("a rollup: got %s, want that the server refuses it", f.body)
	}
	g.inboxIsEmpty(c)
	var got []string
	for _, r := range g.refusedCommands(g.adminClient()) {
		if r.Problem.Detail == "" || r.Problem.Hint == "" {
			t.Errorf("%s: got %+v, want a reason and a hint", r.Subject, r.Problem)
		}
		got = append(got, fmt.Sprint(r.Subject, " ", r.Problem.Code))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, body := range []string{`{"after":2}`, `{"take":-1}`, `{"number":0}`, `{"number":null}`, `{"number":-1}`, `{"number":"all"}`, `{"number":1,"take":1}`, `{"all":true}`, `{"actor":""}`, `{"actor":"user:ada","number":1}`} {
		g.check(t, badRequest{name: "purge " + body, subject: "adm.inbox.purge", token: g.adminToken(), body: body, want: problem.Malformed})
	}
	if left := len(g.refusedCommands(g.adminClient())); left != len(letters) {
		t.Errorf("got %d refused commands after purges that say nothing clear, want all %d", left, len(letters))
	}
	g.unchanged(t)
	narrow := dialSocket(t, g.info().NATS, g.mint(token.Claims{Aggregates: []string{"ward"}, Limit: 10}))
	narrow.request("inbox.cmd.patient.A.note", good, "{}")
	checkFrame(t, narrow.next(), "", violation)
}

// adminClient is a client with a token that the auth key signed for itself.
func (s *site) adminClient() *client.Client { return s.clientOf(s.adminToken()) }

func (s *site) adminToken() string {
	s.t.Helper()
	text, _, err := token.MintAdmin([]byte(s.authKey), s.account, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// TestStagedUnderKills stages, kills the server, and commits while it is killed: everything is stored once.
func TestStagedUnderKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	c := s.client()
	const rounds = 3
	for round := range rounds {
		for i := range 4 {
			_, err := c.Apply(ctx, client.Transaction{Commits: []client.Commit{{Aggregate: event.AggregateID{Type: "ward", ID: fmt.Sprint("w", i)},
				Events: []client.Event{{Type: "note", Fields: client.Fields{"text": fmt.Sprint("round ", round)}}}}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.Commit(ctx, client.Context{})
			done <- err
		}()
		if round%2 == 0 {
			until(t, "a commit is on its way", func() bool { return s.metric("eventful_writer_commits_total") > 0 })
		}
		s.again(s.kill())
		if err := <-done; err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if staged, hidden, err := c.Staged(ctx); err != nil || len(staged)+hidden > 0 {
			t.Errorf("round %d: got %d events staged, %v, want none", round, len(staged)+hidden, err)
		}
	}
	for i := range 4 {
		var got []string
		for e, err := range c.History(ctx, event.AggregateID{Type: "ward", ID: fmt.Sprint("w", i)}, client.Latest()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, *e.Fields["text"])
		}
		if want := []string{"round 0", "round 1", "round 2"}; !slices.Equal(got, want) {
			t.Errorf("ward/w%d: got %q, want %q", i, got, want)
		}
	}
}

// TestBadStaging: nothing of it is staged, nothing stored.
func TestBadStaging(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	const add, event = "adm.staged.add", `{"commits":[{"type":"patient","id":"A","events":[{"event":"registered"}]}]}`
	reader := g.mint(token.Claims{Actions: []token.Action{token.ActionRead}})
	var table []badRequest
	for _, subject := range []string{add, "adm.staged.list", "adm.staged.commit", "adm.staged.discard", "adm.inbox.status", "adm.inbox.list", "adm.inbox.purge"} {
		body := "{}"
		if subject == add {
			body = event
		}
		table = append(table, badRequest{name: subject + " without a token", subject: subject, token: "-", body: body, want: problem.Unauthenticated},
			badRequest{name: subject + " with a reader's token", subject: subject, token: reader, body: body, want: problem.Forbidden},
			badRequest{name: subject + " with garbage", subject: subject, body: "\x00{", want: problem.Malformed},
			badRequest{name: subject + " with an array", subject: subject, body: "[]", want: problem.Malformed})
	}
	table = append(table,
		badRequest{name: "nothing", subject: add, body: "", want: problem.Malformed},
		badRequest{name: "no commits", subject: add, body: `{"commits":[]}`, want: problem.Malformed},
		badRequest{name: "an unknown key", subject: add, body: `{"commits":[],"x":1}`, want: problem.Malformed},
		badRequest{name: "an expected version in a header", subject: add, body: event, headers: []header{{"Eventful-Expected-Version", "1"}}, want: problem.Malformed},
		badRequest{name: "a correlation", subject: add, body: event, headers: []header{{"Eventful-Correlation-Id", "x"}}, want: problem.Malformed},
		badRequest{name: "a bad request id", subject: add, body: event, headers: []header{{"Eventful-Command-Id", strings.Repeat("x", 200)}}, want: problem.Malformed},
		badRequest{name: "dry run maybe", subject: add, body: event, headers: []header{{"Eventful-Dry-Run", "maybe"}}, want: problem.Malformed},
		badRequest{name: "a value of 2 MiB", subject: add, body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"note","fields":{"text":"` + strings.Repeat("x", 2<<20) + `"}}]}]}`, want: problem.TooLarge},
		badRequest{name: "a locked type", subject: add, body: `{"commits":[{"type":"closed","id":"A","events":[{"event":"note"}]}]}`, want: problem.Locked},
		badRequest{name: "two logs", subject: add, body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"note"}]},{"type":"ward","id":"A","events":[{"event":"note"}]}]}`, want: problem.Invalid},
		badRequest{name: "nothing to commit", subject: "adm.staged.commit", want: problem.NotFound},
		badRequest{name: "an expected version of the commit", subject: "adm.staged.commit", headers: []header{{"Eventful-Expected-Version", "1"}}, want: problem.Malformed},
		badRequest{name: "an unknown key in the commit", subject: "adm.staged.commit", body: `{"all":true}`, want: problem.Malformed},
		badRequest{name: "discard a bad id", subject: "adm.staged.discard", body: `{"type":"patient","id":"\u0000"}`, want: problem.Malformed},
		badRequest{name: "discard a bad type", subject: "adm.staged.discard", body: `{"type":"*","id":"A"}`, want: problem.Malformed},
		badRequest{name: "discard what is not staged", subject: "adm.staged.discard", body: `{"type":"patient","id":"A"}`, want: problem.NotFound},
		badRequest{name: "no such verb", subject: "adm.staged.steal", want: problem.NotFound},
		badRequest{name: "a negative page", subject: "adm.staged.list", body: `{"after":-1}`, want: problem.Malformed},
		badRequest{name: "no such refusal", subject: "adm.inbox.show", body: `{"number":99}`, want: problem.NotFound},
		badRequest{name: "no number", subject: "adm.inbox.retry", body: `{}`, want: problem.Malformed},
		badRequest{name: "no number to show", subject: "adm.inbox.show", body: `{}`, want: problem.Malformed},
		badRequest{name: "a key of the list in the status", subject: "adm.inbox.status", body: `{"after":2}`, want: problem.Malformed},
	)
	g.all(t, table)
	if staged, hidden, err := g.client.Staged(context.Background()); err != nil || len(staged)+hidden > 0 {
		t.Errorf("got %d events staged, %v, want none", len(staged)+hidden, err)
	}
}
