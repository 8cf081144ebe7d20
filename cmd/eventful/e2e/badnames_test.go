package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// TestBadIDs sends, escaped as the spec says, ids that are none, and ids in another spelling than the one that the spec allows.
func TestBadIDs(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	var table []badRequest
	for name, id := range map[string]string{
		"control character": "\x01", "tab": "a\tb", "line break": "a\r\nb", "NUL": "\x00", "C1 control": "\u0085", "invalid UTF-8": "\xff", "surrogate": "\xed\xa0\x80", "not NFC": "e\u0301",
		"129 bytes": strings.Repeat("a", 129), "5000 bytes": strings.Repeat("*", 5000),
	} {
		table = append(table, badRequest{name: name, subject: "cmd.patient." + streams.Escape(id) + ".registered", want: problem.Malformed},
			badRequest{name: name + ", read", subject: "qry.patient." + streams.Escape(id) + ".get", want: problem.Malformed})
	}
	for name, id := range map[string]string{"needless escape": "=41", "lower case": "=2e", "cut": "A=2", "no digits": "=ZZ", "alone": "="} {
		table = append(table, badRequest{name: name, subject: "cmd.patient." + id + ".registered", want: problem.Malformed})
	}
	table = append(table, badRequest{name: "empty, in a transaction", subject: "cmd.patient", want: problem.Malformed,
		body: `{"commits":[{"type":"patient","id":"","events":[{"event":"registered"}]}]}`},
		badRequest{name: "NUL, in a transaction", subject: "cmd.patient", want: problem.Malformed,
			body: `{"commits":[{"type":"patient","id":"a\u0000","events":[{"event":"registered"}]}]}`})
	g.all(t, table)
}

// oddIDs look dangerous and are ids like any other.
var oddIDs = []string{"*", ">", "a.*", "a..b", ".", "..", "../../etc", "../../../../../../tmp/eventful-e2e", "/etc/passwd", "$JS.x", "$SYS.REQ", "-x", "--help", "a b", " ", "\u00a0",
	"🏥", "e\u00e9", "A", "=41", "%2e", `"`, `\`, "patient/A", "CON", "_INBOX.x", "a'); DROP TABLE", strings.Repeat("a", 128), strings.Repeat("é", 64)}

// TestOddIDs: they are stored, touch no other aggregate and no file, and read back equal.
func TestOddIDs(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	ctx := context.Background()
	want := map[string]event.Version{"patient/A": 2, "ward/A": 1}
	before := files(t, g.root, "jetstream", "index", "state", "checkpoints")
	last := ""
	for i, id := range oddIDs {
		a := event.AggregateID{Type: "patient", ID: id}
		answer, err := g.client.Command(ctx, client.Command{Aggregate: a, Event: "note", Fields: client.Fields{"text": id}})
		if err != nil {
			t.Errorf("%q: %v", id, err)
			continue
		}
		last = answer.Commits[0].Position
		want[a.String()] = answer.Commits[0].Version
		if wanted := event.Version(1); id != "A" && answer.Commits[0].Version != wanted {
			t.Errorf("%q: got version %d, want %d", id, answer.Commits[0].Version, wanted)
		}
		state, err := g.client.Get(ctx, a, client.WaitFor(last))
		if err != nil || state.ID != id || state.Fields["text"] != id {
			t.Errorf("%q: got %+v (%v), want it read back equal", id, state, err)
		}
		if v, err := g.client.Verify(ctx, a); err != nil || !client.Good(v.Verdict) {
			t.Errorf("%q: got %+v (%v), want it verified", id, v, err)
		}
		if export, err := g.client.Export(ctx, a); err != nil || export.ID != id || i == 0 && len(export.Commits) != 1 {
			t.Errorf("%q: got %+v (%v), want its export", id, export, err)
		}
	}
	got := map[string]event.Version{}
	for a, err := range g.client.List(ctx, "", client.WaitFor(last), client.PageSize(7)) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(a.Type, "eventful") {
			got[a.Type+"/"+a.ID] = a.Version
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aggregates (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, files(t, g.root, "jetstream", "index", "state", "checkpoints")); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	for _, id := range []string{"*", "../../etc", "-x", "a b", "🏥", "patient/A"} {
		if out := g.must("aggregate:get", "-o", "json", "--", "patient/"+id); !strings.Contains(out, fmt.Sprintf("%q", "text")) {
			t.Errorf("aggregate:get patient/%s: got %s, want its field", id, out)
		}
	}
}

// TestBadNamesThroughClients: what a bare socket can send, nats.go, our client and the command line refuse by themselves or hand over to be refused.
func TestBadNamesThroughClients(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	nc, err := nats.Connect(g.info().NATS, nats.CustomInboxPrefix(inboxOf(g.token)),
		nats.UserJWT(func() (string, error) { return g.token, nil }, func([]byte) ([]byte, error) { return nil, nil }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx := context.Background()
	unanswered := []string{"empty", "empty token", "path", "70000 bytes"} // TestBadSubjects shows what the server does with them
	for _, w := range badWords {
		t.Run("nats.go/"+w.name, func(t *testing.T) {
			if slices.Contains(unanswered, w.name) {
				return
			}
			m := &nats.Msg{Subject: "cmd." + w.word + ".A.registered", Header: nats.Header{streams.HeaderToken: {g.token}}}
			answer, err := nc.RequestMsg(m, patience)
			if err == nil && problem.Decode(answer.Data).Code != problem.Malformed || err != nil && !errors.Is(err, nats.ErrBadSubject) {
				t.Errorf("got %v (%v), want it refused", answer, err)
			}
			g.unchanged(t)
		})
		t.Run("client/"+w.name, func(t *testing.T) {
			for _, c := range []client.Command{
				{Aggregate: event.AggregateID{Type: w.word, ID: "A"}, Event: "registered"},
				{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: w.word},
				{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "note", Fields: client.Fields{w.word: 1}},
			} {
				_, err := g.client.Command(ctx, c)
				if code := problem.From(err).Code; err == nil || code != problem.Malformed {
					t.Errorf("%+v: got %v, want code malformed", c, err)
				}
			}
			g.unchanged(t)
		})
		if strings.Contains(w.word, "\x00") {
			continue // no argument of a program can hold it
		}
		t.Run("command line/"+w.name, func(t *testing.T) {
			on := *g.site
			on.t = t
			on.refused(2, "", "event:add", "--id=A", "--", w.word+"/registered")
			on.refused(2, "", "event:add", "--id=A", "--", "patient/"+w.word)
			g.unchanged(t)
		})
	}
	for name, id := range map[string]string{"empty": "", "control character": "\x01", "line break": "a\r\nb", "invalid UTF-8": "\xff", "not NFC": "e\u0301", "129 bytes": strings.Repeat("a", 129)} {
		t.Run("id on the command line/"+name, func(t *testing.T) {
			on := *g.site
			on.t = t
			on.refused(2, "", "event:add", "patient/registered", "--id="+id)
			g.unchanged(t)
		})
	}
}

// TestExactValues: what looks like a mistake and is none.
func TestExactValues(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	ctx := context.Background()
	a := event.AggregateID{Type: "patient", ID: "X"}
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct{ event, body, field, want string }{
		{"crp", `{"crp":1e400}`, "crp", "1e400"},
		{"crp", `{"crp":9007199254740993}`, "crp", "9007199254740993"},
		{"crp", `{"crp":1.10}`, "crp", "1.10"},
		{"crp", `{"crp":-0}`, "crp", "-0"},
		{"crp", `{"crp":123456789012345678901234567890.123456789}`, "crp", "123456789012345678901234567890.123456789"},
		{"note", `{"text":true}`, "text", "true"},
		{"note", `{"text":"a\u0000\ud83c\udfe5"}`, "text", "a\x00🏥"},
		{"note", `{"text":"e\u0301"}`, "text", "e\u0301"},
		{"note", `{"text":""}`, "text", ""},
		{"note", `{"text":"` + long + `"}`, "text", long},
	} {
		answer, err := g.client.Command(ctx, client.Command{Aggregate: a, Event: c.event, Data: []byte(c.body)})
		if err != nil {
			t.Errorf("%.80s: %v", c.body, err)
			continue
		}
		state, err := g.client.Get(ctx, a, client.WaitFor(answer.Commits[0].Position))
		if got, ok := state.Fields[c.field]; err != nil || !ok || got != c.want {
			t.Errorf("%.80s: got %.80q (%v), want %.80q", c.body, got, err, c.want)
		}
	}
}
