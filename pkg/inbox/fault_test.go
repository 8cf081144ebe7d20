package inbox_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// While deliveries fail one after the other the engine says why; when a letter comes, or another process empties the inbox, nothing is amiss.
func TestFault(t *testing.T) {
	leads := atomic.Bool{}
	leads.Store(true)
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem { return nil }, func(c *inbox.Config) { c.Lead = leads.Load })
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	o.run()
	o.put(patient(1), "{}")
	o.empty()
	if err := o.engine.Fault(); err != nil {
		t.Errorf("a delivery that runs: got %v, want no fault", err)
	}
	broken := func() {
		t.Helper()
		if err := js.DeleteStream(t.Context(), streams.InboxStream); err != nil {
			t.Fatal(err)
		}
		until(t, "the fault is told", func() bool { return o.engine.Fault() != nil })
		if err := o.engine.Fault(); err != nil && !strings.Contains(err.Error(), "stream not found") {
			t.Errorf("got %v, want the reason", err)
		}
	}
	broken()
	if o.letters, err = o.server.Store().Inbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.put(patient(1), "{}")
	o.empty()
	until(t, "the fault is over", func() bool { return o.engine.Fault() == nil })
	broken()
	leads.Store(false)
	until(t, "the fault is another's", func() bool { return o.engine.Fault() == nil })
}

// An inbox in which nothing waits is well again too, when a delivery lasts.
func TestFaultOfAnEmptyInbox(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem { return nil }, func(c *inbox.Config) { c.Steady = 50 * time.Millisecond })
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), streams.InboxStream); err != nil {
		t.Fatal(err)
	}
	o.run()
	until(t, "the fault is told", func() bool { return o.engine.Fault() != nil })
	if _, err = o.server.Store().Inbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the fault is over", func() bool { return o.engine.Fault() == nil })
}
