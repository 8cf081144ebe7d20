package aggregate_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// happened is an event as Fold takes it.
type happened struct {
	Fields  []event.Field
	Deletes bool
}

func (h happened) fold(s aggregate.State, fatal func(...any)) aggregate.State {
	payload, err := event.EncodePayload(h.Fields)
	if err != nil {
		fatal(err)
	}
	return aggregate.Fold(s, event.Event{Type: "e", Payload: payload}, h.Deletes)
}

func TestFold(t *testing.T) {
	type state = aggregate.State
	unset := []event.Field{{Name: "a"}}
	tests := []struct {
		name  string
		given state
		when  []happened
		then  state
	}{
		{"first event", state{}, []happened{{Fields: set("a", "1")}}, state{Version: 1, Fields: map[string]string{"a": "1"}}},
		{"no fields", state{}, []happened{{}}, state{Version: 1, Fields: map[string]string{}}},
		{"last writer wins per field", state{}, []happened{{Fields: set("a", "1", "b", "1")}, {Fields: set("a", "2")}}, state{Version: 2, Fields: map[string]string{"a": "2", "b": "1"}}},
		{"unset removes", state{}, []happened{{Fields: set("a", "1", "b", "1")}, {Fields: unset}}, state{Version: 2, Fields: map[string]string{"b": "1"}}},
		{"unset of nothing", state{}, []happened{{Fields: unset}}, state{Version: 1, Fields: map[string]string{}}},
		{"empty is not unset", state{}, []happened{{Fields: set("a", "")}}, state{Version: 1, Fields: map[string]string{"a": ""}}},
		{"ended keeps its fields", state{}, []happened{{Fields: set("a", "1")}, {Fields: set("why", "moved"), Deletes: true}}, state{Version: 2, Fields: map[string]string{"a": "1", "why": "moved"}, Deleted: true}},
		{"created again starts empty", state{Version: 2, Fields: map[string]string{"a": "1"}, Deleted: true}, []happened{{Fields: set("b", "2")}}, state{Version: 3, Fields: map[string]string{"b": "2"}}},
		{"created again without fields", state{Version: 2, Fields: map[string]string{"a": "1"}, Deleted: true}, []happened{{}}, state{Version: 3, Fields: map[string]string{}}},
		{"ended twice", state{Version: 2, Fields: map[string]string{"a": "1"}, Deleted: true}, []happened{{Deletes: true}}, state{Version: 3, Fields: map[string]string{}, Deleted: true}},
		{"from a snapshot", state{Version: 25, Fields: map[string]string{"a": "1"}}, []happened{{Fields: set("b", "2")}}, state{Version: 26, Fields: map[string]string{"a": "1", "b": "2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := maps.Clone(tt.given.Fields)
			got := tt.given
			for _, h := range tt.when {
				got = h.fold(got, t.Fatal)
			}
			if diff := cmp.Diff(tt.then, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			if !maps.Equal(before, tt.given.Fields) {
				t.Errorf("given state: got %v, want %v as before", tt.given.Fields, before)
			}
		})
	}
}

func TestFoldOfAnUnreadablePayload(t *testing.T) {
	given := aggregate.State{Version: 1, Fields: map[string]string{"a": "1"}}
	want := aggregate.State{Version: 2, Fields: map[string]string{"a": "1"}}
	if diff := cmp.Diff(want, aggregate.Fold(given, event.Event{Payload: []byte("\xff")}, false)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// TestFoldModel holds Fold against a model that looks for each field backwards through the history.
func TestFoldModel(t *testing.T) {
	field := rapid.Custom(func(t *rapid.T) event.Field {
		f := event.Field{Name: rapid.SampledFrom([]string{"a", "b", "c", "A"}).Draw(t, "name"), Set: rapid.Bool().Draw(t, "set")}
		if f.Set {
			f.Value = rapid.StringN(0, 3, 8).Draw(t, "value")
		}
		return f
	})
	one := rapid.Custom(func(t *rapid.T) happened {
		name := func(f event.Field) string { return f.Name }
		return happened{Fields: rapid.SliceOfNDistinct(field, 0, 4, name).Draw(t, "fields"), Deletes: rapid.IntRange(0, 4).Draw(t, "deletes") == 0}
	})
	rapid.Check(t, func(t *rapid.T) {
		history := rapid.SliceOfN(one, 0, 30).Draw(t, "history")
		states := []aggregate.State{{}}
		for _, h := range history {
			states = append(states, h.fold(states[len(states)-1], func(a ...any) { t.Fatal(a...) }))
		}
		for version, got := range states { // all of them at the end: no later fold may have changed one
			if diff := cmp.Diff(model(history[:version]), got); diff != "" {
				t.Fatalf("state at version %d (-want +got):\n%s", version, diff)
			}
		}
	})
}

// step is an event of a history that may be sealed or a rollback's.
type step struct {
	fields              []event.Field
	deletes, rolledBack bool
}

func (s step) event() event.Event {
	if s.rolledBack {
		return event.Event{Type: "e", SchemaDigest: schema.RolledBackDigest}
	}
	return event.Event{Type: "e"}
}

// TestBackwardIsFold holds Backward, from any state in the middle, against Fold.
func TestBackwardIsFold(t *testing.T) {
	field := rapid.Custom(func(t *rapid.T) event.Field {
		f := event.Field{Name: rapid.SampledFrom([]string{"a", "b", "c", "A"}).Draw(t, "name"), Set: rapid.Bool().Draw(t, "set")}
		if f.Set {
			f.Value, f.Sealed = rapid.StringN(0, 3, 8).Draw(t, "value"), rapid.Bool().Draw(t, "sealed")
		}
		return f
	})
	rapid.Check(t, func(t *rapid.T) {
		var history []step
		states := []aggregate.State{{}}
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			h := step{rapid.SliceOfNDistinct(field, 0, 4, func(f event.Field) string { return f.Name }).Draw(t, "fields"), rapid.IntRange(0, 4).Draw(t, "deletes") == 0, rapid.Bool().Draw(t, "rolled back")}
			history = append(history, h)
			states = append(states, aggregate.FoldFields(states[len(states)-1], h.event(), h.fields, h.deletes))
		}
		to := rapid.IntRange(0, len(history)).Draw(t, "to")
		from := rapid.IntRange(0, to).Draw(t, "from")
		var past aggregate.Backward
		for i := to - 1; i >= from; i-- {
			e := history[i].event()
			if !past.Add(event.Version(i+1), &e, history[i].fields, history[i].deletes) {
				from = 0 // nothing before it matters
				break
			}
		}
		base := maps.Clone(states[from].Fields)
		if diff := cmp.Diff(states[to], past.Behind(states[from]), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("state at version %d (-want +got):\n%s", to, diff)
		}
		if !maps.Equal(base, states[from].Fields) {
			t.Fatal("the state in front was changed")
		}
	})
}

func model(history []happened) aggregate.State {
	if len(history) == 0 {
		return aggregate.State{}
	}
	s := aggregate.State{Version: event.Version(len(history)), Fields: map[string]string{}, Deleted: history[len(history)-1].Deletes}
	seen := map[string]bool{}
	for i, h := range slices.Backward(history) {
		if h.Deletes && i < len(history)-1 {
			break
		}
		for _, f := range h.Fields {
			if f.Set && !seen[f.Name] {
				s.Fields[f.Name] = f.Value
			}
			seen[f.Name] = true
		}
	}
	return s
}

func BenchmarkFold(b *testing.B) {
	payload, err := event.EncodePayload(set("age", "85", "sex", "female", "crp", "21.0"))
	if err != nil {
		b.Fatal(err)
	}
	s := aggregate.State{Fields: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}}
	b.ReportAllocs()
	for b.Loop() {
		aggregate.Fold(s, event.Event{Payload: payload}, false)
	}
}
