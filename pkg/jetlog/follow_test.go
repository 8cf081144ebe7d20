package jetlog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

func (f fixture) follow(t *testing.T, after uint64) eventlog.Cursor {
	t.Helper()
	c, err := f.log.Follow(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f fixture) consumers(t *testing.T) int {
	t.Helper()
	stream, err := f.admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Consumers
}

func TestStopDeletesTheConsumer(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.fill(t, 1, 3)
	for range 5 {
		c := f.follow(t, 0)
		wantNext(t, c, 1, 3)
		if got := f.consumers(t); got != 1 {
			t.Errorf("while following: got %d consumers, want 1", got)
		}
		c.Stop()
		if got := f.consumers(t); got != 0 {
			t.Errorf("after Stop: got %d consumers, want 0", got)
		}
	}
	f.follow(t, 0).Stop() // before anything was read
}

// A restart of the server neither skips nor repeats.
func TestFollowOverRestarts(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.fill(t, 1, 40)
	c := f.follow(t, 0)
	defer c.Stop()
	wantNext(t, c, 1, 10)
	for restart := range uint64(3) {
		f.server.Stop()
		f.server.Start()
		if _, last, err := f.log.Bounds(t.Context()); err != nil || last != 40+restart*20 { // waits for the server
			t.Fatalf("got last %d, %v, want %d", last, err, 40+restart*20)
		}
		f.fill(t, 41+restart*20, 60+restart*20)
		wantNext(t, c, 11+restart*20, 30+restart*20)
	}
	wantNext(t, c, 71, 100)
}

func TestStopWhileTheServerIsAway(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.fill(t, 1, 1)
	c := f.follow(t, 0)
	wantNext(t, c, 1, 1)
	f.server.Stop()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	begin := time.Now()
	c.Stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Stop took %v, want less than 3 s", took)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(t *testing.T, f fixture)
		want    error
	}{
		"the log is gone": {func(t *testing.T, f fixture) {
			if err := f.admin.DeleteStream(t.Context(), streamName); err != nil {
				t.Fatal(err)
			}
		}, eventlog.ErrNotFound},
		"the connection is closed": {func(_ *testing.T, f fixture) { f.admin.Conn().Close() }, eventlog.ErrUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{})
			f.fill(t, 1, 5)
			c := f.follow(t, 0)
			defer c.Stop()
			wantNext(t, c, 1, 5)
			test.prepare(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if m, err := c.Next(ctx); !errors.Is(err, test.want) {
				t.Errorf("got %v, %v, want %v", m, err, test.want)
			}
		})
	}
}

// A server that went down may come up with less than it had acknowledged, and use sequences again.
func TestFollowNoticesALostEnd(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.fill(t, 1, 3)
	f.server.Stop()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(f.server.Dir())); err != nil {
		t.Fatal(err)
	}
	f.server.Start()
	if _, _, err := f.log.Bounds(t.Context()); err != nil { // waits for the server
		t.Fatal(err)
	}
	f.fill(t, 4, 6)
	c := f.follow(t, 0)
	defer c.Stop()
	wantNext(t, c, 1, 6)
	f.server.Stop()
	if err := errors.Join(os.RemoveAll(f.server.Dir()), os.CopyFS(f.server.Dir(), os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	f.server.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if m, err := c.Next(ctx); !errors.Is(err, eventlog.ErrRewound) {
		t.Errorf("got %v, %v, want ErrRewound", m, err)
	}
}

// The archive purges a prefix: Follow begins behind it, Get does not find it.
func TestPurgedPrefix(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.fill(t, 1, 10)
	stream, err := f.admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(6)); err != nil {
		t.Fatal(err)
	}
	if first, last, err := f.log.Bounds(t.Context()); err != nil || first != 6 || last != 10 {
		t.Errorf("got bounds %d, %d, %v, want 6, 10", first, last, err)
	}
	if _, err := f.log.Get(t.Context(), 5); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	c := f.follow(t, 2)
	defer c.Stop()
	wantNext(t, c, 6, 10)
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, last, err := f.log.Bounds(t.Context()); err != nil || first != 11 || last != 10 {
		t.Errorf("got bounds %d, %d, %v, want 11, 10", first, last, err)
	}
	f.fill(t, 11, 11)
	wantNext(t, c, 11, 11)
}
