package aggregate_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// past is one event of a made-up history, with the key that its sealed values are under.
type past struct {
	event.Event
	deletes bool
	key     []byte
}

// life is an aggregate's history and its state at each version.
type life struct {
	events []past
	states []aggregate.State
}

func newLife() *life { return &life{states: []aggregate.State{{}}} }

func (l *life) add(e past) {
	l.events = append(l.events, e)
	l.states = append(l.states, aggregate.Fold(l.states[len(l.states)-1], e.Event, e.deletes))
}

// back works out what brings the aggregate back to a version, and how many events that took.
func (l *life) back(then int, forgotten func(event.Hash) bool) (*aggregate.Restoration, int) {
	p := aggregate.NewPast(event.Version(len(l.events)), event.Version(then))
	for v := len(l.events); v > 0; v-- {
		e := l.events[v-1]
		if !p.Add(event.Version(v), e.Event, e.deletes, e.key) {
			return p.Restore(forgotten), len(l.events) - v + 1
		}
	}
	return p.Restore(forgotten), len(l.events)
}

// restore stores a restoration.
func (l *life) restore(t *testing.T, r *aggregate.Restoration) {
	t.Helper()
	_, stored, err := r.Events()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range stored {
		l.add(past{Event: e, deletes: aggregate.EndsByRollback(&e)})
	}
}

func remembered(event.Hash) bool { return false }

// wantLife holds that the newest state is that of an earlier version.
func (l *life) wantLife(t *testing.T, then int) {
	t.Helper()
	got, want := l.states[len(l.states)-1], l.states[then]
	wantFields := want.Fields
	if wantFields == nil {
		wantFields = map[string]string{}
	}
	if got.Deleted != (want.Deleted || then == 0) {
		t.Errorf("as version %d: got deleted %v, want %v", then, got.Deleted, !got.Deleted)
	}
	if diff := cmp.Diff(wantFields, got.Fields); diff != "" && !(got.Deleted && l.states[len(l.states)-2].Deleted) {
		t.Errorf("as version %d (-want +got):\n%s", then, diff)
	}
}

// Any history, rolled back again and again: it folds to the earlier state, and a rollback of a rollback to that before it.
func TestRestoreFoldsToThePast(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		l := newLife()
		for range 1 + random.IntN(12) {
			l.add(randomPast(t, random))
			if random.IntN(3) > 0 {
				continue
			}
			then := random.IntN(len(l.events) + 1)
			deleted := l.states[len(l.states)-1].Deleted
			r, _ := l.back(then, remembered)
			if r == nil {
				if got, want := l.states[len(l.states)-1], l.states[then]; got.Deleted != (want.Deleted || then == 0) || !got.Deleted && !maps.Equal(got.Fields, want.Fields) {
					t.Fatalf("seed %d: nothing is restored to version %d: got %v, want %v", seed, then, got, want)
				}
				continue
			}
			if deleted && r.Ends {
				t.Fatalf("seed %d: what has ended ends again", seed)
			}
			l.restore(t, r)
			l.wantLife(t, then)
			if !l.states[len(l.states)-1].RolledBack {
				t.Errorf("seed %d: the state does not say that it was rolled back", seed)
			}
			if again, _ := l.back(then, remembered); again != nil {
				t.Fatalf("seed %d: restored once more: got %+v", seed, again)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, l.events)
		}
	}
}

func randomPast(t *testing.T, random *rand.Rand) past {
	var fields []event.Field
	for _, name := range []string{"a", "b", "c"} {
		switch random.IntN(5) {
		case 0:
			fields = append(fields, event.Field{Name: name})
		case 1, 2:
			fields = append(fields, event.Field{Name: name, Value: fmt.Sprint(random.IntN(3)), Set: true})
		}
	}
	payload, err := event.EncodePayload(fields)
	if err != nil {
		t.Fatal(err)
	}
	return past{Event: event.Event{Type: "e", Payload: payload}, deletes: random.IntN(6) == 0}
}

func pastOf(t *testing.T, key byte, fields ...event.Field) past {
	t.Helper()
	payload, err := event.EncodePayload(fields)
	if err != nil {
		t.Fatal(err)
	}
	p := past{Event: event.Event{Type: "e", Payload: payload}}
	if key > 0 {
		p.key = make([]byte, 32)
		p.key[0] = key
	}
	return p
}

func text(name, value string) event.Field { return event.Field{Name: name, Value: value, Set: true} }

// sealed makes a sealed value that is told from others by one byte.
func sealed(t *testing.T, name string, mark byte) event.Field {
	t.Helper()
	s := event.SealedValue{Nonce: make([]byte, event.SealedNonceLen), Ciphertext: make([]byte, 20)}
	s.Nonce[0] = mark
	return event.Field{Name: name, Value: s.String(), Set: true, Sealed: true}
}

// A long history is read only as far back as the fields that were touched go.
func TestRestoreReadsAsFarAsItMust(t *testing.T) {
	l := newLife()
	for i := range 1000 {
		l.add(pastOf(t, 0, text("a", fmt.Sprint(i)), text("b", fmt.Sprint(i))))
	}
	l.add(pastOf(t, 0, text("a", "wrong")))
	r, read := l.back(1000, remembered)
	if read != 2 || len(r.Fields) != 1 || r.Fields[0].Value != "999" {
		t.Errorf("got %+v behind %d events, want a=999 behind 2", r, read)
	}
	l.add(pastOf(t, 0, text("new", "wrong")))
	if r, read = l.back(1001, remembered); read != 1002 || r.Fields[0].Set {
		t.Errorf("got %+v behind %d events, want a field that is unset behind all 1002", r, read)
	}
}

// Forgotten stays forgotten: what was sealed under a key that is gone does not come back, and is named; what nobody touched stays as it is.
func TestRestoreOfForgottenValues(t *testing.T) {
	gone := func(h event.Hash) bool { return h[0] == 1 }
	l := newLife()
	l.add(pastOf(t, 1, sealed(t, "name", 1), sealed(t, "phone", 2)))
	l.add(pastOf(t, 2, sealed(t, "name", 3), text("ward", "7")))
	r, _ := l.back(1, gone)
	want := []aggregate.KeptField{{Field: event.Field{Name: "name"}}, {Field: event.Field{Name: "ward"}}}
	if diff := cmp.Diff(want, r.Fields); diff != "" || len(r.Lost) != 1 || r.Lost[0] != "name" {
		t.Errorf("lost %v (-want +got):\n%s", r.Lost, diff)
	}
	r, _ = l.back(1, remembered)
	if len(r.Fields) != 2 || !r.Fields[0].Sealed || r.Fields[0].Key[0] != 1 || len(r.Lost) > 0 {
		t.Errorf("while the key is there: got %+v", r)
	}
	l.add(past{Event: pastOf(t, 0).Event, deletes: true})
	r, _ = l.back(2, gone)
	if len(r.Fields) != 2 || r.Fields[0].Name != "name" || r.Fields[0].Key[0] != 2 || r.Fields[1].Name != "ward" || len(r.Lost) != 1 || r.Lost[0] != "phone" {
		t.Errorf("out of an end: got %+v", r)
	}
}

// A state of more fields than an event holds comes back in several.
func TestRestoreOfManyFields(t *testing.T) {
	l := newLife()
	var all []event.Field
	for i := range 2 * event.MaxFields {
		all = append(all, text(fmt.Sprintf("f%04d", i), "x"))
	}
	l.add(pastOf(t, 0, all[:event.MaxFields]...))
	l.add(pastOf(t, 0, all[event.MaxFields:]...))
	l.add(pastOf(t, 0, text("one", "more")))
	l.add(past{Event: pastOf(t, 0).Event, deletes: true})
	r, _ := l.back(3, remembered)
	l.restore(t, r)
	l.wantLife(t, 3)
	if len(l.events) != 7 {
		t.Errorf("got %d events, want 3 more than 4", len(l.events))
	}
	r, _ = l.back(0, remembered)
	l.restore(t, r)
	l.wantLife(t, 0)
}
