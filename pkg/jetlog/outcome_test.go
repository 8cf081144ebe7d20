package jetlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

const streamName = "EVT_test_patient"

// fixture is a server, a log, and JetStream as an administrator sees it.
type fixture struct {
	server *jetlogtest.Server
	store  *jetlog.Store
	log    eventlog.Log
	admin  jetstream.JetStream
}

func newFixture(t *testing.T, o jetlog.Options) fixture {
	t.Helper()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	nc := server.Conn()
	store, err := jetlog.New(nc, jetlogtest.Site, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := store.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{server, store, l, admin}
}

// change changes the stream behind the log's back.
func (f fixture) change(t *testing.T, change func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := f.admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := f.admin.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) fill(t *testing.T, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := f.log.Append(i-1, []byte{byte(i)}).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantNext(t *testing.T, c eventlog.Cursor, from, to uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := from; i <= to; i++ {
		if m, err := c.Next(ctx); err != nil || m.Sequence != i || m.Data[0] != byte(i) {
			t.Fatalf("got message %d, %v, want %d", m.Sequence, err, i)
		}
	}
}

func TestRefusalsOfTheStream(t *testing.T) {
	tests := map[string]func(*jetstream.StreamConfig){
		"sealed":                func(c *jetstream.StreamConfig) { c.Sealed = true },
		"message over a limit":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2 },
		"another stream's name": nil, // the subject belongs to another stream
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{})
			if change != nil {
				f.change(t, change)
			} else {
				f.change(t, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
				config := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"evt.test.patient"}}
				if _, err := f.admin.CreateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.log.Append(0, []byte("abc")).Err(); !errors.Is(err, eventlog.ErrRefused) {
				t.Errorf("got %v, want ErrRefused", err)
			}
			if _, last, err := f.log.Bounds(t.Context()); err != nil || last != 0 {
				t.Errorf("got last %d, %v, want 0", last, err)
			}
		})
	}
}

func TestNoAnswerIsUnknown(t *testing.T) {
	tests := map[string]func(t *testing.T, f fixture){
		"the stream does not answer": func(t *testing.T, f fixture) {
			f.change(t, func(c *jetstream.StreamConfig) { c.NoAck = true })
		},
		"the stream is gone": func(t *testing.T, f fixture) {
			if err := f.admin.DeleteStream(t.Context(), streamName); err != nil {
				t.Fatal(err)
			}
		},
		"the server is gone":       func(_ *testing.T, f fixture) { f.server.Stop() },
		"the connection is closed": func(_ *testing.T, f fixture) { f.admin.Conn().Close() },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{AckTimeout: 200 * time.Millisecond})
			prepare(t, f)
			first, second := f.log.Append(0, []byte("a")), f.log.Append(1, []byte("b"))
			for _, p := range []eventlog.Pending{first, second} {
				select {
				case <-p.Done():
				case <-time.After(10 * time.Second):
					t.Fatal("got no outcome within 10 s")
				}
				if err := p.Err(); !errors.Is(err, eventlog.ErrUnknown) {
					t.Errorf("got %v, want ErrUnknown", err)
				}
			}
		})
	}
}

// What was published while the server was away never comes up later: the connection keeps nothing.
func TestNothingIsKeptForLater(t *testing.T) {
	f := newFixture(t, jetlog.Options{AckTimeout: 200 * time.Millisecond})
	f.server.Stop()
	if err := f.log.Append(0, []byte("lost")).Err(); !errors.Is(err, eventlog.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	f.server.Start()
	if _, last, err := f.log.Bounds(t.Context()); err != nil || last != 0 { // repeats until the server is back
		t.Errorf("got last %d, %v, want 0", last, err)
	}
	f.fill(t, 1, 1)
}

func TestAwayServerIsUnavailable(t *testing.T) {
	f := newFixture(t, jetlog.Options{RequestTimeout: 50 * time.Millisecond, GiveUp: 200 * time.Millisecond})
	f.server.Stop()
	if _, err := f.log.Get(t.Context(), 1); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Get: got %v, want ErrUnavailable", err)
	}
	if _, _, err := f.log.Bounds(t.Context()); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Bounds: got %v, want ErrUnavailable", err)
	}
	if _, err := f.store.List(t.Context()); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("List: got %v, want ErrUnavailable", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.log.Get(short, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a deadline: got %v, want DeadlineExceeded", err)
	}
}

func TestNewRefusesAConnectionThatKeepsMessages(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := jetlog.New(nc, jetlogtest.Site, jetlog.Options{}); err == nil || !strings.Contains(err.Error(), "ReconnectBufSize") {
		t.Errorf("got %v, want an error about ReconnectBufSize", err)
	}
	if _, err := jetlog.New(server.Conn(), "Not A Site", jetlog.Options{}); err == nil {
		t.Error("got nil for a wrong site, want an error")
	}
}

func TestDomainOfTheStream(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{Domain: "north"})
	for domain, want := range map[string]error{"": nil, "north": nil, "south": eventlog.ErrUnavailable} {
		store, err := jetlog.New(server.Conn(), jetlogtest.Site, jetlog.Options{Domain: domain, RequestTimeout: 50 * time.Millisecond, GiveUp: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		l, err := store.Create(t.Context(), "patient")
		if !errors.Is(err, want) {
			t.Errorf("domain %q: got %v, want %v", domain, err, want)
		}
		if err != nil {
			continue
		}
		_, last, err := l.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Append(last, []byte("a")).Err(); err != nil {
			t.Errorf("domain %q: append: %v", domain, err)
		}
		if _, err := l.Get(t.Context(), last+9); !errors.Is(err, eventlog.ErrNotFound) { // asks the leader by the domain's own subject
			t.Errorf("domain %q: got %v, want ErrNotFound", domain, err)
		}
	}
}
