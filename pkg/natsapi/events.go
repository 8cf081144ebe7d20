package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
)

// tailPatience is how long a request for what comes next waits at most.
const tailPatience = 5 * time.Second

// eventsBody is what a query about events says.
type eventsBody struct {
	ID          string `json:"id"`
	Event       string `json:"event"`
	Actor       string `json:"actor"`
	Correlation string `json:"correlation"`
	Since       string `json:"since"`
	Until       string `json:"until"`
	Take        int    `json:"take"`
	Cursor      string `json:"cursor"`
}

// wanted checks what events are asked for.
func (b *eventsBody) wanted(k asked) (want projector.EventsWanted, p *problem.Problem) {
	want = projector.EventsWanted{Event: b.Event, Actor: b.Actor, Correlation: b.Correlation, Take: b.Take, Cursor: b.Cursor, Only: k.claims.AggregateIDs, May: k.may()}
	if b.Event != "" {
		if err := event.CheckEventType(b.Event); err != nil {
			return want, problem.New(problem.Malformed, "the body: %v", err)
		}
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"since", b.Since, &want.Since}, {"until", b.Until, &want.Until}} {
		if p = moment(t.name, t.text, t.into); p != nil {
			return want, p
		}
	}
	if !want.Since.IsZero() && !want.Until.IsZero() && !want.Since.Before(want.Until) {
		return want, problem.New(problem.Malformed, "the body: until is not later than since").WithHint("nothing lies between them; give the earlier time as since")
	}
	if b.ID != "" {
		want.Aggregate = event.AggregateID{Type: k.about.Type, ID: b.ID}
		if err := want.Aggregate.Check(); err != nil {
			return want, problem.New(problem.Malformed, "the body: id: %v", err).WithHint("an id is asked for on the subject of its type")
		}
		return want, nil
	}
	want.Types, p = k.types()
	return want, p
}

// moment reads a time of a body; an empty text is none.
func moment(name, text string, into *time.Time) *problem.Problem {
	if text == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return problem.New(problem.Malformed, "the body: %s is %.80q, which is no time", name, text).WithHint("give an RFC 3339 time, for example 2026-01-31T08:00:00Z")
	}
	*into = at
	return nil
}

// may is whether an aggregate may be read with the token.
func (k asked) may() func(event.AggregateID) bool {
	return func(a event.AggregateID) bool { return k.claims.AllowsAggregate(token.ActionRead, a) }
}

func (a *API) events(ctx context.Context, k asked) (any, *problem.Problem) {
	var body eventsBody
	if p := k.body(&body); p != nil {
		return nil, p
	}
	want, p := body.wanted(k)
	if p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.Events(ctx, want))
}

// tail answers when there is something, or after a while. A process that ends answers at once: who follows goes on with another one, or with the next.
func (a *API) tail(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		eventsBody
		Now  bool `json:"now"`
		Wait int  `json:"wait"` // ms
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	want, p := body.wanted(k)
	if p != nil {
		return nil, p
	}
	patience := min(time.Duration(max(body.Wait, 0))*time.Millisecond, tailPatience)
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	default:
		patience = 0 // so many wait that others would not be answered
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.open, cancel)()
	found, err := a.cfg.Projector.Follow(ctx, want, body.Now, patience)
	if a.open.Err() != nil && len(found.Events) == 0 {
		return nil, problem.New(problem.Unavailable, "this process ends").WithHint("ask again: another one answers, or this one when it is back")
	}
	return answered(found, err)
}

func (a *API) trace(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Hash string `json:"hash"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.Trace(ctx, body.Hash, k.may()))
}

func (a *API) diff(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		From *event.Version `json:"from"`
		To   *event.Version `json:"to"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if body.From == nil || body.To == nil {
		return nil, problem.New(problem.Malformed, "the body: a difference is from one version to another").WithHint(`for example {"from":1,"to":3}; 0 is before the first event`)
	}
	return answered(a.cfg.Projector.Diff(ctx, k.about, *body.From, *body.To))
}

func (a *API) replay(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		From event.Version `json:"from"`
		Take int           `json:"take"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.Replay(ctx, k.about, body.From, body.Take))
}
