// Package leasetest is the suite that every implementation of lease.Table must pass.
package leasetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// patience is how long anything may take before the suite fails.
const patience = 20 * time.Second

// Run runs the suite. newTable gives an empty table, which ends with the test it is given.
func Run(t *testing.T, newTable func(t *testing.T) lease.Table) {
	tests := []struct {
		name string
		test func(*testing.T, lease.Table)
	}{
		{"PutComparesAndSets", testPut},
		{"DeleteComparesToo", testDelete},
		{"AKeyComesBack", testComesBack},
		{"ManyPutAtOnce", testManyPut},
		{"OneDeletesOnePuts", testDeleteAgainstPut},
		{"OddKeysAndValues", testOdd},
		{"WatchTellsAllThenWhatFollows", testWatch},
		{"WatchOfNothing", testWatchEmpty},
		{"WatchKeepsTheOrder", testWatchOrder},
		{"WatchByMany", testWatchByMany},
		{"ContextEnded", testContextEnded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, newTable(t)) })
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// Birth is the revision of what is not in the table.
func Birth(t *testing.T, table lease.Table) (revision uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := table.Watch(ctx, func(c lease.Change) {
		if c.Key == "" && !c.Reset && revision == 0 {
			revision = c.Revision
			cancel()
		}
	})
	if err != nil || revision == 0 {
		t.Fatalf("the table has no birth: %v", err)
	}
	return revision
}

// put writes a record; revision 0: one that is new.
func put(t *testing.T, table lease.Table, key, value string, revision uint64) uint64 {
	t.Helper()
	if revision == 0 {
		revision = Birth(t, table)
	}
	r, err := table.Put(within(t), key, []byte(value), revision)
	if err != nil {
		t.Fatalf("put %s behind %d: %v", key, revision, err)
	}
	if r <= revision {
		t.Fatalf("put %s behind %d: got revision %d, want a higher one", key, revision, r)
	}
	return r
}

func remove(t *testing.T, table lease.Table, key string, revision uint64) {
	t.Helper()
	if err := table.Delete(within(t), key, revision); err != nil {
		t.Fatalf("delete %s at %d: %v", key, revision, err)
	}
}

func wantConflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, lease.ErrConflict) {
		t.Errorf("%s: got %v, want ErrConflict", what, err)
	}
}

// Watcher watches a table from a goroutine of its own until its test ends.
type Watcher struct {
	t       *testing.T
	changes chan lease.Change
}

// Watch begins to watch.
func Watch(t *testing.T, table lease.Table) *Watcher {
	t.Helper()
	w := &Watcher{t: t, changes: make(chan lease.Change, 10_000)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := table.Watch(ctx, func(c lease.Change) { w.changes <- c }); err != nil {
			t.Errorf("watch: got %v, want nil when its context ends", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// Next waits for the next change.
func (w *Watcher) Next() lease.Change {
	w.t.Helper()
	select {
	case c := <-w.changes:
		return c
	case <-time.After(patience):
		w.t.Fatalf("the watch told nothing for %v", patience)
		return lease.Change{}
	}
}

// Whole reads until the table was seen whole, and gives the values.
func (w *Watcher) Whole() map[string]string {
	w.t.Helper()
	values := map[string]string{}
	for {
		switch c := w.Next(); {
		case c.Reset:
			clear(values)
		case c.Key == "":
			return values
		case c.Value == nil:
			delete(values, c.Key)
		default:
			values[c.Key] = string(c.Value)
		}
	}
}

func testPut(t *testing.T, table lease.Table) {
	first := put(t, table, "a.log.x", "1", 0)
	_, err := table.Put(within(t), "a.log.x", []byte("2"), Birth(t, table))
	wantConflict(t, "put as new what exists", err)
	_, err = table.Put(within(t), "a.log.new", []byte("2"), 0)
	wantConflict(t, "put behind no revision", err)
	_, err = table.Put(within(t), "a.log.x", []byte("2"), first+1)
	wantConflict(t, "put behind a revision that is to come", err)
	_, err = table.Put(within(t), "a.log.y", []byte("2"), first)
	wantConflict(t, "put a new key behind another's revision", err)
	second := put(t, table, "a.log.x", "2", first)
	_, err = table.Put(within(t), "a.log.x", []byte("3"), first)
	wantConflict(t, "put behind a former revision", err)
	put(t, table, "a.log.y", "1", 0)
	put(t, table, "a.log.x", "3", second)
	want := map[string]string{"a.log.x": "3", "a.log.y": "1"}
	if diff := cmp.Diff(want, Watch(t, table).Whole()); diff != "" {
		t.Error(diff)
	}
}

func testDelete(t *testing.T, table lease.Table) {
	first := put(t, table, "a", "1", 0)
	second := put(t, table, "a", "2", first)
	wantConflict(t, "delete a former revision", table.Delete(within(t), "a", first))
	wantConflict(t, "delete what does not exist", table.Delete(within(t), "b", second))
	remove(t, table, "a", second)
	wantConflict(t, "delete again", table.Delete(within(t), "a", second))
	_, err := table.Put(within(t), "a", []byte("3"), second)
	wantConflict(t, "put behind the revision that was deleted", err)
	if got := Watch(t, table).Whole(); len(got) > 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func testComesBack(t *testing.T, table lease.Table) {
	revision := put(t, table, "a", "1", 0)
	for i := range 3 {
		remove(t, table, "a", revision)
		next := put(t, table, "a", fmt.Sprint(i), 0)
		if next <= revision {
			t.Errorf("got revision %d behind %d, want a higher one", next, revision)
		}
		revision = next
	}
	_, err := table.Put(within(t), "a", []byte("x"), Birth(t, table))
	wantConflict(t, "put as new what came back", err)
}

// Of all that put behind one revision exactly one succeeds, round after round.
func testManyPut(t *testing.T, table lease.Table) {
	const many, rounds = 8, 20
	revision := Birth(t, table)
	for round := range rounds {
		var all sync.WaitGroup
		won := make(chan uint64, many)
		for i := range many {
			all.Go(func() {
				r, err := table.Put(within(t), "a", fmt.Appendf(nil, "%d by %d", round, i), revision)
				if err == nil {
					won <- r
				} else if !errors.Is(err, lease.ErrConflict) {
					t.Errorf("got %v, want ErrConflict", err)
				}
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d of %d succeeded, want one", round, len(won), many)
		}
		revision = <-won
	}
}

func testDeleteAgainstPut(t *testing.T, table lease.Table) {
	for range 20 {
		revision := put(t, table, "a", "1", 0)
		var both sync.WaitGroup
		var deleted, changed error
		var next uint64
		both.Go(func() { deleted = table.Delete(within(t), "a", revision) })
		both.Go(func() { next, changed = table.Put(within(t), "a", []byte("2"), revision) })
		both.Wait()
		if (deleted == nil) == (changed == nil) {
			t.Fatalf("delete: %v, put: %v: want exactly one to succeed", deleted, changed)
		}
		if changed == nil {
			wantConflict(t, "delete", deleted)
			remove(t, table, "a", next)
		} else {
			wantConflict(t, "put", changed)
		}
	}
}

func testOdd(t *testing.T, table lease.Table) {
	want := map[string]string{
		"north-1.log.a_b-c":    "\x00\xff{",
		"north-1.member.AZaz9": string(make([]byte, 20_000)),
	}
	for key, value := range want {
		put(t, table, key, value, 0)
	}
	if diff := cmp.Diff(want, Watch(t, table).Whole()); diff != "" {
		t.Error(diff)
	}
}

func testWatch(t *testing.T, table lease.Table) {
	a := put(t, table, "a", "1", 0)
	b := put(t, table, "b", "1", 0)
	w := Watch(t, table)
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "1"}, w.Whole()); diff != "" {
		t.Error(diff)
	}
	a2 := put(t, table, "a", "2", a)
	remove(t, table, "b", b)
	c := put(t, table, "c", "1", 0)
	if diff := cmp.Diff(lease.Change{Key: "a", Value: []byte("2"), Revision: a2}, w.Next()); diff != "" {
		t.Error(diff)
	}
	if gone := w.Next(); gone.Key != "b" || gone.Value != nil || gone.Revision <= a2 || gone.Revision >= c {
		t.Errorf("got %+v, want the end of b, between %d and %d", gone, a2, c)
	}
	if diff := cmp.Diff(lease.Change{Key: "c", Value: []byte("1"), Revision: c}, w.Next()); diff != "" {
		t.Error(diff)
	}
}

func testWatchEmpty(t *testing.T, table lease.Table) {
	w := Watch(t, table)
	if got := w.Whole(); len(got) != 0 {
		t.Errorf("got %v, want an empty table", got)
	}
	r := put(t, table, "a", "1", 0)
	if diff := cmp.Diff(lease.Change{Key: "a", Value: []byte("1"), Revision: r}, w.Next()); diff != "" {
		t.Error(diff)
	}
}

// What is written while the watch begins is seen, and nothing is seen out of order.
func testWatchOrder(t *testing.T, table lease.Table) {
	const changes = 300
	revision := put(t, table, "a", "0", 0)
	w := Watch(t, table)
	for i := 1; i <= changes; i++ {
		revision = put(t, table, "a", fmt.Sprint(i), revision)
	}
	last, whole := uint64(0), false
	for last < revision || !whole {
		c := w.Next()
		if c.Reset {
			t.Fatal("the watch began anew without a reason")
		}
		whole = whole || c.Key == ""
		if c.Key != "" {
			if c.Revision < last {
				t.Fatalf("got revision %d behind %d", c.Revision, last)
			}
			last = c.Revision
		}
	}
}

func testWatchByMany(t *testing.T, table lease.Table) {
	put(t, table, "a", "1", 0)
	var watchers []*Watcher
	for range 5 {
		watchers = append(watchers, Watch(t, table))
	}
	for _, w := range watchers {
		w.Whole()
	}
	b := put(t, table, "b", "1", 0)
	for _, w := range watchers {
		if c := w.Next(); c.Key != "b" || c.Revision != b {
			t.Errorf("got %+v, want b at %d", c, b)
		}
	}
}

func testContextEnded(t *testing.T, table lease.Table) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.Put(ctx, "a", []byte("1"), 0); err == nil {
		t.Error("put: got nil, want an error")
	}
	if err := table.Delete(ctx, "a", 1); err == nil || errors.Is(err, lease.ErrConflict) {
		t.Errorf("delete: got %v, want the context's error", err)
	}
	if err := table.Watch(ctx, func(lease.Change) {}); err != nil {
		t.Errorf("watch: got %v, want nil", err)
	}
}
