// Package client is what applications import to write to and read from EventfulDB over NATS.
//
//	c, err := client.Connect(ctx, client.Options{URL: "nats://127.0.0.1:7070", Token: client.Static(token)})
//	if err != nil { … }
//	defer c.Close()
//	answer, err := c.Command(ctx, client.Command{
//		Aggregate: event.AggregateID{Type: "patient", ID: "A"},
//		Event:     "crp",
//		Fields:    client.Fields{"crp": 21.5},
//		Expected:  client.Exactly(3),
//	})
//	if errors.Is(err, client.ErrConflict) { … }
//
// An answer to a command means that the events are on disk. Every refusal is a *problem.Problem, found with errors.As, and has a sentinel here
// for errors.Is. The wire is docs/spec/commands.md.
//
// Repeats: an answer that says "unavailable", silence, and a lost connection are repeated with the same command id, with backoff and jitter,
// until the context ends; so an accepted command is stored exactly once within the server's window (24 hours or one million commands). A context
// without a deadline gets Options.Timeout.
//
// A Client is safe for concurrent use. It holds one connection and one inbox subscription however many requests are open.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// TokenSource gives the access token (a user JWT) for the next request. It is called for every request, from many goroutines at once, so it
// should keep the token until shortly before it expires.
type TokenSource func(context.Context) (string, error)

// Static is a source of one fixed token.
func Static(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// Options say where and as whom to connect. URL and Token are required.
type Options struct {
	// URL of one NATS server, or several separated by commas: nats://host:port, tls://host:port. An http:// address is refused.
	URL string
	// Token names the actor of every request, and opens the connection.
	Token TokenSource
	// Sign answers the server's nonce for a token that is not a bearer token. Nil for access tokens.
	Sign func(nonce []byte) ([]byte, error)
	// Name of the connection in the server's monitoring. Default "eventful-client".
	Name string
	// ConnectTimeout bounds one attempt to connect. Default 5 s.
	ConnectTimeout time.Duration
	// Patience is how long one attempt waits for an answer before the request is repeated. Default 5 s. The first attempt of a command waits 2 s at most, the second 4.
	Patience time.Duration
	// LeaveAfter is how long no request may be answered before the connection leaves its server, which may be cut off from the others, for another one of URL or one that the
	// server told of. It doubles with each move that does not help, up to a minute. Default 10 s; negative: it never leaves.
	LeaveAfter time.Duration
	// Timeout bounds a request, repeats included, whose context has no deadline. Default 30 s; negative: none. Verification of many aggregates
	// and migrations of schemas are bounded by their context only, once they have reached the server.
	Timeout time.Duration
	// TLS is used for tls:// addresses; nil means the system's roots.
	TLS *tls.Config
}

// Client writes and reads. Make one with Connect, end it with Close.
type Client struct {
	opts   Options
	tokens tokens

	closed  atomic.Bool
	closing chan struct{} // closed with the client
	dialing chan struct{} // has one element while a connection is made: one at a time

	mu     sync.Mutex // guards what follows
	link   *link
	old    []*link // of users before, while their requests are under way
	denied denial
}

// denial is the token that the server did not accept last. For deniedFor it is not asked again: a program that goes on with such a token would connect with every request, until
// the server refuses its address, and with it everybody there.
type denial struct {
	token string
	at    time.Time
	err   error
}

const deniedFor = time.Second

// Connect opens the connection. The error is a *problem.Problem: unavailable (nobody listens) or unauthenticated (among others, the token has
// expired by this machine's clock: then nothing is sent).
func Connect(ctx context.Context, opts Options) (*Client, error) {
	if opts.URL == "" || opts.Token == nil {
		return nil, problem.New(problem.Malformed, "client options: URL and Token are required")
	}
	if err := checkURL(opts.URL); err != nil {
		return nil, err
	}
	c := &Client{opts: opts.withDefaults(), closing: make(chan struct{}), dialing: make(chan struct{}, 1)}
	token, err := c.opts.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("get the token: %w", err)
	}
	if _, err := c.connected(ctx, token); err != nil {
		c.Close() // a connection that comes too late ends with it
		return nil, err
	}
	return c, nil
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "eventful-client"
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Second
	}
	if o.LeaveAfter == 0 {
		o.LeaveAfter = 10 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	return o
}

// Close ends the connection; open requests end with an error. It may be called more than once, and waits for no server.
func (c *Client) Close() {
	if !c.closed.Swap(true) {
		close(c.closing)
	}
	c.mu.Lock()
	links := c.old
	if c.link != nil {
		links = append(links, c.link)
	}
	c.link, c.old = nil, nil
	c.mu.Unlock()
	for _, l := range links {
		l.close(errClosed())
	}
}

func errClosed() *problem.Problem {
	return problem.New(problem.Unavailable, "the client was closed")
}

// connected gives the link for token: the present one, or a new one where that is closed or belongs to another user (an inbox belongs to one). It waits no longer than ctx, nor when the
// client is closed: a connection that is being made then becomes the present one, or is closed, when the server answers or ConnectTimeout is over.
func (c *Client) connected(ctx context.Context, token string) (*link, error) {
	holder, p := c.tokens.usable(token)
	if p != nil {
		return nil, p
	}
	if l, err := c.present(holder, token); l != nil || err != nil {
		return l, err
	}
	if ctx.Err() != nil {
		return nil, c.noTime(ctx)
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, c.noTime(ctx)
	case <-c.closing:
		return nil, errClosed()
	}
	type result struct {
		link *link
		err  error
	}
	made := make(chan result, 1)
	go func() {
		defer func() { <-c.dialing }()
		l, err := c.present(holder, token) // another request may have made it
		if l == nil && err == nil {
			l, err = c.connect(context.WithoutCancel(ctx), holder, token)
		}
		made <- result{l, err}
	}()
	select {
	case r := <-made:
		return r.link, r.err
	case <-ctx.Done():
		return nil, c.noTime(ctx)
	case <-c.closing:
		return nil, errClosed()
	}
}

func (c *Client) noTime(ctx context.Context) error {
	return interrupted(ctx, problem.New(problem.Unavailable, "connect to %s: no server answered in time", c.opts.URL).
		WithHint("is the server running? `eventful status` shows it, `eventful start` starts it"))
}

// present is the link that there is for a token; nil without an error: one is to be made.
func (c *Client) present(holder claims, token string) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch d := c.denied; {
	case c.closed.Load():
		return nil, errClosed()
	case c.link != nil && !c.link.nc.IsClosed() && c.link.user == holder.user:
		return c.link, nil
	case d.token == token && time.Since(d.at) < deniedFor:
		return nil, d.err
	}
	return nil, nil
}

// connect makes the present link.
func (c *Client) connect(ctx context.Context, holder claims, token string) (*link, error) {
	l, err := dial(ctx, c.opts, holder, token)
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, ErrUnauthenticated) {
		c.denied = denial{token, time.Now(), err}
	}
	if err != nil {
		return nil, err
	}
	if c.closed.Load() {
		l.close(errClosed())
		return nil, errClosed()
	}
	c.old = slices.DeleteFunc(c.old, func(l *link) bool { return l.nc.IsClosed() })
	if old := c.link; old != nil {
		old.retire()
		c.old = append(c.old, old)
	}
	c.link = l
	return l, nil
}
