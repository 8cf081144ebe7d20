package aggregate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// sealedText is a sealed value; no key opens it.
var sealedText = (&event.SealedValue{Nonce: make([]byte, event.SealedNonceLen), Ciphertext: make([]byte, 20)}).String()

// The schema sees the text, the log the sealed value, and the digest what stands for the text there.
func TestSealedEvents(t *testing.T) {
	c := command()
	if p := c.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	before := c.Digest("user:ada")
	e := &c.Changes[0].Events[0]
	stored := []event.Field{{Name: "crp", Value: sealedText, Set: true, Sealed: true}}
	if err := e.Seal(stored, set("crp", "keyed")); err != nil {
		t.Fatal(err)
	}
	other := command()
	other.Changes[0].Events[0].Fields = set("crp", "keyed")
	if got, want := c.Digest("user:ada"), other.Digest("user:ada"); got != want || got == before {
		t.Errorf("digest: got %s, want %s, the one of what stands for the text", got, want)
	}
	events, problems := aggregate.Decide(patient(t), aggregate.Head{}, c.Changes[0])
	if len(problems) > 0 || len(events) != 1 {
		t.Fatalf("got %v, %v: the rules are about the text", events, problems)
	}
	fields, err := event.DecodePayload(events[0].Payload)
	if diff := cmp.Diff(stored, fields); err != nil || diff != "" {
		t.Errorf("stored: got %v (-want +got):\n%s", err, diff)
	}
	if e.Unseal(); c.Digest("user:ada") != before {
		t.Error("unsealed it has another digest than before")
	}
	if err := e.Seal([]event.Field{{Name: "crp", Value: "no seal", Set: true, Sealed: true}}, nil); err == nil {
		t.Error("a bad sealed value was taken")
	}
}

func TestCheckRefusesSealedFields(t *testing.T) {
	c := command()
	c.Changes[0].Events[0].Fields = []event.Field{{Name: "crp", Value: sealedText, Set: true, Sealed: true}}
	problems := c.Check()
	if len(problems) != 1 {
		t.Fatalf("got %v, want one problem", problems)
	}
	wantProblem(t, problems[0], problem.Malformed, "crp", "sealed")
}

func TestFoldKeepsNoteOfSealedFields(t *testing.T) {
	one := func(sealed bool, value string) event.Event {
		f := event.Field{Name: "name", Value: value, Set: value != "", Sealed: sealed}
		payload, err := event.EncodePayload([]event.Field{f, {Name: "other", Value: "x", Set: true}})
		if err != nil {
			t.Fatal(err)
		}
		return event.Event{Type: "crp", Payload: payload}
	}
	var s aggregate.State
	for i, step := range []struct {
		event   event.Event
		deletes bool
		want    map[string]event.Version
	}{
		{one(false, "plain"), false, nil}, {one(true, sealedText), false, map[string]event.Version{"name": 2}}, {one(true, sealedText), false, map[string]event.Version{"name": 3}},
		{one(false, "plain"), false, map[string]event.Version{}}, {one(true, sealedText), false, map[string]event.Version{"name": 5}}, {one(false, ""), false, map[string]event.Version{}},
		{one(true, sealedText), true, map[string]event.Version{"name": 7}}, {event.Event{Type: "crp", Payload: []byte{0}}, false, nil},
	} {
		before := s
		s = aggregate.Fold(s, step.event, step.deletes)
		if diff := cmp.Diff(step.want, s.Sealed); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i+1, diff)
		}
		if i == 2 && before.Sealed["name"] != 2 {
			t.Error("folding changed the state before")
		}
	}
}
