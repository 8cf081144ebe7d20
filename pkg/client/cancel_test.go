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
