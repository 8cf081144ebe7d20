package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// TestAddressIsRefused: a server that refuses an address ends the handshake with the only alert that it has; who connects from there is told what that means.
func TestAddressIsRefused(t *testing.T) {
	s := newSite(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, `INFO {"server_id":"x","tls_required":true,"max_payload":1024}`+"\r\n")
		_ = tls.Server(c, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("refused") }}).Handshake()
	}()
	_, err = client.Connect(t.Context(), client.Options{URL: "tls://" + listener.Addr().String(), Token: client.Static(s.token())})
	listener.Close()
	<-ended
	var p *problem.Problem
	if !errors.As(err, &p) || p.Code != problem.Unavailable || !strings.Contains(p.Hint, "refuses an address") {
		t.Errorf("got %v, want unavailable, with a hint at what the server does", err)
	}
}

// TestATokenThatIsNotAcceptedIsNotTriedWithEachRequest: it would have the server refuse the address.
func TestATokenThatIsNotAcceptedIsNotTriedWithEachRequest(t *testing.T) {
	s, other := newSite(t), newSite(t)
	var token atomic.Value
	token.Store(s.token())
	c := s.connect(func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return token.Load().(string), nil }
	})
	s.answer("cmd.>", func(m *nats.Msg) { respond(t, m, client.Answer{}) })
	crp := client.Command{Aggregate: patient, Event: "crp"}
	token.Store(other.token())
	before := s.connections()
	for range 100 {
		if _, err := c.Command(t.Context(), crp); !errors.Is(err, client.ErrUnauthenticated) {
			t.Fatalf("got %v, want unauthenticated", err)
		}
	}
	if got := s.connections() - before; got == 0 || got > 20 { // one a second
		t.Errorf("got %d connections for 100 requests with a token that is not accepted, want few", got)
	}
	before = s.connections()
	for deadline := time.Now().Add(10 * time.Second); s.connections() == before; {
		if time.Now().After(deadline) {
			t.Fatal("the token is not tried again")
		}
		_, _ = c.Command(t.Context(), crp)
	}
	token.Store(s.token())
	if _, err := c.Command(t.Context(), crp); err != nil {
		t.Errorf("a good token behind it: %v", err)
	}
}

// connections is how many the server has taken so far.
func (s *site) connections() uint64 {
	s.t.Helper()
	v, err := s.server.Varz(nil)
	check(s.t, err)
	return v.TotalConnections
}
