package projector_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
)

// rewrites holds that rewrite refuses with ErrContent, or gives what it got; with lax it may give another spelling, which is final.
func rewrites(t *testing.T, rewrite func([]byte) ([]byte, error), b []byte, lax bool) {
	t.Helper()
	once, err := rewrite(b)
	if err != nil {
		if !errors.Is(err, projector.ErrContent) {
			t.Errorf("got %v, want ErrContent", err)
		}
		return
	}
	if !lax && !bytes.Equal(once, b) {
		t.Errorf("got %x, want %x", once, b)
	}
	if twice, err := rewrite(once); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("got %x, %v, want %x", twice, err, once)
	}
}

// FuzzParseRecord is lax: numbers may be longer than they need to be.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 28))
	f.Add(append(make([]byte, 28), 1, 0, 3, 'r', 'a', 'w'))
	f.Add(append(make([]byte, 28), 1, 0, 4, 'r', 'a', 'w'))
	f.Add(append(append(make([]byte, 28), 1, 1, 3), make([]byte, 35)...))
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, projector.RewriteRecord, b, true) })
}

func FuzzParsePlace(f *testing.F) {
	var chain event.Chain
	f.Add([]byte{})
	f.Add(make([]byte, 8))
	f.Add(chain.AppendBinary(make([]byte, 8)))
	f.Add(append(chain.AppendBinary(make([]byte, 8)), 0))
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, projector.RewritePlace, b, false) })
}

// FuzzAppendJSON holds that pages of history, and states, are written as encoding/json writes it.
func FuzzAppendJSON(f *testing.F) {
	f.Add("plain", "name", true, uint64(1))
	f.Add("\b\f\n\r\t\x00\x1f\x7f\"\\/<>&", "é世\U0001f600\u2028\u2029", false, uint64(1<<63))
	f.Add("\xff\xc3(\xe2\x80", "\ufffd", true, uint64(0))
	f.Fuzz(func(t *testing.T, text, name string, set bool, number uint64) {
		e := projector.Event{Version: number, Event: text, Fields: projector.Fields{{Name: name, Value: text, Set: set}, {Name: text, Value: name, Set: true}},
			Actor: name, Token: text, Issuer: name, Time: text, Hash: name, Position: text, Commit: name, Command: text, SchemaVersion: number}
		other := e
		other.OccurredAt, other.Fields = text, nil
		for _, h := range []projector.History{{Events: []projector.Event{}}, {Events: []projector.Event{e}, Cursor: name}, {Events: []projector.Event{e, other}}} {
			want, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(h.AppendJSON([]byte("x"))); got != "x"+string(want) {
				t.Errorf("got %s, want x%s", got, want)
			}
		}
		state := projector.State{Type: text, ID: name, Version: number, Fields: map[string]string{name: text, "a": name, "z": ""}, Deleted: set, Archived: !set, Root: name, Hash: text, Time: name, Actor: text}
		whole := state
		whole.OccurredAt, whole.RolledBack, whole.Shredded, whole.Fields = text, name, []string{name, text}, map[string]string{}
		for _, s := range []projector.State{{}, state, whole} {
			want, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(s.AppendJSON([]byte("x"))); got != "x"+string(want) {
				t.Errorf("got %s, want x%s", got, want)
			}
		}
		fields := map[string]string{name: text}
		want, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (projector.Fields{{Name: name, Value: text, Set: true}}).MarshalJSON(); err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	})
}

// FuzzCursor holds that a cursor which nobody sealed is refused as malformed, whatever it is.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"log\x00patient\x00id", "", strings.Repeat("x", 100)} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("bG9n\n")
	f.Add("====")
	f.Fuzz(func(t *testing.T, s string) {
		if err := projector.OpenCursor(s); s != "" && !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("got %v, want a problem that says malformed", err)
		}
	})
}
