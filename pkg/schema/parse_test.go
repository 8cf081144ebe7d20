package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func TestParse(t *testing.T) {
	got, err := schema.Parse([]byte(` [{"aggregate":"a","events":{"e":null,"f":{"fields":["x"],"required":["x"],"deletes":true,"removed":true}},
		"fields":{"x":{"type":"enum","values":["1"],"max-length":3,"pattern":"\u00e4.*","locked":true}},"log":"l","snapshot-threshold":5,"locked":true}, {"aggregate":"b"}] `))
	want := []schema.Definition{{
		Aggregate: "a", Log: "l", SnapshotThreshold: 5, Locked: true,
		Fields: map[string]schema.Field{"x": {Type: schema.Enum, Values: []string{"1"}, MaxLength: 3, Pattern: "ä.*", Locked: true}},
		Events: map[string]schema.Event{"e": {}, "f": {Fields: []string{"x"}, Required: []string{"x"}, Deletes: true, Removed: true}},
	}, {Aggregate: "b"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v; (-want +got):\n%s", err, diff)
	}
	if got, err := schema.Parse([]byte(`{"aggregate":"a"}`)); err != nil || len(got) != 1 || got[0].Aggregate != "a" {
		t.Errorf("one definition: got %v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, in, field, text string }{
		{"nothing", "", "", "ends early"},
		{"null", "null", "", "object is wanted"},
		{"number", "1", "", "object is wanted"},
		{"cut", `{"aggregate":`, "aggregate", "ends early"},
		{"cut behind a value", `{"aggregate":"a"`, "", "ends early"},
		{"behind the end", `{"aggregate":"a"} x`, "", "behind its end"},
		{"two values", `{"aggregate":"a"}{}`, "", "behind its end"},
		{"case of a key", `{"Aggregate":"a"}`, "Aggregate", "known here: aggregate"},
		{"unknown key of a field", `{"fields":{"f":{"Fields":1}}}`, "fields.f.Fields", "unknown"},
		{"unknown key of an event", `{"events":{"e":{"delete":true}}}`, "events.e.delete", "deletes"},
		{"key twice", `{"log":"a","log":"b"}`, "log", "twice"},
		{"event twice", `{"events":{"e":{},"e":{}}}`, "events.e", "twice"},
		{"key twice by escape", `{"log":"a","l\u006fg":"b"}`, "log", "twice"},
		{"invalid UTF-8", "{\"aggregate\":\"\xff\"}", "", "UTF-8"},
		{"lone surrogate", `{"aggregate":"\ud800"}`, "aggregate", "surrogate"},
		{"lone surrogate in a key", `{"\ud800":"x"}`, "", "surrogate"},
		{"number for text", `{"aggregate":1}`, "aggregate", "the number 1"},
		{"null for text", `{"aggregate":null}`, "aggregate", "null"},
		{"enum of a number", `{"fields":{"f":{"values":["a",1]}}}`, "fields.f.values[1]", "quotes"},
		{"fraction", `{"snapshot-threshold":1.5}`, "snapshot-threshold", "whole number"},
		{"huge", `{"snapshot-threshold":99999999999}`, "snapshot-threshold", "32 bits"},
		{"text for a bool", `{"locked":"true"}`, "locked", "a string"},
		{"object for a list", `{"events":{"e":{"fields":{}}}}`, "events.e.fields", "list of strings"},
		{"list for an object", `{"events":["e"]}`, "events", "a list"},
		{"depth bomb", strings.Repeat("[", 1_000_000), "[0][0][0][0][0][0][0][0][0]", "nested"},
		{"depth bomb of objects", strings.Repeat(`{"a":`, 1_000_000), "a.a.a.a.a.a.a.a.a", "nested"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := schema.Parse([]byte(tt.in))
			var p *problem.Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want a problem", err)
			}
			if p.Code != problem.Malformed || p.Field != tt.field || !strings.Contains(p.Detail+p.Hint, tt.text) {
				t.Errorf("got %s, field %q, %s / %s; want malformed, field %q, about %q", p.Code, p.Field, p.Detail, p.Hint, tt.field, tt.text)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{canonicalPatient, `[{"aggregate":"a","events":{"e":null}}]`, `{"\ud800":1}`, `[[[[`, `{"log":"a","log":"b"}`, "\xff", `{"events":{"e":{"fields":["x"]}}} 1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := schema.Parse(in)
		if err != nil {
			if problem.From(err).Code != problem.Malformed {
				t.Fatalf("got %v, want malformed", err)
			}
			return
		}
		for _, d := range list {
			if len(d.Check()) > 0 {
				continue
			}
			again, err := schema.Parse(d.Canonical())
			if err != nil || string(again[0].Canonical()) != string(d.Canonical()) {
				t.Fatalf("canonical form %s: got %v, %v", d.Canonical(), again, err)
			}
		}
	})
}
