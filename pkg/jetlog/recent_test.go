package jetlog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

// stranger is the same log as another process has it, which hands nothing on.
func (f fixture) stranger(t *testing.T) eventlog.Log {
	t.Helper()
	store, err := jetlog.New(f.server.Conn(), jetlogtest.Site, jetlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := store.Open(t.Context(), f.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// Messages come once and in order from both sources, whoever writes.
func TestFollowWhatIsHandedOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, jetlog.Options{Recent: jetlog.NewRecent()})
	other := fixture{server: f.server, log: f.stranger(t), admin: f.admin}
	f.fill(t, 1, 5)
	c := f.follow(t, 0)
	defer c.Stop()
	wantNext(t, c, 1, 5)
	at := uint64(5)
	for _, write := range []struct {
		by fixture
		n  uint64
	}{{f, 1}, {f, 40}, {other, 1}, {f, 30}, {other, 20}, {other, 5}, {f, 1}, {f, 1}} {
		write.by.fill(t, at+1, at+write.n)
		wantNext(t, c, at+1, at+write.n)
		at += write.n
	}
	f.fill(t, at+1, at+3) // not read one by one
	other.fill(t, at+4, at+6)
	f.fill(t, at+7, at+9)
	wantNext(t, c, at+1, at+9)
}

// While a writer of the process writes, the server has no consumer to serve; when it rests, there is one again.
func TestHandedOnWithoutAConsumer(t *testing.T) {
	f := newFixture(t, jetlog.Options{Recent: jetlog.NewRecent()})
	c := f.follow(t, 0)
	defer c.Stop()
	for n := uint64(1); f.consumers(t) > 0 || n < 10; n++ {
		if n > 200 {
			t.Fatalf("got a consumer after %d messages, want none", n)
		}
		f.fill(t, n, n)
		wantNext(t, c, n, n)
	}
	deadline := time.Now().Add(20 * time.Second)
	for f.consumers(t) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("got no consumer within 20 s, want one when nothing is handed on")
		}
	}
}

// A cursor far behind reads from the server until it has reached what is handed on.
func TestFollowFromFarBehind(t *testing.T) {
	f := newFixture(t, jetlog.Options{Recent: jetlog.NewRecent()})
	f.fill(t, 1, 300)
	c := f.follow(t, 0)
	defer c.Stop()
	f.fill(t, 301, 500)
	wantNext(t, c, 1, 500)
	f.fill(t, 501, 510)
	wantNext(t, c, 501, 510)
}

// Whoever is in a hurry gets what is handed on without the 25 ms of gathering. One of many messages is enough: any may be slow for other reasons.
func TestHurry(t *testing.T) {
	f := newFixture(t, jetlog.Options{Recent: jetlog.NewRecent()})
	c := f.follow(t, 0)
	defer c.Stop()
	f.fill(t, 1, 20)
	wantNext(t, c, 1, 20)
	quickest := time.Hour
	for n := uint64(21); n <= 100 && quickest > 20*time.Millisecond; n++ {
		f.fill(t, n, n)
		began := time.Now()
		c.(interface{ Hurry() }).Hurry()
		wantNext(t, c, n, n)
		quickest = min(quickest, time.Since(began))
		c.(interface{ Hurry() }).Hurry() // also when there is nothing to hurry for
	}
	if quickest > 20*time.Millisecond {
		t.Errorf("the quickest of 80 messages took %s, want less than 20 ms", quickest)
	}
}

// A server that lost its end uses sequences again: the writer of the same process shows it at once.
func TestHandedOnNoticesALostEnd(t *testing.T) {
	f := newFixture(t, jetlog.Options{Recent: jetlog.NewRecent()})
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
	c := f.follow(t, 0)
	defer c.Stop()
	wantNext(t, c, 1, 3)
	f.fill(t, 4, 9)
	wantNext(t, c, 4, 9)
	f.server.Stop()
	if err := errors.Join(os.RemoveAll(f.server.Dir()), os.CopyFS(f.server.Dir(), os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	f.server.Start()
	if _, _, err := f.log.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.fill(t, 4, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if m, err := c.Next(ctx); !errors.Is(err, eventlog.ErrRewound) {
		t.Errorf("got %v, %v, want ErrRewound", m, err)
	}
}
