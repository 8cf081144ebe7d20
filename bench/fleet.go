package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// answerPatience bounds the wait for one answer: a server that is this slow ends the benchmark.
const answerPatience = 30 * time.Second

// door is where requests go and as whom.
type door struct {
	url     string
	options []nats.Option
	inbox   string // prefix of the inboxes that this user may listen on
}

// work is what one client does. Its methods are called by that client alone.
type work interface {
	next() *nats.Msg          // the next request, without its reply subject
	answered(*nats.Msg) error // its answer
}

// fleet is a number of clients that each send one request at a time. They share connections, as the goroutines of a service do.
type fleet struct {
	conns   []*nats.Conn
	clients []*sender
}

type sender struct {
	nc      *nats.Conn
	reply   string
	answers chan *nats.Msg
	work    work
	timer   *time.Timer

	took     []time.Duration // of this round
	answered int             // in this round, also before it counts
}

// newFleet connects n clients over at most conns connections.
func newFleet(d door, n, conns int, workOf func(i, of int) work) (*fleet, error) {
	f := &fleet{}
	for i := range min(n, conns) {
		nc, err := nats.Connect(d.url, d.options...)
		if err != nil {
			f.close()
			return nil, fmt.Errorf("connect to %s: %w", d.url, err)
		}
		f.conns = append(f.conns, nc)
		prefix := d.inbox + "." + rand.Text() + "."
		var mine []*sender
		for j := i; j < n; j += conns {
			c := &sender{nc: nc, reply: prefix + strconv.Itoa(len(mine)), answers: make(chan *nats.Msg, 1), work: workOf(j, n), timer: time.NewTimer(time.Hour)}
			mine, f.clients = append(mine, c), append(f.clients, c)
		}
		sub, err := nc.Subscribe(prefix+"*", func(m *nats.Msg) {
			if k, err := strconv.Atoi(strings.TrimPrefix(m.Subject, prefix)); err == nil && k < len(mine) {
				select {
				case mine[k].answers <- m:
				default: // a second answer: the client will miss nothing
				}
			}
		})
		if err == nil {
			err = sub.SetPendingLimits(-1, -1)
		}
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			f.close()
			return nil, fmt.Errorf("subscribe to the inbox: %w", err)
		}
	}
	return f, nil
}

func (f *fleet) close() {
	for _, nc := range f.conns {
		nc.Close()
	}
}

// figures are what a round came to.
type figures struct {
	perSecond, p50, p99 float64 // µs
	answered            int     // all, also those of the first fifth
}

// errSilent: nothing was answered in a round.
var errSilent = errors.New("no request was answered")

// tries is how often a round is tried in which nothing was answered, each time twice as long: rounds of a tenth of a second are for tests, which share their machine.
const tries = 5

// round has all clients work for a time, of which the first fifth does not count.
func (f *fleet) round(ctx context.Context, lasting time.Duration) (figures, error) {
	before := 0
	for try := 1; ; try++ {
		found, err := f.once(ctx, lasting)
		found.answered += before
		if !errors.Is(err, errSilent) || try == tries {
			return found, err
		}
		before, lasting = found.answered, 2*lasting
	}
}

func (f *fleet) once(ctx context.Context, lasting time.Duration) (figures, error) {
	begin := time.Now().Add(lasting / 5)
	end := begin.Add(lasting - lasting/5)
	var wg sync.WaitGroup
	failed := make(chan error, len(f.clients))
	for _, c := range f.clients {
		wg.Go(func() {
			if err := c.until(ctx, begin, end); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return figures{}, err
	default:
	}
	var took []time.Duration
	answered := 0
	for _, c := range f.clients {
		took, answered = append(took, c.took...), answered+c.answered
	}
	if len(took) == 0 {
		return figures{answered: answered}, fmt.Errorf("%w within %v", errSilent, lasting)
	}
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3 }
	return figures{perSecond: float64(len(took)) / end.Sub(begin).Seconds(), p50: at(0.50), p99: at(0.99), answered: answered}, nil
}

func (c *sender) until(ctx context.Context, begin, end time.Time) error {
	c.took, c.answered = c.took[:0], 0
	for ctx.Err() == nil {
		sent := time.Now()
		if sent.After(end) {
			return nil
		}
		if err := c.one(ctx); err != nil {
			return err
		}
		c.answered++
		if done := time.Now(); done.After(begin) && done.Before(end) {
			c.took = append(c.took, done.Sub(sent))
		}
	}
	return ctx.Err()
}

// one sends a request and waits for its answer.
func (c *sender) one(ctx context.Context) error {
	m := c.work.next()
	m.Reply = c.reply
	if err := c.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("send to %s: %w", m.Subject, err)
	}
	c.timer.Reset(answerPatience)
	select {
	case answer := <-c.answers:
		if answer.Header.Get("Status") == "503" {
			return fmt.Errorf("nobody answers on %s", m.Subject)
		}
		return c.work.answered(answer)
	case <-c.timer.C:
		return fmt.Errorf("no answer on %s within %v", m.Subject, answerPatience)
	case <-ctx.Done():
		return ctx.Err()
	}
}
