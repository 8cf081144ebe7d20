// Package eventlogtest is the suite that every implementation of eventlog.Store must pass.
package eventlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// patience is how long anything may take before the suite fails.
const patience = time.Minute

// Run runs the suite. newStore gives an empty store, which ends with the test it is given.
func Run(t *testing.T, newStore func(t *testing.T) eventlog.Store) {
	tests := []struct {
		name string
		test func(*testing.T, eventlog.Store)
	}{
		{"CreateOpenList", testCreateOpenList},
		{"CreateByMany", testCreateByMany},
		{"AppendAndReadBack", testAppendAndReadBack},
		{"WrongExpectation", testWrongExpectation},
		{"TwoInFlight", testTwoInFlight},
		{"TwoInFlightBehindALostRace", testTwoInFlightBehindALostRace},
		{"TwoInFlightAgainstOneRival", testTwoInFlightAgainstOneRival},
		{"Rivals", testRivals},
		{"PipelinedRivals", testPipelinedRivals},
		{"Sizes", testSizes},
		{"GetMissing", testGetMissing},
		{"Bounds", testBounds},
		{"FollowStored", testFollowStored},
		{"FollowLive", testFollowLive},
		{"FollowBeyondTheEnd", testFollowBeyondTheEnd},
		{"FollowCancelled", testFollowCancelled},
		{"FollowByMany", testFollowByMany},
		{"ContextEnded", testContextEnded},
		{"LogsAreApart", testLogsAreApart},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, newStore(t)) })
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, s eventlog.Store, name string) eventlog.Log {
	t.Helper()
	l, err := s.Create(within(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// outcome waits for an append; it must come by itself.
func outcome(t *testing.T, p eventlog.Pending) error {
	t.Helper()
	select {
	case <-p.Done():
		return p.Err()
	case <-time.After(patience):
		t.Fatalf("got no outcome after %v", patience)
		return nil
	}
}

func data(n uint64) []byte { return fmt.Appendf(nil, "message %d", n) }

// fill appends messages 1 to n to an empty log.
func fill(t *testing.T, l eventlog.Log, n uint64) {
	t.Helper()
	for i := range n {
		if err := outcome(t, l.Append(i, data(i+1))); err != nil {
			t.Fatal(err)
		}
	}
}

// wantContent reads the log from its start by Get.
func wantContent(t *testing.T, l eventlog.Log, want ...[]byte) {
	t.Helper()
	if _, last, err := l.Bounds(within(t)); err != nil || last != uint64(len(want)) {
		t.Fatalf("got last sequence %d, %v, want %d", last, err, len(want))
	}
	for i, w := range want {
		m, err := l.Get(within(t), uint64(i+1))
		if err != nil || m.Sequence != uint64(i+1) || !bytes.Equal(m.Data, w) {
			t.Errorf("Get(%d): got sequence %d, %.100q, %v, want %.100q", i+1, m.Sequence, m.Data, err, w)
		}
	}
}

func testCreateOpenList(t *testing.T, s eventlog.Store) {
	ctx := within(t)
	if _, err := s.Open(ctx, "patient"); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("Open before Create: got %v, want ErrNotFound", err)
	}
	if names, err := s.List(ctx); err != nil || len(names) != 0 {
		t.Errorf("List of an empty store: got %q, %v, want none", names, err)
	}
	for _, name := range []string{"patient", "eventful", "a-b_c1", "patient"} {
		l, err := s.Create(ctx, name)
		if err != nil || l.Name() != name {
			t.Fatalf("Create(%s): got %v, %v", name, l, err)
		}
		if l, err = s.Open(ctx, name); err != nil || l.Name() != name {
			t.Fatalf("Open(%s): got %v, %v", name, l, err)
		}
	}
	names, err := s.List(ctx)
	if d := cmp.Diff([]string{"a-b_c1", "eventful", "patient"}, names); d != "" || err != nil {
		t.Errorf("List: %v, -want +got\n%s", err, d)
	}
	for _, name := range []string{"", "*", ">", "a.b", "A", "-a", "a b", "a\x00", "../x"} {
		if l, err := s.Create(ctx, name); err == nil {
			t.Errorf("Create(%q): got %v, want an error", name, l)
		}
		if _, err := s.Open(ctx, name); !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("Open(%q): got %v, want ErrNotFound", name, err)
		}
	}
}

func testCreateByMany(t *testing.T, s eventlog.Store) {
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			if _, err := s.Create(within(t), "patient"); err != nil {
				t.Errorf("Create: %v", err)
			}
		})
	}
	workers.Wait()
	fill(t, create(t, s, "patient"), 1)
	wantContent(t, create(t, s, "patient"), data(1)) // Create leaves what is there
}

func testAppendAndReadBack(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 50)
	want := make([][]byte, 50)
	for i := range want {
		want[i] = data(uint64(i + 1))
	}
	wantContent(t, l, want...)
}

func testWrongExpectation(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	if err := outcome(t, l.Append(1, data(0))); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("behind 1 of an empty log: got %v, want ErrTaken", err)
	}
	fill(t, l, 3)
	for _, expected := range []uint64{0, 1, 2, 4, 100, 1 << 62} {
		if err := outcome(t, l.Append(expected, data(0))); !errors.Is(err, eventlog.ErrTaken) {
			t.Errorf("behind %d of a log that ends at 3: got %v, want ErrTaken", expected, err)
		}
	}
	wantContent(t, l, data(1), data(2), data(3))
}

func testTwoInFlight(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	const n = 200
	var flight []eventlog.Pending
	for i := range uint64(n) {
		flight = append(flight, l.Append(i, data(i+1)))
		if len(flight) == 2 {
			if err := outcome(t, flight[0]); err != nil {
				t.Fatalf("append: %v", err)
			}
			flight = flight[1:]
		}
	}
	if err := outcome(t, flight[0]); err != nil {
		t.Fatal(err)
	}
	if _, last, err := l.Bounds(within(t)); err != nil || last != n {
		t.Errorf("got last sequence %d, %v, want %d", last, err, n)
	}
}

// The first in flight finds its place taken, and so does the second: two messages of the rival are there.
func testTwoInFlightBehindALostRace(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 3)
	first, second := l.Append(1, data(90)), l.Append(2, data(91))
	for name, p := range map[string]eventlog.Pending{"first": first, "second": second} {
		if err := outcome(t, p); !errors.Is(err, eventlog.ErrTaken) {
			t.Errorf("%s: got %v, want ErrTaken", name, err)
		}
	}
	wantContent(t, l, data(1), data(2), data(3))
}

// The rival stored one message only, so the place of the second in flight is free: it is stored there, void by its content, and says so.
func testTwoInFlightAgainstOneRival(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 1)
	first, second := l.Append(0, data(90)), l.Append(1, data(91))
	if err := outcome(t, first); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("first: got %v, want ErrTaken", err)
	}
	if err := outcome(t, second); err != nil {
		t.Errorf("second: got %v, want it stored at its own place", err)
	}
	wantContent(t, l, data(1), data(91))
}

func testRivals(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	const rivals, rounds = 20, 15
	var want [][]byte
	for round := range uint64(rounds) {
		outcomes := make([]error, rivals)
		var workers sync.WaitGroup
		for r := range rivals {
			workers.Go(func() {
				mine := create(t, s, "patient")
				outcomes[r] = mine.Append(round, fmt.Appendf(nil, "round %d, rival %d", round, r)).Err()
			})
		}
		workers.Wait()
		winners := 0
		for r, err := range outcomes {
			switch {
			case err == nil:
				winners++
				want = append(want, fmt.Appendf(nil, "round %d, rival %d", round, r))
			case !errors.Is(err, eventlog.ErrTaken):
				t.Errorf("round %d, rival %d: got %v, want ErrTaken", round, r, err)
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: got %d winners, want 1", round, winners)
		}
	}
	wantContent(t, l, want...)
}

// Rivals that each keep two in flight: what was acknowledged lies at its place, and nothing else was stored.
func testPipelinedRivals(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	const rivals, end = 4, 60
	var (
		workers sync.WaitGroup
		mu      sync.Mutex // guards stored
		stored  = map[uint64][]byte{}
	)
	settle := func(expected uint64, d []byte, p eventlog.Pending) {
		mu.Lock()
		defer mu.Unlock()
		switch err := p.Err(); {
		case err == nil && stored[expected+1] != nil:
			t.Errorf("sequence %d was given to %s and to %s", expected+1, stored[expected+1], d)
		case err == nil:
			stored[expected+1] = d
		case !errors.Is(err, eventlog.ErrTaken):
			t.Errorf("%s: got %v, want ErrTaken", d, err)
		}
	}
	for r := range rivals {
		workers.Go(func() {
			for round := 0; ; round++ {
				_, last, err := l.Bounds(within(t))
				if err != nil || last >= end {
					return // wantContent tells of an error
				}
				one, two := fmt.Appendf(nil, "rival %d, %d, first", r, round), fmt.Appendf(nil, "rival %d, %d, second", r, round)
				first, second := l.Append(last, one), l.Append(last+1, two)
				settle(last, one, first)
				settle(last+1, two, second)
			}
		})
	}
	workers.Wait()
	want := make([][]byte, len(stored))
	for sequence, d := range stored {
		if sequence > uint64(len(want)) {
			t.Fatalf("sequence %d of %d was acknowledged, one before it was not", sequence, len(want))
		}
		want[sequence-1] = d
	}
	wantContent(t, l, want...)
}

func testSizes(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	large := bytes.Repeat([]byte("0123456789"), 90_000)
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	for i, d := range [][]byte{large, binary, {0}} {
		if err := outcome(t, l.Append(uint64(i), d)); err != nil {
			t.Fatalf("append of %d bytes: %v", len(d), err)
		}
	}
	for _, d := range [][]byte{nil, {}, make([]byte, 2<<20)} {
		if err := outcome(t, l.Append(3, d)); !errors.Is(err, eventlog.ErrRefused) {
			t.Errorf("append of %d bytes: got %v, want ErrRefused", len(d), err)
		}
	}
	wantContent(t, l, large, binary, []byte{0})
}

func testGetMissing(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 2)
	for _, sequence := range []uint64{0, 3, 1 << 62} {
		if m, err := l.Get(within(t), sequence); !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("Get(%d): got %v, %v, want ErrNotFound", sequence, m, err)
		}
	}
}

func testBounds(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	want := func(first, last uint64) {
		t.Helper()
		f, n, err := l.Bounds(within(t))
		if err != nil || f != first || n != last {
			t.Errorf("got %d, %d, %v, want %d, %d", f, n, err, first, last)
		}
	}
	want(1, 0)
	for i := range uint64(10) { // never older than an outcome
		if err := outcome(t, l.Append(i, data(i))); err != nil {
			t.Fatal(err)
		}
		want(1, i+1)
	}
}

func testLogsAreApart(t *testing.T, s eventlog.Store) {
	one, two := create(t, s, "patient"), create(t, s, "patient-2")
	fill(t, one, 2)
	fill(t, two, 1)
	wantContent(t, one, data(1), data(2))
	wantContent(t, two, data(1))
}
