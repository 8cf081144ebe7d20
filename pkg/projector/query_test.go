package projector_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

const definition = `{"aggregate":"patient","log":"patient","events":{"crp":{"fields":["crp","note"]},"discharged":{"deletes":true}}}`

// migrate writes a schema version into the system log.
func migrate(b *verifytest.Builder, definition string) {
	b.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("eventful-schema", patient), Events: []verifytest.Event{{Type: "schema-migrated",
		Fields: []event.Field{text("definition", definition), text("digest", schema.Digest([]byte(definition)).String()), text("version", "1"), text("log", patient)}}}})
}

// checked is an event that was checked against the definition.
func checked(eventType string, fields ...event.Field) verifytest.Event {
	return verifytest.Event{Type: eventType, Fields: fields, SchemaDigest: schema.Digest([]byte(definition)), SchemaVersion: 1}
}

// ward makes a log of patients: A has five events in three commits, B is deleted, C was deleted and came back.
func ward(h *harness) {
	migrate(h.log(event.Reserved), definition)
	b := h.log(patient)
	at := verifytest.Start - 5
	first := checked("crp", text("crp", "1.10"), text("note", "x"))
	first.OccurredAt = &at
	b.Block(
		verifytest.Commit{Aggregate: of("A"), Events: []verifytest.Event{first}, Actor: "doctor:House"},
		verifytest.Commit{Aggregate: of("B"), Events: []verifytest.Event{checked("crp", text("crp", "2"))}},
		verifytest.Commit{Aggregate: of("C"), Events: []verifytest.Event{checked("crp", text("crp", "3")), checked("discharged")}})
	b.Block(
		verifytest.Commit{Aggregate: of("A"), Events: []verifytest.Event{checked("crp", text("crp", "4")), checked("crp", event.Field{Name: "note"}), checked("crp", text("note", "z"))}},
		verifytest.Commit{Aggregate: of("B"), Events: []verifytest.Event{checked("discharged")}},
		verifytest.Commit{Aggregate: of("C"), Events: []verifytest.Event{checked("crp", text("note", "new"))}})
	b.Block(verifytest.Commit{Aggregate: of("A"), Events: []verifytest.Event{checked("crp", text("crp", "5"))}})
}

func wardUp(t *testing.T) (*harness, *projector.Projector, context.Context) {
	h := newHarness(t)
	h.verifyAtEnd()
	ward(h)
	p := h.start()
	return h, p, h.current()
}

func TestGet(t *testing.T) {
	_, p, ctx := wardUp(t)
	for _, c := range []struct {
		id      string
		version event.Version
		want    map[string]string
		deleted bool
		at      uint64
	}{
		{"A", 0, map[string]string{"crp": "5", "note": "z"}, false, 5},
		{"A", 1, map[string]string{"crp": "1.10", "note": "x"}, false, 1},
		{"A", 3, map[string]string{"crp": "4"}, false, 3},
		{"B", 0, map[string]string{"crp": "2"}, true, 2},
		{"B", 1, map[string]string{"crp": "2"}, false, 1},
		{"C", 0, map[string]string{"note": "new"}, false, 3},
	} {
		got, err := p.Get(ctx, of(c.id), projector.When{Version: c.version})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got.Fields); diff != "" || got.Deleted != c.deleted || got.Version != c.at {
			t.Errorf("%s at version %d: got %+v, want deleted %t, version %d, fields (-want +got):\n%s", c.id, c.version, got, c.deleted, c.at, diff)
		}
		event, err := p.EventByHash(ctx, got.Hash, anybody)
		if err != nil || event.ID != c.id || event.Version != c.at || event.Actor != got.Actor || event.Time != got.Time {
			t.Errorf("%s at version %d: hash leads to %+v, %v", c.id, c.version, event, err)
		}
	}
}

// TestGetRoot holds that the root at a version is the one of the tree over the leaves up to it, also inside a commit.
func TestGetRoot(t *testing.T) {
	_, p, ctx := wardUp(t)
	history, err := p.History(ctx, of("A"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	var tree event.Tree
	for i, e := range history.Events {
		leaf, err := event.ParseHash(e.Hash)
		if err != nil {
			t.Fatal(err)
		}
		tree = tree.Append(leaf)
		got, err := p.Get(ctx, of("A"), projector.When{Version: event.Version(i + 1)})
		if err != nil || got.Root != tree.Root().String() || got.Hash != e.Hash {
			t.Errorf("version %d: got root %s, hash %s, %v, want %s, %s", i+1, got.Root, got.Hash, err, tree.Root(), e.Hash)
		}
	}
}

func TestAnswersJSON(t *testing.T) {
	_, p, ctx := wardUp(t)
	state, err := p.Get(ctx, of("A"), projector.When{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	history, err := p.History(ctx, of("A"), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.List(ctx, projector.Wanted{Take: 1})
	if err != nil {
		t.Fatal(err)
	}
	list.Cursor = strings.Repeat("0", 20) // others are random, and may hold - and _
	for _, c := range []struct {
		name   string
		answer any
		want   string // hashes, roots, ids and cursors cut
	}{
		{"get", state, `{"type":"patient","id":"A","version":1,"fields":{"crp":"1.10","note":"x"},"deleted":false,"root":"…","hash":"…","time":"2023-11-14T22:13:21Z","occurred-at":"2023-11-14T22:13:19.999999995Z","actor":"doctor:House"}`},
		{"history", history, `{"events":[{"version":3,"event":"crp","fields":{"note":null},"actor":"user:test","token":"token","issuer":"issuer","time":"2023-11-14T22:13:22Z","hash":"…","position":"patient/2/0/…","commit":"…","command":"command-12","schema-version":1}],"cursor":"4"}`},
		{"list", list, `{"aggregates":[{"type":"patient","id":"A","version":5,"root":"…","deleted":false,"time":"2023-11-14T22:13:23Z"}],"cursor":"…"}`},
	} {
		raw, err := json.Marshal(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, cut(string(raw))); diff != "" {
			t.Errorf("%s: diff (-want +got):\n%s", c.name, diff)
		}
	}
}

// cut replaces runs of 20 characters and more of hexadecimal or base64 by an ellipsis.
func cut(s string) string {
	var out, run strings.Builder
	flush := func() {
		if run.Len() >= 20 && !strings.ContainsAny(run.String(), ":") {
			out.WriteString("…")
		} else {
			out.WriteString(run.String())
		}
		run.Reset()
	}
	for _, r := range s {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			run.WriteRune(r)
			continue
		}
		flush()
		out.WriteRune(r)
	}
	flush()
	return out.String()
}

func TestNotThere(t *testing.T) {
	_, p, ctx := wardUp(t)
	_, getErr := p.Get(ctx, of("nobody"), projector.When{})
	_, versionErr := p.Get(ctx, of("A"), projector.When{Version: 6})
	_, typeErr := p.Get(ctx, event.AggregateID{Type: "ghost", ID: "A"}, projector.When{})
	_, historyErr := p.History(ctx, of("nobody"), 1, 0)
	_, exportErr := p.Export(ctx, of("nobody"), 1)
	_, _, _, newestErr := p.Newest(ctx, of("nobody"))
	_, hashErr := p.EventByHash(ctx, strings.Repeat("0", 64), anybody)
	_, badErr := p.Get(ctx, event.AggregateID{Type: "*", ID: "A"}, projector.When{})
	_, cursorErr := p.List(ctx, projector.Wanted{Cursor: "!"})
	_, shortErr := p.EventByHash(ctx, "abc", anybody)
	_, digitErr := p.EventByHash(ctx, "abcg", anybody)
	_, idErr := p.Resolve(ctx, "")
	for name, c := range map[string]struct {
		err  error
		want problem.Code
	}{
		"get": {getErr, problem.NotFound}, "version": {versionErr, problem.NotFound}, "type": {typeErr, problem.NotFound}, "history": {historyErr, problem.NotFound},
		"export": {exportErr, problem.NotFound}, "newest": {newestErr, problem.NotFound}, "hash": {hashErr, problem.NotFound}, "name": {badErr, problem.Malformed},
		"cursor": {cursorErr, problem.Malformed}, "short prefix": {shortErr, problem.Malformed}, "prefix with g": {digitErr, problem.Malformed}, "id": {idErr, problem.Malformed},
	} {
		if !errors.Is(c.err, &problem.Problem{Code: c.want}) {
			t.Errorf("%s: got %v, want %s", name, c.err, c.want)
		}
	}
	for _, cursor := range []string{"AAAA", "cGF0aWVudAAA", "cGF0aWVudABwYXRpZW50AEE=", strings.Repeat("A", 9999)} {
		if _, err := p.List(ctx, projector.Wanted{Cursor: cursor}); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("cursor %.20q: got %v, want malformed", cursor, err)
		}
	}
	page, err := p.History(ctx, of("A"), 6, 0)
	if err != nil || len(page.Events) != 0 || page.Cursor != "" {
		t.Errorf("history behind the newest: got %+v, %v, want an empty page", page, err)
	}
}

// TestUnknownSchema: without the schema nobody knows whether an event ended its aggregate, so the state is refused rather than guessed.
func TestUnknownSchema(t *testing.T) {
	h := newHarness(t)
	h.log(patient).Block(verifytest.Commit{Aggregate: of("A"), Events: []verifytest.Event{checked("discharged")}})
	p := h.start()
	ctx := h.current()
	if _, err := p.Get(ctx, of("A"), projector.When{}); !errors.Is(err, &problem.Problem{Code: problem.Internal}) {
		t.Errorf("got %v, want internal", err)
	}
	migrate(h.log(event.Reserved), definition)
	p.Notify()
	if got, err := p.Get(ctx, of("A"), projector.When{}); err != nil || !got.Deleted {
		t.Errorf("got %+v, %v, want a deleted aggregate", got, err)
	}
	if log, ok := p.LogOf(patient); !ok || log != patient {
		t.Errorf("log of %s: got %q, %t, want %q", patient, log, ok, patient)
	}
}

// anybody may read everything.
func anybody(event.AggregateID) bool { return true }

// TestUnreadableEventsDoNotExist: asked for an event that may not be read, the answer is the one for an event that nobody has, whatever the prefix hits.
func TestUnreadableEventsDoNotExist(t *testing.T) {
	h, p, ctx := wardUp(t)
	for _, where := range []string{"in memory", "in the store"} {
		page, err := p.History(ctx, of("A"), 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		nobody := func(event.AggregateID) bool { return false }
		for _, e := range page.Events {
			for _, digits := range []int{4, 9, 24, 64} {
				prefix := e.Hash[:digits]
				_, err := p.EventByHash(ctx, prefix, nobody)
				var got *problem.Problem
				if !errors.As(err, &got) || got.Code != problem.NotFound || got.Detail != "no event that the token covers has a hash that begins with "+prefix {
					t.Errorf("%s, prefix %s: got %v, want what is said of a hash that nobody has", where, prefix, err)
				}
			}
		}
		h.stop()
		p = h.start()
		ctx = h.current()
	}
}
