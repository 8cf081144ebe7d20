package natsapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// Subjects of everything.
const (
	allCommands = "cmd.>"
	allActs     = "adm.>"
)

// doorPatience bounds how long it takes until the server knows subscriptions.
const doorPatience = 5 * time.Second

// doorGrace is how long a door stays open behind the one that takes its place: a nats-server that has just looked up who listens delivers to nobody else, and
// tells the sender that nobody does if that subscription is gone by then.
const doorGrace = 50 * time.Millisecond

// doors are the subscriptions through which commands and acts come. Set is for one goroutine at a time.
type doors struct {
	mu   sync.Mutex // guards open
	open map[place]*door
}

// place is what a subscription is made for.
type place struct{ subject, group string }

// door is one subscription, which hands its requests over one after the other.
type door struct {
	sub     *nats.Subscription
	handled atomic.Int64 // requests that were handed over
}

// Set implements writer.Doors: it adds subscriptions, then drains those that are not wanted any more.
func (a *API) Set(ctx context.Context, wanted []writer.Door) error {
	ctx, cancel := context.WithTimeout(ctx, doorPatience)
	defer cancel()
	places := make(map[place]bool)
	for _, w := range wanted {
		subjects, err := subjectsOf(w)
		if err != nil {
			return err
		}
		for _, s := range subjects {
			places[place{s, w.Group}] = true
		}
	}
	for p := range places {
		if err := a.openDoor(p); err != nil {
			return err
		}
	}
	if err := a.cfg.App.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush subscriptions: %w", err)
	}
	a.closeDoors(ctx, places)
	if wanted == nil {
		waitFor(ctx, &a.acting)
	}
	return nil
}

func subjectsOf(d writer.Door) (all []string, err error) {
	switch d.Log {
	case "":
		return []string{allCommands}, nil
	case event.Reserved:
		return []string{allActs}, nil
	}
	for _, t := range d.Types {
		subjects, err := streams.TypeCommandSubjects(t)
		if err != nil {
			return nil, err
		}
		all = append(all, subjects...)
	}
	return all, nil
}

func (a *API) openDoor(p place) error {
	a.doors.mu.Lock()
	defer a.doors.mu.Unlock()
	if a.doors.open[p] != nil {
		return nil
	}
	handle := a.command
	if p.subject == allActs {
		handle = a.beside(a.admin, a.acts, &a.acting)
	}
	handle = a.guarded(handle)
	d := &door{}
	sub, err := a.cfg.App.QueueSubscribe(p.subject, p.group, func(m *nats.Msg) {
		handle(received{m})
		d.handled.Add(1)
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", p.subject, err)
	}
	d.sub = sub
	a.doors.open[p] = d
	return sub.SetPendingLimits(-1, -1)
}

// closeDoors drains all doors but those to be kept: it comes back when no more requests come by them, and those that came were handed over.
func (a *API) closeDoors(ctx context.Context, keep map[place]bool) {
	a.doors.mu.Lock()
	var closing []*door
	for p, d := range a.doors.open {
		if !keep[p] {
			closing = append(closing, d)
			delete(a.doors.open, p)
		}
	}
	a.doors.mu.Unlock()
	if len(closing) == 0 {
		return
	}
	select {
	case <-time.After(doorGrace):
	case <-ctx.Done():
	}
	for _, d := range closing {
		if err := d.sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			a.cfg.Log.Warn().Err(err).Str("subject", d.sub.Subject).Msg("subscription could not be drained")
		}
	}
	if err := a.cfg.App.FlushWithContext(ctx); err != nil {
		a.cfg.Log.Warn().Err(err).Msg("that subscriptions ended could not be flushed")
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, d := range closing {
		for !d.drained() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return // what comes later is dealt with as it comes
			}
		}
	}
}

// drained reports that nothing waits in a subscription behind its drain and flush.
func (d *door) drained() bool {
	waiting, _, err := d.sub.Pending()
	if err != nil {
		return true // it is gone
	}
	delivered, err := d.sub.Delivered()
	return err != nil || waiting == 0 && delivered == d.handled.Load()
}

// elsewhere deals with a request that is not this process's to answer; false: it is.
func (a *API) elsewhere(r request, p *problem.Problem) bool {
	switch p {
	case writer.Moved:
		m := &nats.Msg{Subject: r.Subject(), Reply: r.Reply(), Header: nats.Header(r.Headers()), Data: r.Data()}
		if err := a.cfg.App.PublishMsg(m); err != nil {
			a.cfg.Log.Warn().Err(err).Msg("request could not be passed on to the log's new writer")
		}
	case writer.Lost:
	default:
		return false
	}
	return true
}

// received is a message as package micro shows it to handlers.
type received struct{ msg *nats.Msg }

func (r received) Data() []byte           { return r.msg.Data }
func (r received) Headers() micro.Headers { return micro.Headers(r.msg.Header) }
func (r received) Subject() string        { return r.msg.Subject }
func (r received) Reply() string          { return r.msg.Reply }

// Respond, RespondJSON and Error are of the interface; requests are answered by the connection (request).
func (r received) Respond(data []byte, _ ...micro.RespondOpt) error { return r.msg.Respond(data) }

func (r received) RespondJSON(any, ...micro.RespondOpt) error { return errors.ErrUnsupported }

func (r received) Error(string, string, []byte, ...micro.RespondOpt) error {
	return errors.ErrUnsupported
}
