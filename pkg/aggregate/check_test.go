package aggregate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func command() *aggregate.Command {
	return &aggregate.Command{ID: "c-1", Changes: []aggregate.Change{{
		Aggregate: event.AggregateID{Type: "patient", ID: "A"},
		Events:    []aggregate.NewEvent{{Type: "crp", Fields: set("crp", "21.0")}},
	}}}
}

func TestCheck(t *testing.T) {
	type c = aggregate.Command
	tests := []struct {
		name  string
		do    func(*c)
		code  problem.Code
		field string
		text  string
	}{
		{"no command id", func(x *c) { x.ID = "" }, problem.Malformed, "command id", "1 to 128"},
		{"command id with a blank", func(x *c) { x.ID = "a b" }, problem.Malformed, "command id", ""},
		{"long correlation", func(x *c) { x.Correlation = strings.Repeat("x", 129) }, problem.Malformed, "correlation", "129 bytes"},
		{"causation with a line break", func(x *c) { x.Causation = "a\r\nb" }, problem.Malformed, "causation", "control"},
		{"causation not UTF-8", func(x *c) { x.Causation = "\xff" }, problem.Malformed, "causation", "UTF-8"},
		{"traceparent", func(x *c) { x.Traceparent = "00 11" }, problem.Malformed, "traceparent", "0x21"},
		{"long traceparent", func(x *c) { x.Traceparent = strings.Repeat("0", 129) }, problem.Malformed, "traceparent", "129"},
		{"no change", func(x *c) { x.Changes = nil }, problem.Malformed, "commits", "no aggregate"},
		{"no event", func(x *c) { x.Changes[0].Events = nil }, problem.Malformed, "events", "no event"},
		{"type", func(x *c) { x.Changes[0].Aggregate.Type = "$JS.x" }, problem.Malformed, "type", "lower-case"},
		{"id", func(x *c) { x.Changes[0].Aggregate.ID = "" }, problem.Malformed, "id", "1 to 128"},
		{"id not NFC", func(x *c) { x.Changes[0].Aggregate.ID = "e\u0301" }, problem.Malformed, "id", "normalisation"},
		{"event type", func(x *c) { x.Changes[0].Events[0].Type = "a.*" }, problem.Malformed, "events[0].event", "event type"},
		{"field name", func(x *c) { x.Changes[0].Events[0].Fields[0].Name = "a b" }, problem.Malformed, "a b", "a letter"},
		{"field twice", func(x *c) { x.Changes[0].Events[0].Fields = set("a", "1", "a", "2") }, problem.Malformed, "events[0].fields", "twice"},
		{"value not UTF-8", func(x *c) { x.Changes[0].Events[0].Fields[0].Value = "\xff" }, problem.Malformed, "crp", "UTF-8"},
		{"long value", func(x *c) { x.Changes[0].Events[0].Fields[0].Value = strings.Repeat("x", 3<<19) }, problem.TooLarge, "crp", "1572864"},
		{"unset with a value", func(x *c) { x.Changes[0].Events[0].Fields[0].Set = false }, problem.Malformed, "crp", "unset"},
		{"many fields", func(x *c) { x.Changes[0].Events[0].Fields = wantMany(1025) }, problem.TooLarge, "events[0].fields", "1025"},
		{"aggregate twice", func(x *c) { x.Changes = append(x.Changes, x.Changes[0]) }, problem.Malformed, "commits[1]", "commits[0]"},
		{"path in a transaction", func(x *c) {
			x.Changes = append(x.Changes, aggregate.Change{Aggregate: event.AggregateID{Type: "ward", ID: "B"}})
		}, problem.Malformed, "commits[1].events", "no event"},
		{"many changes", func(x *c) { x.Changes = changes(513, 1) }, problem.TooLarge, "commits", "513"},
		{"many events", func(x *c) { x.Changes = changes(1, 4097) }, problem.TooLarge, "commits", "4097"},
		{"many events over all", func(x *c) { x.Changes = changes(5, 820) }, problem.TooLarge, "commits", "4100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := command()
			tt.do(x)
			problems := x.Check()
			if len(problems) != 1 {
				t.Fatalf("got %d problems %v, want 1", len(problems), problems)
			}
			wantProblem(t, problems[0], tt.code, tt.field, tt.text)
		})
	}
}

func changes(n, events int) []aggregate.Change {
	out := make([]aggregate.Change, n)
	for i := range out {
		out[i].Aggregate = event.AggregateID{Type: "ward", ID: fmt.Sprint(i)}
		for range events {
			out[i].Events = append(out[i].Events, aggregate.NewEvent{Type: "opened"})
		}
	}
	return out
}

func TestCheckAccepts(t *testing.T) {
	for _, id := range []string{"*", ">", "a.*", "../../etc", "$JS.x", "-x", "two words", "😀", strings.Repeat("x", 128)} {
		x := command()
		x.Changes[0].Aggregate.ID, x.Correlation, x.Traceparent = id, "é", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		if p := x.Check(); len(p) != 0 {
			t.Errorf("id %q: got %v, want no problem", id, p)
		}
	}
	x := command()
	x.Changes = changes(aggregate.MaxChanges, 8)
	if p := x.Check(); len(p) != 0 {
		t.Errorf("largest transaction: got %v, want no problem", p)
	}
}

func TestCheckListsEverything(t *testing.T) {
	x := &aggregate.Command{Correlation: "\n", Changes: []aggregate.Change{{Events: []aggregate.NewEvent{{Fields: set("a b", "\xff", "c", "\xff")}}}}}
	if p := x.Check(); len(p) != 7 {
		t.Errorf("got %d problems %v, want 7", len(p), p)
	}
	x.Changes = changes(1, 4096)
	for i := range x.Changes[0].Events {
		x.Changes[0].Events[i].Type = ""
	}
	if p := x.Check(); len(p) != 100 {
		t.Errorf("got %d problems, want it to stop at 100", len(p))
	}
}

func TestExpected(t *testing.T) {
	good := map[string]aggregate.Expected{"any": {}, "none": aggregate.None, "exists": aggregate.Exists, "0": aggregate.Exactly(0), "3": aggregate.Exactly(3), "9223372036854775806": aggregate.Exactly(1<<63 - 2)}
	for in, want := range good {
		if got, err := aggregate.ParseExpected(in); err != nil || got != want || got.String() != in {
			t.Errorf("%s: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "+1", "01", "00", "abc", "Any", "1.0", "1e1", " 1", "9223372036854775807", "9223372036854775808", "18446744073709551616", "0x1", "1_0", strings.Repeat("9", 5000)} {
		_, err := aggregate.ParseExpected(in)
		if err == nil {
			t.Errorf("%q: got no error", in)
			continue
		}
		wantProblem(t, err, problem.Malformed, "", "any, none, exists")
	}
}

func TestDigestVectors(t *testing.T) {
	raw, err := os.ReadFile("../../docs/spec/vectors/digest.json")
	var vectors []vector
	if err := errors.Join(err, json.Unmarshal(raw, &vectors)); err != nil || len(vectors) == 0 {
		t.Fatalf("read vectors: got %d, %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			for name, c := range map[string]*aggregate.Command{"checked": v.command(t), "unchecked": v.command(t)} {
				if name == "checked" {
					if p := c.Check(); len(p) != 0 {
						t.Fatalf("check: got %v, want no problem", p)
					}
				}
				if got := c.Digest(v.Actor).String(); got != v.Digest {
					t.Errorf("%s: got %s, want %s", name, got, v.Digest)
				}
			}
		})
	}
}

// vector is one entry of docs/spec/vectors/digest.json.
type vector struct {
	Name, Actor, Digest string
	Commits             []struct {
		Type, ID string
		Expected string `json:"expected_version"`
		Events   []struct {
			Event      string
			OccurredAt *string `json:"occurred_at"`
			Fields     []struct {
				Name  string
				Kind  int
				Value string
			}
		}
	}
}

func (v vector) command(t *testing.T) *aggregate.Command {
	t.Helper()
	c := &aggregate.Command{ID: "vector"}
	for _, commit := range v.Commits {
		expected, err := aggregate.ParseExpected(commit.Expected)
		if err != nil {
			t.Fatal(err)
		}
		change := aggregate.Change{Aggregate: event.AggregateID{Type: commit.Type, ID: commit.ID}, Expected: expected}
		for _, e := range commit.Events {
			ne := aggregate.NewEvent{Type: e.Event}
			if e.OccurredAt != nil {
				var n int64
				if _, err := fmt.Sscan(*e.OccurredAt, &n); err != nil {
					t.Fatal(err)
				}
				at := event.Time(n)
				ne.OccurredAt = &at
			}
			for _, f := range e.Fields {
				ne.Fields = append(ne.Fields, event.Field{Name: f.Name, Value: f.Value, Set: f.Kind == 1})
			}
			change.Events = append(change.Events, ne)
		}
		c.Changes = append(c.Changes, change)
	}
	return c
}

func TestDigestTellsCommandsApart(t *testing.T) {
	base := command().Digest("org-group:A")
	same := command()
	same.ID, same.Correlation, same.Causation, same.Traceparent, same.DryRun = "other", "x", "y", "z", true
	if diff := cmp.Diff(base, same.Digest("org-group:A")); diff != "" {
		t.Errorf("context is no part of the digest: %s", diff)
	}
	zero := event.Time(0)
	for name, do := range map[string]func(*aggregate.Command){
		"expected":    func(c *aggregate.Command) { c.Changes[0].Expected = aggregate.Exactly(0) },
		"occurred-at": func(c *aggregate.Command) { c.Changes[0].Events[0].OccurredAt = &zero },
		"unset":       func(c *aggregate.Command) { c.Changes[0].Events[0].Fields = []event.Field{{Name: "crp"}} },
		"boundary":    func(c *aggregate.Command) { c.Changes[0].Aggregate = event.AggregateID{Type: "patientA", ID: ""} },
		"event":       func(c *aggregate.Command) { c.Changes[0].Events[0].Type = "crq" },
		"one more":    func(c *aggregate.Command) { c.Changes[0].Events = append(c.Changes[0].Events, c.Changes[0].Events[0]) },
	} {
		c := command()
		do(c)
		if c.Digest("org-group:A") == base {
			t.Errorf("%s: got the same digest, want another", name)
		}
	}
	if command().Digest("org-group:B") == base {
		t.Error("actor: got the same digest, want another")
	}
}

func BenchmarkCheckAndDigest(b *testing.B) {
	c := command()
	c.Changes[0].Events[0].Fields = set("age", "85", "sex", "female", "crp", "21.0", "note", "two words", "infusion", "true")
	b.ReportAllocs()
	for b.Loop() {
		if p := c.Check(); p != nil {
			b.Fatal(p)
		}
		c.Digest("org-group:A")
	}
}
