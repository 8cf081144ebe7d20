package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func patient() schema.Definition {
	return schema.Definition{
		Aggregate: "patient", SnapshotThreshold: 25,
		Fields: map[string]schema.Field{
			"age":    {Type: schema.Integer, MaxLength: 3},
			"crp":    {Type: schema.Decimal},
			"code":   {Pattern: "[a-z]+|[0-9]+"},
			"sex":    {Type: schema.Enum, Values: []string{"male", "female", "diverse"}},
			"name":   {MaxLength: 4},
			"frozen": {Locked: true},
		},
		Events: map[string]schema.Event{
			"registration": {Fields: []string{"age", "sex", "name", "note", "frozen", "code"}, Required: []string{"age", "name"}},
			"crp":          {Fields: []string{"crp"}, Required: []string{"crp"}},
			"release":      {},
			"death":        {Deletes: true},
			"triage":       {Fields: []string{"name"}, Removed: true},
		},
	}
}

// found is what a test compares of a problem.
type found struct {
	Code  problem.Code
	Field string
	Text  string // part of detail or hint
}

func TestCheckEvent(t *testing.T) {
	ok := set("age", "7", "name", "Jane")
	tests := []struct {
		name   string
		event  string
		fields []event.Field
		want   []found
	}{
		{"accepted", "registration", ok, nil},
		{"optional unset", "registration", append(ok[:2:2], event.Field{Name: "sex"}), nil},
		{"no field at all", "release", nil, nil},
		{"implicit field takes any text", "registration", append(ok[:2:2], set("note", "\x00 anything")...), nil},
		{"length in characters", "registration", set("age", "7", "name", "äöü€"), nil},
		{"unknown event", "regstration", ok, []found{{problem.Invalid, "", "registration, death, release, crp"}}},
		{"removed event", "triage", nil, []found{{problem.Invalid, "", "was removed"}}},
		{"unknown field", "crp", set("crp", "1", "cpr", "2"), []found{{problem.Invalid, "cpr", "fields of crp: crp"}}},
		{"unknown field where there is none", "release", set("a", "1"), []found{{problem.Invalid, "a", "none"}}},
		{"field of another event", "crp", set("crp", "1", "age", "2"), []found{{problem.Invalid, "age", "no field"}}},
		{"case counts", "crp", set("CRP", "1"), []found{{problem.Invalid, "CRP", "crp"}, {problem.Invalid, "crp", "required"}}},
		{"missing", "registration", set("age", "7"), []found{{problem.Invalid, "name", "required"}}},
		{"required unset", "registration", append(set("name", "Jane"), event.Field{Name: "age"}), []found{{problem.Invalid, "age", "cannot be unset"}}},
		{"required twice is not two", "registration", set("age", "7", "age", "8"), []found{{problem.Invalid, "age", "twice"}, {problem.Invalid, "name", "required"}}},
		{"type", "registration", set("age", "seven", "name", "Jane"), []found{{problem.Invalid, "age", "no integer"}}},
		{"enum", "registration", append(ok[:2:2], set("sex", "mal")...), []found{{problem.Invalid, "sex", "male, female, diverse"}}},
		{"too long", "registration", set("age", "7", "name", "Janet"), []found{{problem.Invalid, "name", "5 characters, at most 4"}}},
		{"too long integer", "registration", set("age", "1000", "name", "Jane"), []found{{problem.Invalid, "age", "at most 3"}}},
		{"pattern covers the whole value", "registration", append(ok[:2:2], set("code", "abc1")...), []found{{problem.Invalid, "code", "pattern"}}},
		{"pattern is no line match", "registration", append(ok[:2:2], set("code", "abc\n")...), []found{{problem.Invalid, "code", "pattern"}}},
		{"locked field", "registration", append(ok[:2:2], set("frozen", "x")...), []found{{problem.Locked, "frozen", "--lock=false"}}},
		{"locked field unset", "registration", append(ok[:2:2], event.Field{Name: "frozen"}), []found{{problem.Locked, "frozen", "locked"}}},
		{"everything at once", "registration", set("age", "x", "sex", "y", "zzz", "1"),
			[]found{{problem.Invalid, "age", ""}, {problem.Invalid, "sex", ""}, {problem.Invalid, "zzz", ""}, {problem.Invalid, "name", ""}}},
	}
	s := compile(t, patient())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expect(t, s.CheckEvent(tt.event, tt.fields), tt.want) })
	}
}

func TestLockedType(t *testing.T) {
	d := patient()
	d.Locked = true
	s := compile(t, d)
	expect(t, s.CheckEvent("release", nil), []found{{problem.Locked, "", "patient is locked"}})
	expect(t, s.CheckEvent("triage", nil), []found{{problem.Locked, "", ""}, {problem.Invalid, "", "removed"}})
	if p := s.CheckStored("release", nil); len(p) != 0 {
		t.Errorf("stored event of a locked type: got %v, want none", p)
	}
	if p := s.CheckStored("triage", set("name", "x")); len(p) != 0 {
		t.Errorf("stored event of a removed type: got %v, want none", p)
	}
	if p := s.CheckStored("registration", set("age", "7", "name", "J", "frozen", "x")); len(p) != 0 {
		t.Errorf("stored event with a locked field: got %v, want none", p)
	}
	expect(t, s.CheckStored("registration", set("age", "x", "name", "J")), []found{{problem.Invalid, "age", "integer"}})
	if !s.Deletes("death") || s.Deletes("release") || s.Deletes("nothing") {
		t.Error("Deletes: want it of death alone")
	}
}

func expect(t *testing.T, problems []*problem.Problem, want []found) {
	t.Helper()
	var got []found
	for i, p := range problems {
		f := found{Code: p.Code, Field: p.Field}
		if i < len(want) && strings.Contains(p.Detail+p.Hint, want[i].Text) {
			f.Text = want[i].Text
		} else {
			f.Text = p.Detail + " / " + p.Hint
		}
		got = append(got, f)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestHintsAreFew(t *testing.T) {
	d := schema.Definition{Aggregate: "x", Events: map[string]schema.Event{}}
	for i := range 50 {
		d.Events[fmt.Sprintf("event-%02d", i)] = schema.Event{}
	}
	p := compile(t, d).CheckEvent("event-7", nil)
	const want = "event types of x: event-07, event-17, event-27, event-37, event-47, event-00, event-01, event-02, event-03, event-04, …"
	if len(p) != 1 || p[0].Hint != want {
		t.Errorf("got %q, want %q", p[0].Hint, want)
	}
	p = compile(t, d).CheckEvent(strings.Repeat("x", 5000), nil)
	if n := len(p[0].Detail) + len(p[0].Hint); n > 500 {
		t.Errorf("text about an event type of 5000 bytes: got %d bytes, want at most 500", n)
	}
}

func TestValuesStayOutOfProblems(t *testing.T) {
	s := compile(t, patient())
	const secret = "Smith-Jones"
	for _, p := range s.CheckEvent("registration", set("age", secret, "name", secret, "sex", secret, "code", secret, "frozen", secret)) {
		if strings.Contains(p.Detail+p.Hint, secret) {
			t.Errorf("%s: got the value in the text, want it left out", p.Detail)
		}
	}
}

func TestCheckEventAllocatesNothing(t *testing.T) {
	s := compile(t, patient())
	fields := set("age", "71", "sex", "female", "name", "Jane", "code", "abc")
	if n := testing.AllocsPerRun(100, func() { s.CheckEvent("registration", fields) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkCheckEvent(b *testing.B) {
	s := compile(b, patient())
	fields := set("age", "71", "sex", "female", "name", "Jane", "code", "abc")
	b.ReportAllocs()
	for b.Loop() {
		if p := s.CheckEvent("registration", fields); p != nil {
			b.Fatal(p)
		}
	}
}
