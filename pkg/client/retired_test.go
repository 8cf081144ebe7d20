package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
)

// between is a client that went from one user to the next while a request of the first was under way, which nobody answered yet.
func between(t *testing.T) (s *site, c *client.Client, first *nats.Msg, ended <-chan error) {
	t.Helper()
	s = newSite(t)
	var token atomic.Value
	token.Store(s.token())
	c = s.connect(func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return token.Load().(string), nil }
		o.Patience = time.Minute
	})
	asked := make(chan *nats.Msg, 1)
	var held atomic.Bool
	s.answer("qry.>", func(m *nats.Msg) {
		if !held.Swap(true) {
			asked <- m
			return
		}
		respond(t, m, client.State{})
	})
	end := make(chan error, 1)
	go func() {
		_, err := c.Get(t.Context(), patient)
		end <- err
	}()
	first = <-asked
	token.Store(s.token())
	_, err := c.Get(t.Context(), patient)
	check(t, err)
	if n := c.Retired(); n != 1 {
		t.Fatalf("got %d connections of users before, want 1", n)
	}
	return s, c, first, end
}

// soon waits until the client has no connection of a user before.
func soon(t *testing.T, c *client.Client) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); c.Retired() > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections of users before are still there", c.Retired())
		}
	}
}

// The connection of a user before ends with its last request: when that is answered, and when it is cut off, where it would come back for ever.
func TestTheConnectionOfAUserBeforeEnds(t *testing.T) {
	t.Run("answered", func(t *testing.T) {
		_, c, first, ended := between(t)
		respond(t, first, client.State{})
		check(t, <-ended)
		soon(t, c)
	})
	t.Run("cut off", func(t *testing.T) {
		s, c, _, ended := between(t)
		connections, err := s.server.Connz(&server.ConnzOptions{Sort: server.ByCid})
		check(t, err)
		check(t, s.server.DisconnectClientByID(connections.Conns[1].Cid)) // behind the engine's
		check(t, <-ended)                                                 // it was sent again, by the present user
		soon(t, c)
	})
}

// Close ends the requests of users before, too, and at once.
func TestCloseEndsRequestsOfAUserBefore(t *testing.T) {
	_, c, _, ended := between(t)
	began := time.Now()
	c.Close()
	if err := <-ended; !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it ended after %v, want at once", took)
	}
}
