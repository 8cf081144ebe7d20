package event_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/event"
)

func drawID16(t *rapid.T, what string) (id event.ID16) {
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, what))
	id[0] |= 1 // never zero
	return id
}

func drawText(t *rapid.T, what string, limit int) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("aZ0 ä€🧪:/*>=")), 0, -1, limit).Draw(t, what)
}

func drawVisible(t *rapid.T, what string, least, limit int) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("!aZ0~:/*>=")), least, -1, limit).Draw(t, what)
}

func drawFields(t *rapid.T) []event.Field {
	one := rapid.Custom(func(t *rapid.T) event.Field {
		f := event.Field{Name: rapid.StringMatching(`[A-Za-z][A-Za-z0-9_]{0,63}`).Draw(t, "name"), Set: rapid.Bool().Draw(t, "set")}
		if f.Set {
			f.Value = rapid.String().Draw(t, "value")
		}
		if f.Sealed = f.Set && rapid.IntRange(0, 4).Draw(t, "sealed") == 0; f.Sealed {
			f.Value = drawSealed(t).String()
		}
		return f
	})
	return rapid.SliceOfNDistinct(one, 0, 20, func(f event.Field) string { return f.Name }).Draw(t, "fields")
}

func drawSealed(t *rapid.T) *event.SealedValue {
	s := &event.SealedValue{Compressed: rapid.Bool().Draw(t, "compressed"), Nonce: rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "nonce")}
	if rapid.Bool().Draw(t, "has a keyed hash") {
		s.Unique = new(event.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "keyed hash")))
	}
	s.Ciphertext = rapid.SliceOfN(rapid.Byte(), 16, 60).Draw(t, "ciphertext")
	return s
}

func TestSealedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSealed(t)
		got, err := event.ParseSealed(want.String())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("got %v (-want +got):\n%s", err, diff)
		}
	})
}

func drawEvent(t *rapid.T) event.Event {
	payload, err := event.EncodePayload(drawFields(t))
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Type: rapid.StringMatching(`[a-z][a-z0-9_-]{0,63}`).Draw(t, "event type"), Salt: drawID16(t, "salt"), Payload: payload}
	e.SchemaVersion = rapid.Uint64().Draw(t, "schema version")
	if rapid.Bool().Draw(t, "has occurred-at") {
		e.OccurredAt = new(event.Time(rapid.Int64().Draw(t, "occurred-at")))
	}
	return e
}

func drawCommit(t *rapid.T) *event.Commit {
	c := &event.Commit{
		ID: drawID16(t, "commit id"), Site: rapid.StringMatching(`[a-z][a-z0-9-]{0,19}`).Draw(t, "site"), Branch: rapid.Uint64().Draw(t, "branch"),
		CommandID: drawVisible(t, "command id", 1, event.MaxCommandIDLen), Actor: "user:" + drawText(t, "actor", 200) + ".",
		TokenID: drawVisible(t, "token id", 1, event.MaxTokenIDLen), Issuer: drawVisible(t, "issuer", 1, event.MaxTokenIDLen),
		Correlation: drawText(t, "correlation", event.MaxContextLen), Causation: drawText(t, "causation", event.MaxContextLen),
		Traceparent: drawVisible(t, "traceparent", 0, event.MaxContextLen), Time: event.Time(rapid.Int64().Draw(t, "time")),
		First: event.Version(rapid.Uint64Range(1, event.MaxVersion-10).Draw(t, "first")),
	}
	c.Aggregate.Type = rapid.StringMatching(`[a-z][a-z0-9_-]{0,39}`).Draw(t, "type")
	c.Aggregate.ID = norm.NFC.String("i" + drawText(t, "id", 100))
	c.Transaction = event.Transaction{ID: c.ID, Count: 1}
	if rapid.Bool().Draw(t, "in a transaction") {
		count := rapid.Uint64Range(2, 1<<40).Draw(t, "count")
		c.Transaction = event.Transaction{ID: drawID16(t, "transaction"), Index: rapid.Uint64Range(0, count-1).Draw(t, "index"), Count: count}
	}
	if rapid.Bool().Draw(t, "has a key commitment") {
		c.KeyCommitment = slices.Repeat([]byte{9}, 32)
	}
	c.Events = rapid.SliceOfN(rapid.Custom(drawEvent), 1, 5).Draw(t, "events")
	for i := range c.Events {
		if fields, err := event.DecodePayload(c.Events[i].Payload); err != nil || slices.ContainsFunc(fields, func(f event.Field) bool { return f.Sealed }) {
			c.KeyCommitment = slices.Repeat([]byte{9}, 32)
		}
	}
	return c
}

func TestPayloadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := drawFields(t)
		given := slices.Clone(fields)
		raw, err := event.EncodePayload(fields)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.DecodePayload(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(given, fields); diff != "" {
			t.Fatalf("EncodePayload changed its input (-want +got):\n%s", diff)
		}
		slices.SortFunc(given, func(a, b event.Field) int { return strings.Compare(a.Name, b.Name) })
		if diff := cmp.Diff(given, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("fields read back (-want +got):\n%s", diff)
		}
	})
}

func TestCommitRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommit(t)
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.DecodeCommit(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("commit read back (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(c.Leaves(), back.Leaves()); diff != "" {
			t.Fatalf("leaves of the commit read back (-want +got):\n%s", diff)
		}
	})
}

func TestPositionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := event.Position{
			Log: rapid.StringMatching(`[a-z][a-z0-9_-]{0,39}`).Draw(t, "log"), Sequence: rapid.Uint64Min(1).Draw(t, "sequence"),
			Index: rapid.Uint32().Draw(t, "index"), Block: drawID16(t, "block"),
		}
		back, err := event.ParsePosition(p.String())
		if err != nil {
			t.Fatal(err)
		}
		if back != p {
			t.Fatalf("got %v, want %v", back, p)
		}
	})
}

// Every byte of a commit is either refused when it changes, or changes a leaf, or is one that section 4 says no leaf holds.
func TestEveryByteOfACommitIsHeld(t *testing.T) {
	c := newCommit(1)
	c.CommandDigest = event.Hash{1}
	raw, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := c.Leaf(0)
	for i := range raw {
		changed := slices.Clone(raw)
		changed[i] ^= 1
		other, err := event.DecodeCommit(changed)
		if err != nil || other.Leaf(0) != want {
			continue
		}
		hold := *other
		hold.CommandDigest, hold.Root, hold.Events = c.CommandDigest, c.Root, slices.Clone(other.Events)
		hold.Events[0].SchemaVersion = c.Events[0].SchemaVersion
		if diff := cmp.Diff(c, &hold); diff != "" {
			t.Errorf("byte %d changed and the leaf did not (-want +got):\n%s", i, diff)
		}
	}
}

func TestEncodeRefusesWhatCannotBeStored(t *testing.T) {
	for name, spoil := range map[string]func(*event.Commit){
		"no events":        func(c *event.Commit) { c.Events = nil },
		"too many events":  func(c *event.Commit) { c.Events = make([]event.Event, event.MaxCommitEvents+1) },
		"version 0":        func(c *event.Commit) { c.First = 0 },
		"version too high": func(c *event.Commit) { c.First = event.MaxVersion + 1 },
		"actor":            func(c *event.Commit) { c.Actor = "ada" },
		"id not in NFC":    func(c *event.Commit) { c.Aggregate.ID = "A\u030a" },
		"event type":       func(c *event.Commit) { c.Events[0].Type = "CRP" },
		"transaction":      func(c *event.Commit) { c.Transaction.Index = 1 },
		"key commitment":   func(c *event.Commit) { c.KeyCommitment = []byte{1} },
	} {
		c := newCommit(1)
		spoil(c)
		if _, err := c.Encode(); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	for name, fields := range map[string][]event.Field{
		"twice":          {{Name: "a"}, {Name: "b"}, {Name: "a"}},
		"name":           {{Name: "_a"}},
		"unset, a value": {{Name: "a", Value: "x"}},
		"too many":       make([]event.Field, event.MaxFields+1),
		"bad UTF-8":      {{Name: "a", Value: "\xff", Set: true}},
		"too long":       {{Name: "a", Value: strings.Repeat("x", event.MaxValueLen+1), Set: true}},
	} {
		if _, err := event.EncodePayload(fields); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("fields %s: got %v, want ErrInvalid", name, err)
		}
	}
}
