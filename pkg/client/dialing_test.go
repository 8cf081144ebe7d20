package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
)

// fallsSilent is an address in front of a site's server that passes the first connection on, and takes further ones without a word. waiting has an element for each of these.
func fallsSilent(t *testing.T, s *site) (url string, waiting <-chan net.Conn) {
	t.Helper()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	silent, ended := make(chan net.Conn, 16), make(chan struct{})
	var taken []net.Conn
	go func() {
		defer close(ended)
		for first := true; ; first = false {
			one, err := front.Accept()
			if err != nil {
				return
			}
			taken = append(taken, one)
			if !first {
				silent <- one
				continue
			}
			behind, err := net.Dial("tcp", s.server.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			taken = append(taken, behind)
			go func() { _, _ = io.Copy(one, behind) }()
			go func() { _, _ = io.Copy(behind, one) }()
		}
	}()
	t.Cleanup(func() {
		_ = front.Close()
		<-ended
		for _, one := range taken {
			_ = one.Close()
		}
	})
	return "nats://" + front.Addr().String(), silent
}

// While a connection is made to a server that says nothing, other requests wait no longer than their contexts, and Close ends them all at once.
func TestNobodyWaitsForASilentServerPastHisContext(t *testing.T) {
	s := newSite(t)
	url, waiting := fallsSilent(t, s)
	var token atomic.Value
	token.Store(s.token())
	c := s.connect(func(o *client.Options) {
		o.URL, o.ConnectTimeout = url, 20*time.Second
		o.Token = func(context.Context) (string, error) { return token.Load().(string), nil }
	})
	token.Store(s.token()) // another user takes another connection
	patientOne := make(chan error, 1)
	go func() {
		_, err := c.Get(within(t, time.Minute), patient)
		patientOne <- err
	}()
	<-waiting
	for name, most := range map[string]time.Duration{"with a short context": 50 * time.Millisecond, "whose context has ended": 0} {
		began := time.Now()
		_, err := c.Get(within(t, most), patient)
		if took := time.Since(began); !errors.Is(err, client.ErrUnavailable) || took > 5*time.Second {
			t.Errorf("a request %s: got %v after %v, want unavailable when its context ended", name, err, took)
		}
	}
	began := time.Now()
	c.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := <-patientOne; !errors.Is(err, client.ErrUnavailable) || time.Since(began) > 5*time.Second {
		t.Errorf("the request that connected: got %v after %v, want unavailable with Close", err, time.Since(began))
	}
}

// Who makes a connection waits no longer than his context either; Connect leaves nothing behind then.
func TestConnectEndsWithItsContext(t *testing.T) {
	s := newSite(t)
	url, waiting := fallsSilent(t, s)
	s.connect(func(o *client.Options) { o.URL = url })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waiting; cancel() }()
	began := time.Now()
	_, err := client.Connect(ctx, client.Options{URL: url, Token: client.Static(s.token()), ConnectTimeout: 20 * time.Second})
	if took := time.Since(began); !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.Canceled) || took > 5*time.Second {
		t.Errorf("got %v after %v, want unavailable when its context ended", err, took)
	}
}
