package client_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestGetAtVersionWaits(t *testing.T) {
	s := newSite(t)
	got := make(chan *nats.Msg, 1)
	want := client.State{Type: "patient", ID: patient.ID, Version: 3, Fields: map[string]string{"crp": "1.10"}, Root: "aa"}
	s.answer("qry.patient.*.get", func(m *nats.Msg) { got <- m; respond(t, m, want) })
	state, err := s.connect(nil).Get(t.Context(), patient, client.AtVersion(3), client.WaitFor("patient/1/0/ab"))
	check(t, err)
	if diff := cmp.Diff(&want, state); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if m := <-got; string(m.Data) != `{"version":3}` || m.Header.Get("Eventful-Wait-For") != "patient/1/0/ab" {
		t.Errorf("got body %s, header %v", m.Data, m.Header)
	}
}

func TestHistoryReadsPages(t *testing.T) {
	s := newSite(t)
	var froms []uint64
	s.answer("qry.patient.*.history", func(m *nats.Msg) {
		var q struct{ From, Take uint64 }
		check(t, json.Unmarshal(m.Data, &q))
		froms = append(froms, q.From)
		var events []client.Recorded
		for v := q.From; v < q.From+q.Take && v <= 5; v++ {
			events = append(events, client.Recorded{Version: event.Version(v), Event: "crp"})
		}
		cursor := ""
		if q.From+q.Take <= 5 {
			cursor = fmt.Sprint(q.From + q.Take)
		}
		respond(t, m, map[string]any{"events": events, "cursor": cursor})
	})
	var versions []event.Version
	for e, err := range s.connect(nil).History(t.Context(), patient, client.From(2), client.PageSize(2)) {
		check(t, err)
		versions = append(versions, e.Version)
	}
	if diff := cmp.Diff([]event.Version{2, 3, 4, 5}, versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{2, 4}, froms); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func TestHistoryEndsWithTheError(t *testing.T) {
	s := newSite(t)
	s.answer("qry.>", func(m *nats.Msg) { refuse(t, m, problem.New(problem.NotFound, "no such patient")) })
	n := 0
	for _, err := range s.connect(nil).History(t.Context(), patient) {
		if n++; !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d rounds, want 1", n)
	}
}

func TestListFollowsTheCursor(t *testing.T) {
	s := newSite(t)
	s.answer("qry._.list", func(m *nats.Msg) {
		var q struct{ Cursor string }
		check(t, json.Unmarshal(m.Data, &q))
		page := map[string]client.Page{
			"":  {Aggregates: []client.Summary{{ID: "1"}, {ID: "2"}}, Cursor: "b"},
			"b": {Aggregates: []client.Summary{{ID: "3"}}},
		}[q.Cursor]
		respond(t, m, page)
	})
	var ids []string
	for a, err := range s.connect(nil).List(t.Context(), "") {
		check(t, err)
		ids = append(ids, a.ID)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestVerifyAllShowsProgress(t *testing.T) {
	s := newSite(t)
	want := client.Report{Aggregates: 2, Events: 9, Blocks: 4, Failed: []client.Failed{{Type: "patient", ID: "A", Version: 3, Verdict: "TAMPERED"}}}
	s.answer("qry._.verify", func(m *nats.Msg) {
		if m.Header.Get("Eventful-Stream") != "1" {
			t.Errorf("got header %v, want a stream asked for", m.Header)
		}
		for done := range 3 {
			respondMore(t, m, map[string]int{"done": done, "total": 3})
		}
		respond(t, m, want)
	})
	var seen []uint64
	report, err := s.connect(nil).VerifyAll(t.Context(), func(done, total uint64) { seen = append(seen, done, total) })
	check(t, err)
	if diff := cmp.Diff(&want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{0, 3, 1, 3, 2, 3}, seen); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

func TestExportJoinsPages(t *testing.T) {
	s := newSite(t)
	s.answer("qry.patient.*.export", func(m *nats.Msg) {
		var q struct{ From uint64 }
		check(t, json.Unmarshal(m.Data, &q))
		page := map[string]any{"site": "s", "log": "patient", "type": "patient", "id": patient.ID, "version": 3, "root": "aa",
			"commits": []client.ExportCommit{exportCommit(t, q.From, 1+q.From%2)}, "cursor": ""}
		if q.From == 1 {
			page["cursor"] = "3"
		}
		respond(t, m, page)
	})
	export, err := s.connect(nil).Export(t.Context(), patient)
	check(t, err)
	if len(export.Commits) != 2 || export.Commits[0].Position != "1" || export.Commits[1].Position != "3" || export.Format != "eventful.export.v1" {
		t.Errorf("got %+v", export)
	}
}

// exportCommit is a commit of n events from that version on.
func exportCommit(t *testing.T, first, n uint64) client.ExportCommit {
	t.Helper()
	c := event.Commit{ID: event.ID16{1}, Site: "s", CommandID: "c", Aggregate: patient, First: event.Version(first), Actor: "a:b", TokenID: "t", Issuer: "i",
		Transaction: event.Transaction{ID: event.ID16{1}, Count: 1}}
	for range n {
		c.Events = append(c.Events, event.Event{Type: "crp", Payload: []byte{0}})
	}
	raw, err := c.Encode()
	check(t, err)
	return client.ExportCommit{Position: fmt.Sprint(first), Commit: base64.StdEncoding.EncodeToString(raw)}
}

func TestResolve(t *testing.T) {
	s := newSite(t)
	s.answer("qry._.resolve", func(m *nats.Msg) { respond(t, m, map[string]any{"candidates": []string{"invoice/a/b", "patient/a/b"}}) })
	got, err := s.connect(nil).Resolve(t.Context(), "a/b")
	check(t, err)
	want := []event.AggregateID{{Type: "invoice", ID: "a/b"}, {Type: "patient", ID: "a/b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestAdministrativeActs(t *testing.T) {
	s := newSite(t)
	got := make(chan *nats.Msg, 1)
	s.answer("adm.>", func(m *nats.Msg) {
		got <- m
		respond(t, m, map[string]any{"migrations": []client.Migration{{Type: "patient", To: 1, Checked: 7}}, "account": "jwt"})
	})
	c := s.connect(nil)
	migrations, err := c.SchemaMigrate(t.Context(), "", true)
	check(t, err)
	if diff := cmp.Diff([]client.Migration{{Type: "patient", To: 1, Checked: 7}}, migrations); diff != "" {
		t.Errorf("migrations (-want +got):\n%s", diff)
	}
	if m := <-got; m.Subject != "adm.schema.migrate" || string(m.Data) != `{"type":"","dry-run":true}` || m.Header.Get("Eventful-Command-Id") == "" {
		t.Errorf("got %s %s %v", m.Subject, m.Data, m.Header)
	}
	account, err := c.KeyAccount(t.Context())
	check(t, err)
	if account != "jwt" {
		t.Errorf("got %q, want the account JWT", account)
	}
	<-got
	check(t, c.SchemaDraft(t.Context(), json.RawMessage(`{"aggregate":"patient"}`)))
	if m := <-got; m.Subject != "adm.schema.draft" || string(m.Data) != `{"definition":{"aggregate":"patient"}}` {
		t.Errorf("got %s %s", m.Subject, m.Data)
	}
}
