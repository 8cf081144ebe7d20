package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/snapshot/snapshottest"
)

var ada = event.AggregateID{Type: "patient", ID: "Ada Lovelace"}

func keep(t *testing.T, m *snapshottest.Memory) *snapshot.Snapshots {
	t.Helper()
	s, err := snapshot.New(snapshot.Config{Site: "here", Bucket: m, Wrap: [32]byte{1}, Name: [32]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(v event.Version, comment string) snapshot.Snapshot {
	return snapshot.Snapshot{
		Log: "patient", Type: ada.Type, ID: ada.ID, Version: v, Hash: fmt.Sprintf("%064x", v), Fields: []snapshot.Field{{Name: "crp", Value: "a value of " + fmt.Sprint(v)}},
		Requested: comment != "", Comment: comment, Taken: time.Unix(int64(v), 0).UTC(),
	}
}

func put(t *testing.T, s *snapshot.Snapshots, one snapshot.Snapshot) {
	t.Helper()
	if err := s.Put(t.Context(), one); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, s *snapshot.Snapshots) (out []string) {
	t.Helper()
	found, err := s.List(t.Context(), "patient", ada)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		out = append(out, fmt.Sprintf("%d %s %v", f.Version, f.Comment, f.Err != nil))
	}
	return out
}

func TestNewestByNumberStays(t *testing.T) {
	m := snapshottest.NewMemory()
	s := keep(t, m)
	if one, err := s.Newest(t.Context(), "patient", ada); one != nil || err != nil {
		t.Errorf("got %+v, %v, want none", one, err)
	}
	var running sync.WaitGroup
	for _, v := range []event.Version{500, 1000, 1500, 700} {
		running.Go(func() { put(t, s, at(v, "")) })
	}
	running.Wait()
	want := at(1500, "")
	want.Format = 1
	got, err := keep(t, m).Newest(t.Context(), "patient", ada)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("newest (-want +got):\n%s", diff)
	}
	if keys := m.Keys(); len(keys) != 1 || strings.Contains(keys[0], "Ada") || !strings.HasPrefix(keys[0], "patient.") {
		t.Errorf("got the keys %v, want one that does not tell the id", keys)
	}
	m.Edit(m.Keys()[0], func(sealed []byte) []byte {
		if bytes.Contains(sealed, []byte("value")) || bytes.Contains(sealed, []byte("Ada")) {
			t.Error("a snapshot lies in plain text")
		}
		return sealed
	})
}

func TestRequestedOnesAreKept(t *testing.T) {
	m := snapshottest.NewMemory()
	s := keep(t, m)
	put(t, s, at(1000, ""))
	for v := range event.Version(20) {
		put(t, s, at(2*v+1, fmt.Sprint("comment ", v)))
	}
	put(t, s, at(39, "said again"))
	got := list(t, s)
	if len(got) != snapshot.MaxRequested+1 || got[0] != "9 comment 4 false" || got[15] != "39 said again false" || got[16] != "1000  false" {
		t.Errorf("got %q, want the sixteen newest and the one by number", got)
	}
	put(t, s, at(2, "an early one"))
	if got := list(t, s); len(got) != snapshot.MaxRequested+1 || got[0] != "2 an early one false" || got[1] != "11 comment 5 false" {
		t.Errorf("got %q, want the one that was just taken, and no version 9", got)
	}
	if n, err := s.Remove(t.Context(), "patient", event.AggregateID{Type: "patient", ID: "Bob"}); n != 0 || err != nil {
		t.Errorf("of another one: got %d, %v", n, err)
	}
	if n, err := s.Remove(t.Context(), "patient", ada); n != 17 || err != nil || len(m.Keys()) != 0 {
		t.Errorf("removed %d, %v, left %v", n, err, m.Keys())
	}
}

// One that was changed, moved, sealed under another key or by a later program is none; a list names it.
func TestWhatCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, m *snapshottest.Memory){
		"changed": func(_ *testing.T, m *snapshottest.Memory) {
			m.Edit(m.Keys()[0], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		},
		"cut": func(_ *testing.T, m *snapshottest.Memory) {
			m.Edit(m.Keys()[0], func(b []byte) []byte { return b[:3] })
		},
		"another key": func(t *testing.T, m *snapshottest.Memory) {
			other, err := snapshot.New(snapshot.Config{Site: "here", Bucket: m, Wrap: [32]byte{9}, Name: [32]byte{2}})
			if err != nil {
				t.Fatal(err)
			}
			put(t, other, at(2000, ""))
		},
		"moved": func(t *testing.T, m *snapshottest.Memory) {
			other := at(5, "")
			other.ID = "Bob"
			own := m.Keys()[0]
			put(t, keep(t, m), other)
			var of []byte
			for _, key := range m.Keys() {
				if key != own {
					m.Edit(key, func(b []byte) []byte { of = b; return b })
				}
			}
			m.Edit(own, func([]byte) []byte { return of })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := snapshottest.NewMemory()
			s := keep(t, m)
			put(t, s, at(1000, ""))
			spoil(t, m)
			if one, err := s.Newest(t.Context(), "patient", ada); one != nil || err != nil {
				t.Errorf("got %+v, %v, want none", one, err)
			}
			if got := list(t, s); len(got) != 1 || !strings.HasSuffix(got[0], "true") {
				t.Errorf("got %q, want one that cannot be read", got)
			}
			put(t, s, at(1500, "")) // and it is replaced
			if one, err := s.Newest(t.Context(), "patient", ada); err != nil || one == nil || one.Version != 1500 {
				t.Errorf("got %+v, %v, want version 1500", one, err)
			}
		})
	}
}

func TestLargeState(t *testing.T) {
	one := at(500, "")
	one.Fields[0].Value = strings.Repeat("x", 1<<20)
	if err := keep(t, snapshottest.NewMemory()).Put(t.Context(), one); !errors.Is(err, snapshot.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}
