package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/schema"
)

func TestDiff(t *testing.T) {
	tests := []struct {
		name string
		do   func(*schema.Definition)
		want []schema.Change
	}{
		{"nothing", func(d *schema.Definition) {}, nil},
		{"default written out", func(d *schema.Definition) { d.Log, d.Fields["note"] = "patient", schema.Field{} }, nil},
		{"other type", func(d *schema.Definition) { d.Aggregate, d.Log = "person", "patient" },
			[]schema.Change{{Text: "aggregate type patient becomes person: a type keeps its name"}}},
		{"other log", func(d *schema.Definition) { d.Log = "ward" }, []schema.Change{{Text: "log patient becomes ward: the log of a type is fixed"}}},
		{"event gone", func(d *schema.Definition) { delete(d.Events, "release") },
			[]schema.Change{{Text: "event type release is gone: a stored event type can be removed, not forgotten"}}},
		{"event removed", func(d *schema.Definition) { d.Events["release"] = schema.Event{Removed: true} }, compatible("event type release is removed: it takes no new events")},
		{"event back", func(d *schema.Definition) { d.Events["triage"] = schema.Event{Fields: []string{"name"}} }, compatible("event type triage takes events again")},
		{"new event", func(d *schema.Definition) {
			d.Events["birth"] = schema.Event{Fields: []string{"weight", "name"}, Required: []string{"weight"}, Deletes: true}
		}, compatible("event type birth is new: fields name, weight; required weight; ends the aggregate", "field weight is new: string")},
		{"threshold and lock", func(d *schema.Definition) { d.SnapshotThreshold, d.Locked = 50, true },
			compatible("snapshot-threshold 25 becomes 50", "aggregate type patient is locked")},
		{"fields of an event", func(d *schema.Definition) {
			d.Events["crp"] = schema.Event{Fields: []string{"crp", "age"}, Required: []string{"age"}, Deletes: true}
		}, compatible("event type crp ends the aggregate", "event type crp gets the field age", "event type crp requires the field age", "event type crp no longer requires the field crp")},
		{"field rules", func(d *schema.Definition) {
			d.Fields["age"], d.Fields["frozen"] = schema.Field{Type: schema.Enum, Values: []string{"a"}, Locked: true}, schema.Field{}
		}, compatible("field age is locked", `field age: integer, at most 3 characters becomes enum of ["a"]`, "field frozen is unlocked")},
		{"field gone", func(d *schema.Definition) {
			d.Events["registration"] = schema.Event{Fields: []string{"age", "sex", "name", "note", "frozen"}, Required: []string{"age", "name"}}
			delete(d.Fields, "code")
		},
			compatible("event type registration loses the field code", "field code is gone")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := patient()
			tt.do(&d)
			if diff := cmp.Diff(tt.want, schema.Diff(compile(t, patient()), d)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func compatible(texts ...string) (out []schema.Change) {
	for _, text := range texts {
		out = append(out, schema.Change{Text: text, Compatible: true})
	}
	return out
}

func TestDiffOfANewType(t *testing.T) {
	d := schema.Definition{Aggregate: "x", SnapshotThreshold: 25, Events: map[string]schema.Event{"e": {Fields: []string{"f"}}}}
	want := compatible("aggregate type x is new, in the log x", "snapshot-threshold 0 becomes 25", "event type e is new: fields f", "field f is new: string")
	if diff := cmp.Diff(want, schema.Diff(nil, d)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestCarryOver(t *testing.T) {
	old := compile(t, patient())
	next := schema.Definition{Aggregate: "patient", SnapshotThreshold: 25, Events: map[string]schema.Event{"release": {}, "triage": {Fields: []string{"name"}}}}
	got := schema.CarryOver(old, next)
	for _, change := range schema.Diff(old, got) {
		if !change.Compatible {
			t.Errorf("got %q, want compatible changes only", change.Text)
		}
	}
	if e := got.Events["crp"]; !e.Removed || got.Fields["crp"].Type != schema.Decimal {
		t.Errorf("crp: got %+v of %+v, want it removed, its field as it was", e, got.Fields["crp"])
	}
	if got.Events["release"].Removed || got.Events["triage"].Removed || len(next.Events) != 2 {
		t.Errorf("got %v, want what the next definition names as it is, and that one unchanged", got.Events)
	}
	inWard := patient()
	inWard.Log = "ward"
	if got := schema.CarryOver(compile(t, inWard), next).Log; got != "ward" {
		t.Errorf("log of a definition that names none: got %q, want ward", got)
	}
	if same := schema.CarryOver(nil, next); len(same.Events) != 2 {
		t.Errorf("without an old one: got %v", same.Events)
	}
}
