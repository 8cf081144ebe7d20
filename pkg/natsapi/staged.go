package natsapi

import (
	"context"
	"crypto/rand"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/streams"
)

// maxStagedPage is how many staged events a page holds at most.
const maxStagedPage = 1000

// stager checks who asks about staged commits. The answers are docs/spec/commands.md, section 10.
func (a *API) stager(h headers) (staging.Caller, *problem.Problem) {
	if a.cfg.Staging == nil {
		return staging.Caller{}, problem.New(problem.Unavailable, "this process does not keep staged commits")
	}
	c, p := a.who(h, false)
	if p != nil {
		return staging.Caller{}, p
	}
	caller := staging.Caller{Claims: c, Token: h.get(streams.HeaderToken), Request: h.get(streams.HeaderCommandID)}
	if caller.Request == "" {
		caller.Request = rand.Text()
	}
	if err := event.CheckCommandID(caller.Request); err != nil {
		return caller, problem.New(problem.Malformed, "%v", err)
	}
	return caller, nil
}

func (a *API) stagedAdd(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	c, p := a.stager(h)
	if p != nil {
		return nil, p
	}
	dry, p := h.flag(streams.HeaderDryRun, "true")
	if p != nil {
		return nil, p
	}
	if p := h.none("what is staged", streams.HeaderExpected, streams.HeaderOccurredAt, streams.HeaderCorrelation, streams.HeaderCausation, streams.HeaderTraceparent); p != nil {
		return nil, p
	}
	changes, err := aggregate.DecodeTransaction(r.Data())
	if err != nil {
		return nil, problem.From(err)
	}
	return answerOrProblem(a.cfg.Staging.Add(ctx, c, changes, dry))
}

func (a *API) stagedList(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	body := struct {
		After uint64 `json:"after"`
		Take  int    `json:"take"`
	}{Take: 100}
	c, p := a.stager(h)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Staging.List(ctx, c, body.After, min(max(body.Take, 1), maxStagedPage)))
}

func (a *API) stagedCommit(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	c, p := a.stager(h)
	if p == nil {
		p = r.body(&struct{}{})
	}
	if p != nil {
		return nil, p
	}
	if p := h.none("a commit of what is staged", streams.HeaderExpected, streams.HeaderOccurredAt); p != nil {
		return nil, p
	}
	x := staging.Context{Correlation: h.get(streams.HeaderCorrelation), Causation: h.get(streams.HeaderCausation), Traceparent: h.get(streams.HeaderTraceparent)}
	if x.DryRun, p = h.flag(streams.HeaderDryRun, "true"); p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Staging.Commit(ctx, c, x))
}

func (a *API) stagedDiscard(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	c, p := a.stager(h)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	var only *event.AggregateID
	if body.Type != "" || body.ID != "" {
		only = &event.AggregateID{Type: body.Type, ID: body.ID}
		if err := only.Check(); err != nil {
			return nil, problem.New(problem.Malformed, "%v", err).WithHint("name type and id of an aggregate, or neither for everything")
		}
	}
	return answerOrProblem(a.cfg.Staging.Discard(ctx, c, only))
}

// none refuses headers that say nothing about the request.
func (h headers) none(about string, names ...string) *problem.Problem {
	for _, name := range names {
		if h.get(name) != "" {
			return problem.New(problem.Malformed, "header %s says nothing about %s", name, about).WithHint("leave it out; docs/spec/commands.md, section 10, says where it belongs")
		}
	}
	return nil
}
