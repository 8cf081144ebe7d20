package aggregate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func patient(t testing.TB) *schema.Schema {
	t.Helper()
	s, err := schema.Compile(schema.Definition{
		Aggregate: "patient",
		Fields: map[string]schema.Field{
			"age": {Type: schema.Integer}, "crp": {Type: schema.Decimal, MaxLength: 20}, "note": {Pattern: "[a-z ]*"}, "infusion": {Type: schema.Bool},
		},
		Events: map[string]schema.Event{
			"registration": {Fields: []string{"age", "note", "infusion", "crp", "sex"}, Required: []string{"age"}},
			"crp":          {Fields: []string{"crp"}, Required: []string{"crp"}},
			"release":      {},
			"death":        {Deletes: true},
		},
	}, 7)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(expected aggregate.Expected, events ...aggregate.NewEvent) aggregate.Change {
	return aggregate.Change{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Expected: expected, Events: events}
}

func TestDecide(t *testing.T) {
	at := event.Time(42)
	crp := aggregate.NewEvent{Type: "crp", Fields: set("crp", "21.0"), OccurredAt: &at}
	s := patient(t)
	got, problems := aggregate.Decide(s, aggregate.Head{Version: 3}, change(aggregate.Exactly(3), crp, aggregate.NewEvent{Type: "release"}))
	want := []event.Event{
		{Type: "crp", SchemaDigest: s.Digest, SchemaVersion: 7, OccurredAt: &at, Payload: []byte("\x01\x03crp\x01\x0421.0")},
		{Type: "release", SchemaDigest: s.Digest, SchemaVersion: 7, Payload: []byte{0}},
	}
	if diff := cmp.Diff(want, got); len(problems) != 0 || diff != "" {
		t.Errorf("got %v; events (-want +got):\n%s", problems, diff)
	}
}

func TestDecideExpectedVersion(t *testing.T) {
	never, three, ended := aggregate.Head{}, aggregate.Head{Version: 3}, aggregate.Head{Version: 3, Deleted: true}
	tests := []struct {
		expected aggregate.Expected
		head     aggregate.Head
		ok       bool
	}{
		{aggregate.Any, never, true}, {aggregate.Any, three, true}, {aggregate.Any, ended, true},
		{aggregate.None, never, true}, {aggregate.None, three, false}, {aggregate.None, ended, true},
		{aggregate.Exists, never, false}, {aggregate.Exists, three, true}, {aggregate.Exists, ended, false},
		{aggregate.Exactly(0), never, true}, {aggregate.Exactly(0), three, false}, {aggregate.Exactly(0), ended, false},
		{aggregate.Exactly(3), never, false}, {aggregate.Exactly(3), three, true}, {aggregate.Exactly(3), ended, true},
		{aggregate.Exactly(2), three, false}, {aggregate.Exactly(4), three, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s at %d %t", tt.expected, tt.head.Version, tt.head.Deleted), func(t *testing.T) {
			events, problems := aggregate.Decide(patient(t), tt.head, change(tt.expected, aggregate.NewEvent{Type: "release"}))
			if tt.ok {
				if len(events) != 1 || len(problems) != 0 {
					t.Errorf("got %v, %v, want one event", events, problems)
				}
				return
			}
			if len(events) != 0 || len(problems) != 1 {
				t.Fatalf("got %v, %v, want one problem", events, problems)
			}
			p := problems[0]
			if p.Code != problem.Conflict || p.Expected != tt.expected.String() || p.Actual != fmt.Sprint(tt.head.Version) || p.Hint == "" {
				t.Errorf("got %+v, want a conflict that expected %s and met %d", p, tt.expected, tt.head.Version)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	s := patient(t)
	release := aggregate.NewEvent{Type: "release"}
	tests := []struct {
		name   string
		schema *schema.Schema
		head   aggregate.Head
		change aggregate.Change
		code   problem.Code
		field  string
		text   string
	}{
		{"no schema", nil, aggregate.Head{}, change(aggregate.Any, release), problem.NotFound, "", "schema:create"},
		{"schema of another type", schema.System(schema.SystemKey), aggregate.Head{}, change(aggregate.Any, release), problem.NotFound, "", "patient"},
		{"unknown event", s, aggregate.Head{}, change(aggregate.Any, aggregate.NewEvent{Type: "relase"}), problem.Invalid, "", "release"},
		{"wrong type", s, aggregate.Head{}, change(aggregate.Any, aggregate.NewEvent{Type: "crp", Fields: set("crp", "high")}), problem.Invalid, "crp", "no decimal"},
		{"names the event among several", s, aggregate.Head{}, change(aggregate.Any, release, aggregate.NewEvent{Type: "crp"}), problem.Invalid, "crp", "event 1: "},
		{"last version", s, aggregate.Head{Version: event.MaxVersion}, change(aggregate.Any, release), problem.TooLarge, "", fmt.Sprint("go beyond ", uint64(event.MaxVersion))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, problems := aggregate.Decide(tt.schema, tt.head, tt.change)
			if len(events) != 0 || len(problems) != 1 {
				t.Fatalf("got %v, %v, want one problem", events, problems)
			}
			wantProblem(t, problems[0], tt.code, tt.field, tt.text)
		})
	}
}

func TestDecideNamesTheSchemaBeforeAConflict(t *testing.T) {
	events, problems := aggregate.Decide(patient(t), aggregate.Head{Version: 3}, change(aggregate.None, aggregate.NewEvent{Type: "crp"}))
	if len(events) != 0 || len(problems) != 2 {
		t.Fatalf("got %v, %v, want both problems", events, problems)
	}
	wantProblem(t, problems[0], problem.Invalid, "crp", "required")
	wantProblem(t, problems[1], problem.Conflict, "", "its newest is 3")
}

func TestDecideStopsAtAHundred(t *testing.T) {
	c := change(aggregate.Any)
	for range 4096 {
		c.Events = append(c.Events, aggregate.NewEvent{Type: strings.Repeat("x", 64)})
	}
	if _, problems := aggregate.Decide(patient(t), aggregate.Head{}, c); len(problems) != 100 {
		t.Errorf("got %d problems, want 100", len(problems))
	}
}

func BenchmarkDecide(b *testing.B) {
	s := patient(b)
	cmd := aggregate.Command{ID: "c", Changes: []aggregate.Change{change(aggregate.Any, aggregate.NewEvent{Type: "registration",
		Fields: set("age", "85", "sex", "female", "crp", "21.0", "note", "two words", "infusion", "true")})}}
	if p := cmd.Check(); p != nil {
		b.Fatal(p)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, p := aggregate.Decide(s, aggregate.Head{Version: 3}, cmd.Changes[0]); p != nil {
			b.Fatal(p)
		}
	}
}
