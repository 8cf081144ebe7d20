package schema_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

const canonicalPatient = `{"aggregate":"patient","log":"patient","snapshot-threshold":25,` +
	`"fields":{"age":{"type":"integer","max-length":3},"code":{"type":"string","pattern":"[a-z]+|[0-9]+"},"crp":{"type":"decimal"},` +
	`"frozen":{"type":"string","locked":true},"name":{"type":"string","max-length":4},"note":{"type":"string"},` +
	`"sex":{"type":"enum","values":["diverse","female","male"]}},` +
	`"events":{"crp":{"fields":["crp"],"required":["crp"]},"death":{"deletes":true},` +
	`"registration":{"fields":["age","code","frozen","name","note","sex"],"required":["age","name"]},` +
	`"release":{},"triage":{"fields":["name"],"removed":true}}}`

func TestCanonical(t *testing.T) {
	got := string(patient().Canonical())
	if diff := cmp.Diff(canonicalPatient, got); diff != "" {
		t.Fatalf("canonical form, which is stored and never changes (-want +got):\n%s", diff)
	}
	parsed, err := schema.Parse([]byte(got))
	if err != nil || len(parsed) != 1 {
		t.Fatalf("parse canonical form: got %v, %v", parsed, err)
	}
	if again := string(parsed[0].Canonical()); again != got {
		t.Errorf("canonical form of the parsed one: got %s, want %s", again, got)
	}
	explicit := patient()
	explicit.Log = "patient"
	explicit.Fields["note"] = schema.Field{Type: schema.String}
	if again := string(explicit.Canonical()); again != got {
		t.Errorf("defaults written out: got %s, want %s", again, got)
	}
	html := schema.Definition{Aggregate: "x", Fields: map[string]schema.Field{"f": {Pattern: "<&>"}}, Events: map[string]schema.Event{"e": {}}}
	if c := string(html.Canonical()); !strings.Contains(c, `"<&>"`) {
		t.Errorf("got %s, want no HTML escapes", c)
	}
}

func TestCanonicalLeavesTheDefinition(t *testing.T) {
	d := patient()
	d.Canonical()
	if diff := cmp.Diff(patient(), d); diff != "" {
		t.Errorf("definition after Canonical (-want +got):\n%s", diff)
	}
}

func TestDigest(t *testing.T) {
	s := compile(t, patient())
	want := event.Hash(sha256.Sum256([]byte("eventful.schema.v1\x00" + canonicalPatient)))
	if s.Digest != want || schema.Digest([]byte(canonicalPatient)) != want {
		t.Errorf("got %s, want %s", s.Digest, want)
	}
	if s.Version != 1 || s.Log != "patient" || s.Fields["note"].Type != schema.String {
		t.Errorf("got version %d, log %q, note %v, want the defaults written out", s.Version, s.Log, s.Fields["note"])
	}
}

func TestCheck(t *testing.T) {
	if p := patient().Check(); len(p) != 0 {
		t.Fatalf("good definition: got %v, want no problem", p)
	}
	tests := []struct {
		name string
		do   func(*schema.Definition)
		want found
	}{
		{"no type", func(d *schema.Definition) { d.Aggregate = "" }, found{problem.Invalid, "aggregate", "lower-case letter"}},
		{"wildcard type", func(d *schema.Definition) { d.Aggregate = "a.*" }, found{problem.Invalid, "aggregate", ""}},
		{"reserved type", func(d *schema.Definition) { d.Aggregate = "eventful-x" }, found{problem.Invalid, "aggregate", "reserved"}},
		{"long type", func(d *schema.Definition) { d.Aggregate = strings.Repeat("a", 5000) }, found{problem.Invalid, "aggregate", ""}},
		{"log", func(d *schema.Definition) { d.Log = "../../etc" }, found{problem.Invalid, "log", ""}},
		{"reserved log", func(d *schema.Definition) { d.Log = "eventful" }, found{problem.Invalid, "log", "reserved"}},
		{"threshold", func(d *schema.Definition) { d.SnapshotThreshold = -1 }, found{problem.Invalid, "snapshot-threshold", "between"}},
		{"no events", func(d *schema.Definition) { d.Events = nil }, found{problem.Invalid, "events", "no event type"}},
		{"event name", func(d *schema.Definition) { d.Events["A b"] = schema.Event{} }, found{problem.Invalid, "events.A b", ""}},
		{"reserved event", func(d *schema.Definition) { d.Events["eventful-rolled-back"] = schema.Event{} }, found{problem.Invalid, "events.eventful-rolled-back", "reserved"}},
		{"field name", func(d *schema.Definition) { d.Fields["$JS.x"] = schema.Field{} }, found{problem.Invalid, "fields.$JS.x", ""}},
		{"field of event", event1(schema.Event{Fields: []string{"a b"}}), found{problem.Invalid, "events.e.fields", ""}},
		{"field twice", event1(schema.Event{Fields: []string{"a", "a"}}), found{problem.Invalid, "events.e.fields", "twice"}},
		{"required elsewhere", event1(schema.Event{Fields: []string{"aa"}, Required: []string{"ab"}}), found{problem.Invalid, "events.e.required", "its fields: aa"}},
		{"required twice", event1(schema.Event{Fields: []string{"a"}, Required: []string{"a", "a"}}), found{problem.Invalid, "events.e.required", "twice"}},
		{"type", field1(schema.Field{Type: "int"}), found{problem.Invalid, "fields.f.type", "known types: integer, date, enum"}},
		{"length", field1(schema.Field{MaxLength: -1}), found{problem.Invalid, "fields.f.max-length", ""}},
		{"length over the log's", field1(schema.Field{MaxLength: 1<<20 + 1}), found{problem.Invalid, "fields.f.max-length", ""}},
		{"pattern", field1(schema.Field{Pattern: "("}), found{problem.Invalid, "fields.f.pattern", "RE2"}},
		{"pattern that leaves its anchors", field1(schema.Field{Pattern: "a)|(?:b"}), found{problem.Invalid, "fields.f.pattern", ""}},
		{"pattern that quotes its anchors", field1(schema.Field{Pattern: `\Qa`}), found{problem.Invalid, "fields.f.pattern", ""}},
		{"pattern with a backreference", field1(schema.Field{Pattern: `(a)\1`}), found{problem.Invalid, "fields.f.pattern", ""}},
		{"pattern bomb", field1(schema.Field{Pattern: `((a{100}){100}){100}`}), found{problem.Invalid, "fields.f.pattern", ""}},
		{"long pattern", field1(schema.Field{Pattern: strings.Repeat("a", 1001)}), found{problem.TooLarge, "fields.f.pattern", ""}},
		{"enum of nothing", field1(schema.Field{Type: schema.Enum}), found{problem.Invalid, "fields.f.values", ""}},
		{"values without enum", field1(schema.Field{Values: []string{"a"}}), found{problem.Invalid, "fields.f.values", "enum"}},
		{"bad value", field1(schema.Field{Type: schema.Enum, Values: []string{"a", "\xff"}}), found{problem.Invalid, "fields.f.values[1]", "UTF-8"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := patient()
			tt.do(&d)
			expect(t, d.Check(), []found{tt.want})
			if s, err := schema.Compile(d, 1); err == nil {
				t.Errorf("compile: got %v, want an error", s)
			}
		})
	}
}

func event1(e schema.Event) func(*schema.Definition) {
	return func(d *schema.Definition) { d.Events["e"] = e }
}

func field1(f schema.Field) func(*schema.Definition) {
	return func(d *schema.Definition) { d.Fields["f"] = f }
}

func TestCheckFindsEverything(t *testing.T) {
	d := schema.Definition{Aggregate: "X", Log: "Y", SnapshotThreshold: -1, Fields: map[string]schema.Field{"f": {Type: "z", Pattern: "("}}, Events: map[string]schema.Event{"": {}}}
	if n := len(d.Check()); n != 6 {
		t.Errorf("got %d problems, want 6: %v", n, d.Check())
	}
}

func TestSystem(t *testing.T) {
	for _, name := range []string{schema.SystemSchema, schema.SystemKey, schema.SystemToken, schema.SystemImport} {
		s := schema.System(name)
		want := event.Hash(sha256.Sum256([]byte("eventful.schema.v1\x00" + name)))
		if s == nil || s.Digest != want || s.Version != 1 || s.Log != event.Reserved {
			t.Errorf("%s: got %+v, want version 1, digest %s, in the log %s", name, s, want, event.Reserved)
		}
	}
	if s := schema.System("patient"); s != nil {
		t.Errorf("patient: got %v, want nil", s)
	}
	s := schema.System(schema.SystemSchema)
	expect(t, s.CheckEvent("schema-migrated", set("definition", "{}", "digest", "00", "version", "1", "log", "patient")), nil)
	expect(t, s.CheckEvent("schema-drafted", nil), []found{{problem.Invalid, "definition", "required"}})
	expect(t, s.CheckEvent("schema-discarded", nil), nil)
}
