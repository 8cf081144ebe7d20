package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestStagedOnTheWire(t *testing.T) {
	s := newSite(t)
	type sent struct{ subject, body, dry, correlation string }
	var got []sent
	var ids []string
	answers := map[string]any{
		"adm.staged.add":     client.Staging{Command: "staged-1", Aggregates: 1, Events: 2},
		"adm.staged.commit":  client.CommitAnswer{Answer: client.Answer{Command: "staged-1"}, Left: 3},
		"adm.staged.discard": client.Discarded{Aggregates: []string{"patient/A"}, Events: 2},
	}
	s.answer("adm.>", func(m *nats.Msg) {
		got = append(got, sent{m.Subject, string(m.Data), m.Header.Get("Eventful-Dry-Run"), m.Header.Get("Eventful-Correlation-Id")})
		ids = append(ids, m.Header.Get("Eventful-Command-Id"))
		if len(ids) == 1 { // the request is sent again, under the same id
			refuse(t, m, problem.New(problem.Unavailable, "not now"))
			return
		}
		respond(t, m, answers[m.Subject])
	})
	c := s.connect(nil)
	a := event.AggregateID{Type: "patient", ID: "A"}
	staged, err := c.Apply(t.Context(), client.Transaction{Context: client.Context{DryRun: true}, Commits: []client.Commit{
		{Aggregate: a, Expected: client.None, Events: []client.Event{{Type: "crp", Data: []byte(`{"crp": 1.10}`)}, {Type: "died"}}}}})
	if err != nil || staged.Events != 2 {
		t.Errorf("apply: got %+v, %v", staged, err)
	}
	answer, err := c.Commit(t.Context(), client.Context{CorrelationID: "round"})
	if err != nil || answer.Command != "staged-1" || answer.Left != 3 {
		t.Errorf("commit: got %+v, %v", answer, err)
	}
	for _, only := range []*event.AggregateID{nil, &a} {
		if d, err := c.Discard(t.Context(), only); err != nil || d.Events != 2 {
			t.Errorf("discard: got %+v, %v", d, err)
		}
	}
	add := sent{"adm.staged.add", `{"commits":[{"type":"patient","id":"A","expected-version":"none","events":[{"event":"crp","fields":{"crp":1.10}},{"event":"died"}]}]}`, "true", ""}
	want := []sent{add, add, {"adm.staged.commit", "", "", "round"}, {"adm.staged.discard", "{}", "", ""}, {"adm.staged.discard", `{"id":"A","type":"patient"}`, "", ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sent{})); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if ids[0] == "" || ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("got request ids %q, want the first one twice", ids)
	}
	if _, err := c.Apply(t.Context(), client.Transaction{}); !errors.Is(err, client.ErrMalformed) {
		t.Errorf("apply nothing: got %v, want malformed", err)
	}
}

func TestStagedListReadsAllPages(t *testing.T) {
	s := newSite(t)
	n := 0
	s.answer("adm.staged.list", func(m *nats.Msg) {
		n++
		page := map[string]any{"events": []client.StagedEvent{{Number: uint64(n), Type: "patient", ID: "A", Event: "crp"}}, "hidden": 4}
		if n < 3 {
			page["cursor"] = n
		}
		respond(t, m, page)
	})
	events, hidden, err := s.connect(nil).Staged(t.Context())
	if err != nil || len(events) != 3 || hidden != 4 || events[2].Number != 3 {
		t.Errorf("got %+v, %d hidden, %v, want three events and four hidden", events, hidden, err)
	}
}

func TestEnqueue(t *testing.T) {
	s := newSite(t)
	n := 0
	s.answer("inbox.cmd.>", func(m *nats.Msg) {
		n++
		answer := any(map[string]any{"stream": "CMD_INBOX", "seq": 7})
		switch {
		case m.Subject == "inbox.cmd.patient.FULL.crp":
			answer = map[string]any{"error": map[string]any{"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}, "stream": "CMD_INBOX", "seq": 0}
		case m.Subject == "inbox.cmd.patient":
			answer = map[string]any{"error": map[string]any{"code": 503, "description": "insufficient resources"}, "stream": "CMD_INBOX", "seq": 0}
		case m.Subject != "inbox.cmd.patient.A.crp" || string(m.Data) != `{"crp":1}` || m.Header.Get("Eventful-Command-Id") != "c-1" || m.Header.Get("Eventful-Token") == "":
			t.Errorf("got %s %s %v", m.Subject, m.Data, m.Header)
		}
		respond(t, m, answer)
	})
	c := s.connect(nil)
	a := event.AggregateID{Type: "patient", ID: "A"}
	letter, err := c.Enqueue(t.Context(), client.Command{Aggregate: a, Event: "crp", Fields: client.Fields{"crp": 1}, Context: client.Context{CommandID: "c-1"}})
	if err != nil || letter != 7 {
		t.Errorf("got %d, %v, want letter 7", letter, err)
	}
	_, err = c.Enqueue(t.Context(), client.Command{Aggregate: event.AggregateID{Type: "patient", ID: "FULL"}, Event: "crp"})
	if p := problem.From(err); p.Code != problem.NoSpace || !strings.Contains(p.Detail, "full") || p.Hint == "" {
		t.Errorf("an inbox that is full: got %v, want no_space with a hint", err)
	}
	if _, err := c.EnqueueTransaction(t.Context(), client.Transaction{Commits: []client.Commit{{Aggregate: a, Events: []client.Event{{Type: "crp"}}}}}); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("an inbox that cannot store: got %v, want unavailable", err)
	}
	if _, err := c.Enqueue(t.Context(), client.Command{Aggregate: a, Event: "BAD"}); !errors.Is(err, client.ErrMalformed) || n != 3 {
		t.Errorf("a bad event type: got %v after %d requests, want malformed and nothing sent", err, n)
	}
}
