package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// A call that ends with its context says "unavailable", which means that nothing was stored, only if nothing was sent.
func TestWhatIsToldUnsentIsNeverSent(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	arrived := make(map[string]bool)
	s.answer("cmd.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		arrived[m.Header.Get("Eventful-Command-Id")] = true
		_ = m.Respond([]byte(`{"command":"x","commits":[]}`))
	})
	c := s.connect(nil)
	unsent := make(map[string]bool)
	for i := range 3000 {
		id := fmt.Sprint("c", i)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%60)*time.Microsecond)
		_, err := c.Command(ctx, client.Command{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "crp", Context: client.Context{CommandID: id}})
		cancel()
		if errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrUnknownOutcome) {
			unsent[id] = true
		}
	}
	if _, err := c.Command(t.Context(), client.Command{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "crp"}); err != nil {
		t.Fatal(err) // behind it everything that was sent has arrived: one connection, one order
	}
	mu.Lock()
	defer mu.Unlock()
	for id := range unsent {
		if arrived[id] {
			t.Errorf("command %s was told unsent, and arrived", id)
		}
	}
}

// What has no default timeout does not wait for ever for a server that is gone, and a command that was silent is sent again soon.
func TestALongRequestWithoutAServerEnds(t *testing.T) {
	s := newSite(t)
	c := s.connect(func(o *client.Options) { o.Timeout = 300 * time.Millisecond })
	s.server.Shutdown()
	s.server.WaitForShutdown()
	_, _ = c.Get(within(t, time.Second), patient) // the connection knows by then
	began := time.Now()
	_, err := c.SchemaMigrate(within(t, 20*time.Second), "patient", false)
	if took := time.Since(began); !errors.Is(err, client.ErrUnavailable) || took > 10*time.Second {
		t.Errorf("got %v after %v, want unavailable when the default timeout is over", err, took)
	}
}

func TestASilentCommandIsSentAgainSoon(t *testing.T) {
	s := newSite(t)
	sent := 0
	s.answer("cmd.>", func(m *nats.Msg) {
		if sent++; sent > 1 {
			respond(t, m, client.Answer{Repeated: true})
		}
	})
	began := time.Now()
	if _, err := s.connect(nil).Command(t.Context(), client.Command{Aggregate: patient, Event: "crp"}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("got an answer after %v, want the repeat after 2 s", took)
	}
}

// The timer of an attempt that goes off late, when that was refused and the next one is under way, does not drop the answer to the next one.
func TestLateSilenceDropsNoAnswer(t *testing.T) {
	s := newSite(t)
	second := make(chan *nats.Msg, 1)
	sent := 0
	s.answer("qry.>", func(m *nats.Msg) {
		if sent++; sent == 1 {
			refuse(t, m, problem.New(problem.Unavailable, "in a moment"))
			return
		}
		second <- m
	})
	err := client.LateSilence(within(t, 10*time.Second), s.connect(nil), "qry.patient.A.get", func() { respond(t, <-second, client.State{}) })
	if err != nil || sent != 2 {
		t.Errorf("got %v behind %d requests, want the answer to the second one", err, sent)
	}
}

// Who follows events with a client that was closed is told so, and does not go round and round until the context ends.
func TestTailOfAClosedClient(t *testing.T) {
	s := newSite(t)
	c := s.connect(nil)
	s.answer("qry.>", func(*nats.Msg) { c.Close() })
	var told error
	for _, err := range c.Tail(within(t, 5*time.Second), client.EventsWanted{Type: "patient"}, "", false) {
		told = err
	}
	if !errors.Is(told, client.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", told)
	}
}
