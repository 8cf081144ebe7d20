package eventlogtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

func follow(t *testing.T, l eventlog.Log, after uint64) eventlog.Cursor {
	t.Helper()
	c, err := l.Follow(within(t), after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// wantMessages reads messages from..to from a cursor.
func wantMessages(t *testing.T, c eventlog.Cursor, from, to uint64) {
	t.Helper()
	ctx := within(t)
	for i := from; i <= to; i++ {
		m, err := c.Next(ctx)
		if d := cmp.Diff(eventlog.Message{Sequence: i, Data: data(i)}, m); d != "" || err != nil {
			t.Errorf("message %d: %v, -want +got\n%s", i, err, d)
			return
		}
	}
}

func testFollowStored(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 30)
	for _, after := range []uint64{0, 1, 15, 29} {
		wantMessages(t, follow(t, l, after), after+1, 30)
	}
}

func testFollowLive(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	empty := follow(t, l, 0)
	fill(t, l, 5)
	end := follow(t, l, 5)
	var workers sync.WaitGroup
	workers.Go(func() { wantMessages(t, empty, 1, 300) })
	workers.Go(func() { wantMessages(t, end, 6, 300) })
	for i := uint64(5); i < 300; i++ {
		if err := outcome(t, l.Append(i, data(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	workers.Wait()
}

func testFollowBeyondTheEnd(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	for after := range uint64(3) {
		if c, err := l.Follow(within(t), after+1); !errors.Is(err, eventlog.ErrRewound) {
			t.Errorf("behind %d of a log that ends at %d: got %v, %v, want ErrRewound", after+1, after, c, err)
		}
		if err := outcome(t, l.Append(after, data(after+1))); err != nil {
			t.Fatal(err)
		}
	}
}

// Next ends with its own context, and the cursor goes on from where it was.
func testFollowCancelled(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 1)
	following, stopFollowing := context.WithCancel(within(t))
	c, err := l.Follow(following, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	stopFollowing() // the context of Follow is for Follow alone
	wantMessages(t, c, 1, 1)
	short, cancel := context.WithTimeout(within(t), 30*time.Millisecond)
	defer cancel()
	if m, err := c.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next at the end: got %v, %v, want DeadlineExceeded", m, err)
	}
	if m, err := c.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next with an ended context: got %v, %v, want DeadlineExceeded", m, err)
	}
	for i := uint64(1); i < 10; i++ {
		if err := outcome(t, l.Append(i, data(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	wantMessages(t, c, 2, 10)
}

func testFollowByMany(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	const cursors, n = 20, 60
	var workers sync.WaitGroup
	for range cursors {
		c := follow(t, l, 0)
		workers.Go(func() { wantMessages(t, c, 1, n) })
	}
	fill(t, l, n)
	workers.Wait()
}

func testContextEnded(t *testing.T, s eventlog.Store) {
	l := create(t, s, "patient")
	fill(t, l, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Get":    func() error { _, err := l.Get(ended, 1); return err },
		"Bounds": func() error { _, _, err := l.Bounds(ended); return err },
		"Follow": func() error { _, err := l.Follow(ended, 0); return err },
		"Open":   func() error { _, err := s.Open(ended, "patient"); return err },
		"Create": func() error { _, err := s.Create(ended, "patient"); return err },
		"List":   func() error { _, err := s.List(ended); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want Canceled", name, err)
		}
	}
}
