package projector_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// vault is a harness with keys of encrypted fields.
type vault struct {
	*harness
	bucket *fieldkeytest.Memory
	writer *fieldkey.Keys // those of the process that wrote
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{harness: newHarness(t), bucket: fieldkeytest.NewMemory()}
	v.verifyAtEnd()
	v.writer, v.keys = v.open(), v.open()
	return v
}

func (v *vault) open() *fieldkey.Keys {
	v.t.Helper()
	keys, err := fieldkey.New(fieldkey.Config{Site: site, Bucket: v.bucket})
	if err != nil {
		v.t.Fatal(err)
	}
	return keys
}

func (v *vault) key(id string) *fieldkey.Key {
	v.t.Helper()
	key, err := v.writer.Make(v.t.Context(), of(id))
	if err != nil {
		v.t.Fatal(err)
	}
	return key
}

// sealed is a commit with the note sealed and a plain crp.
func (v *vault) sealed(id, note string) verifytest.Commit {
	v.t.Helper()
	key := v.key(id)
	c := one(id, "crp", text("crp", "1"), event.Field{Name: "note", Value: key.Seal(fieldkey.Place{Site: verifytest.Site, Aggregate: of(id), Field: "note"}, note, nil), Set: true, Sealed: true})
	commitment := key.Commitment()
	c.KeyCommitment = commitment[:]
	return c
}

// forgotten is the record that the present key of an aggregate is forgotten.
func (v *vault) forgotten(id string) verifytest.Commit {
	return verifytest.Commit{Aggregate: event.AggregateID{Type: schema.SystemForgotten, ID: schema.ForgottenID(of(id))}, Events: []verifytest.Event{{Type: "data-forgotten",
		Fields: []event.Field{text("type", patient), text("id", id), text("commitment", v.key(id).Commitment().String())}}}}
}

func TestSealedFieldsAreOpenedInAnswers(t *testing.T) {
	v := newVault(t)
	v.log(patient).Block(v.sealed("A", "first"), v.sealed("B", "other"), one("A", "crp", text("note", "plain")), v.sealed("A", "second"))
	p := v.start()
	ctx := v.current()
	state, err := p.Get(ctx, of("A"), projector.When{})
	if err != nil || state.Fields["note"] != "second" || state.Fields["crp"] != "1" || state.Shredded != nil {
		t.Errorf("get: got %+v, %v, want the text", state, err)
	}
	for version, want := range map[event.Version]string{1: "first", 2: "plain", 3: "second"} {
		if state, err = p.Get(ctx, of("A"), projector.When{Version: version}); err != nil || state.Fields["note"] != want {
			t.Errorf("get version %d: got %+v, %v, want %q", version, state, err, want)
		}
	}
	h, err := p.History(ctx, of("A"), 1, 0)
	if err != nil || len(h.Events) != 3 {
		t.Fatalf("history: got %+v, %v", h, err)
	}
	if diff := cmp.Diff(projector.Fields{text("crp", "1"), text("note", "first")}, h.Events[0].Fields); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	named, err := p.EventByHash(ctx, h.Events[2].Hash, anybody)
	if err != nil || named.Fields[1] != text("note", "second") {
		t.Errorf("event: got %+v, %v", named, err)
	}
	x, err := p.Export(ctx, of("A"), 1)
	if err != nil || len(x.Commits) != 3 {
		t.Fatalf("export: got %+v, %v", x, err)
	}
	c, err := event.DecodeCommit(x.Commits[0].Commit)
	if err != nil || len(c.KeyCommitment) != 32 || strings.Contains(string(x.Commits[0].Commit), "first") {
		t.Errorf("export: got %+v, %v, want the commit as it is stored", c, err)
	}
}

// Behind the record nobody asks for the key; without the record and the key the answer is the same.
func TestShreddedFields(t *testing.T) {
	for _, how := range []string{"forgotten, and the key still there", "forgotten, and the key gone", "the key gone"} {
		t.Run(how, func(t *testing.T) {
			v := newVault(t)
			b := v.log(patient)
			b.Block(v.sealed("A", "secret"), v.sealed("B", "other"))
			old := v.key("A").Commitment()
			p := v.start()
			if state, err := p.Get(v.current(), of("A"), projector.When{}); err != nil || state.Fields["note"] != "secret" { // the key is in memory now
				t.Fatalf("got %+v, %v", state, err)
			}
			if strings.Contains(how, "forgotten") {
				b.Block(v.forgotten("A"))
			} else {
				v.keys.Drop(of("A"))
			}
			if strings.Contains(how, "gone") {
				if err := v.writer.Destroy(t.Context(), of("A"), old); err != nil {
					t.Fatal(err)
				}
			}
			ctx := v.current()
			state, err := p.Get(ctx, of("A"), projector.When{})
			if _, there := state.Fields["note"]; err != nil || there || !cmp.Equal(state.Shredded, []string{"note"}) || state.Fields["crp"] != "1" {
				t.Errorf("get: got %+v, %v, want note shredded", state, err)
			}
			h, err := p.History(ctx, of("A"), 1, 0)
			if err != nil || !cmp.Equal(h.Events[0].Fields, projector.Fields{text("crp", "1")}) || !cmp.Equal(h.Events[0].Shredded, []string{"note"}) {
				t.Errorf("history: got %+v, %v", h, err)
			}
			want, err := json.Marshal(h.Events[0])
			if got := h.AppendJSON(nil); err != nil || !strings.Contains(string(got), string(want)) || !strings.Contains(string(got), `"shredded":["note"]`) {
				t.Errorf("got the JSON %s, %v, want %s in it", got, err, want)
			}
			if named, err := p.EventByHash(ctx, h.Events[0].Hash, anybody); err != nil || !cmp.Equal(named.Shredded, []string{"note"}) {
				t.Errorf("event: got %+v, %v", named, err)
			}
			if gone, err := p.Forgotten(ctx, of("A")); err != nil || gone[old] != strings.Contains(how, "forgotten") {
				t.Errorf("forgotten: got %v, %v", gone, err)
			}
			if state, err := p.Get(ctx, of("B"), projector.When{}); err != nil || state.Fields["note"] != "other" {
				t.Errorf("another aggregate: got %+v, %v", state, err)
			}
			if err := v.writer.Destroy(t.Context(), of("A"), old); err != nil {
				t.Fatal(err)
			}
			b.Block(v.sealed("A", "again"))
			ctx = v.current()
			if state, err := p.Get(ctx, of("A"), projector.When{}); err != nil || state.Fields["note"] != "again" || state.Shredded != nil {
				t.Errorf("written again: got %+v, %v", state, err)
			}
			if state, err := p.Get(ctx, of("A"), projector.When{Version: 1}); err != nil || !cmp.Equal(state.Shredded, []string{"note"}) {
				t.Errorf("version 1 behind that: got %+v, %v", state, err)
			}
		})
	}
}

// What is in the index, and on disk, is sealed.
func TestTheIndexHoldsSealedValuesOnly(t *testing.T) {
	v := newVault(t)
	const secret = "canary in the index"
	b := v.log(patient)
	for range 300 {
		b.Block(v.sealed("A", secret))
	}
	p := v.start()
	if state, err := p.Get(v.current(), of("A"), projector.When{}); err != nil || state.Fields["note"] != secret {
		t.Fatalf("got %+v, %v", state, err)
	}
	v.stop()
	for text, want := range map[string]bool{secret: false, "crp": true} { // the latter is a field of each
		found, commits, err := projector.IndexHolds(filepath.Join(v.dir, patient), key, site, patient, text)
		if err != nil || found != want || commits != 300 {
			t.Errorf("%q: got found %v in %d commits, %v, want %v in 300", text, found, commits, err, want)
		}
	}
	err := filepath.Walk(v.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A value that is much longer than its sealed form ends the page before it gets too large.
func TestPagesOfCompressedValues(t *testing.T) {
	v := newVault(t)
	b := v.log(patient)
	long := strings.Repeat("all the same ", 20_000)
	for range 7 {
		b.Block(v.sealed("A", long))
	}
	p := v.start()
	ctx := v.current()
	seen, pages := 0, 0
	for from := event.Version(1); ; pages++ {
		h, err := p.History(ctx, of("A"), from, 0)
		if err != nil || len(h.Events) == 0 || len(h.Events) > 3 {
			t.Fatalf("got %d events, %v, want one to three", len(h.Events), err)
		}
		for _, e := range h.Events {
			if seen++; e.Version != uint64(seen) || e.Fields[1].Value != long {
				t.Errorf("event %d: got version %d", seen, e.Version)
			}
		}
		if h.Cursor == "" {
			break
		}
		from = next(t, h.Cursor)
	}
	if seen != 7 || pages < 2 {
		t.Errorf("got %d events on %d pages, want 7 on more than two", seen, pages)
	}
}

func TestSealedFieldsThatCannotBeOpened(t *testing.T) {
	v := newVault(t)
	good := v.sealed("A", "secret")
	changed := v.sealed("B", "secret")
	changed.Events[0].Fields[1].Value = good.Events[0].Fields[1].Value // sealed for A
	v.log(patient).Block(good, changed)
	p := v.start()
	if _, err := p.Get(v.current(), of("B"), projector.When{}); !errors.Is(err, &problem.Problem{Code: problem.Damaged}) || strings.Contains(err.Error(), "secret") {
		t.Errorf("changed: got %v, want damaged", err)
	}
	v.stop()
	v.keys = nil
	p = v.start()
	if _, err := p.Get(v.current(), of("A"), projector.When{}); !unavailable(err) {
		t.Errorf("without keys: got %v, want unavailable", err)
	}
	v.stop()
	foreign, err := fieldkey.New(fieldkey.Config{Site: site, Bucket: v.bucket, Wrap: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	v.keys = foreign
	p = v.start()
	if _, err := p.History(v.current(), of("A"), 1, 0); !errors.Is(err, &problem.Problem{Code: problem.Damaged}) || !strings.Contains(err.Error(), "is lost") {
		t.Errorf("another key file: got %v, want that the key is lost", err)
	}
	v.stop()
	for place := range v.bucket.Values() { // anybody who may ask JetStream could have an answer of it stored there
		_, revision, err := v.bucket.Get(t.Context(), place)
		if err == nil {
			err = v.bucket.Put(t.Context(), place, []byte(`{"type":"io.nats.jetstream.api.v1.stream_info_response"}`), revision)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	v.keys = v.open()
	p = v.start()
	if _, err := p.Get(v.current(), of("A"), projector.When{}); !errors.Is(err, &problem.Problem{Code: problem.Damaged}) || !strings.Contains(err.Error(), "is lost") || strings.Contains(err.Error(), "layout") {
		t.Errorf("junk in the place of the key: got %v, want that the key is lost", err)
	}
}

// TestDiffOfShreddedFields: what is forgotten is a change between two versions only where an event between them set the field or removed it.
func TestDiffOfShreddedFields(t *testing.T) {
	v := newVault(t)
	b := v.log(patient)
	b.Block(v.sealed("A", "secret"), one("A", "crp", text("crp", "2")), one("A", "crp", event.Field{Name: "note"}), v.sealed("A", "again"), v.sealed("A", "again"))
	b.Block(v.forgotten("A"))
	p := v.start()
	ctx := v.current()
	for versions, want := range map[[2]event.Version]string{
		{0, 1}: "crp note-after", {1, 0}: "crp note-before", {1, 2}: "crp", {2, 3}: "note-before", {3, 4}: "crp note-after", {4, 5}: "note-before-after", {1, 5}: "note-before-after", {2, 2}: "",
	} {
		d, err := p.Diff(ctx, of("A"), versions[0], versions[1])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range d.Changes {
			name := c.Field
			if c.ShreddedBefore {
				name += "-before"
			}
			if c.ShreddedAfter {
				name += "-after"
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: got %q, want %q", versions, strings.Join(got, " "), want)
		}
	}
}
