package natsapi

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// inboxBody is the body of every act on the inbox (docs/spec/commands.md, section 11).
type inboxBody struct {
	Number uint64 `json:"number"`
	After  uint64 `json:"after"`
	Take   int    `json:"take"`
}

const maxRefusedPage = 1000

// inboxAct checks who asks and reads the body.
func inboxAct(do func(*inbox.Inbox, context.Context, inbox.Caller, inboxBody) (any, *problem.Problem)) act {
	return func(a *API, ctx context.Context, r request, h headers) (any, *problem.Problem) {
		if a.cfg.Inbox == nil {
			return nil, problem.New(problem.Unavailable, "this process does not keep the inbox")
		}
		body := inboxBody{Take: 100}
		c, p := a.who(h, false)
		if p == nil {
			p = r.body(&body)
		}
		if p != nil {
			return nil, p
		}
		body.Take = min(max(body.Take, 1), maxRefusedPage)
		return do(a.cfg.Inbox, ctx, inbox.Caller{Claims: c, Token: h.get(streams.HeaderToken)}, body)
	}
}

func inboxStatus(i *inbox.Inbox, ctx context.Context, c inbox.Caller, _ inboxBody) (any, *problem.Problem) {
	return answerOrProblem(i.Status(ctx, c))
}

func inboxList(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b inboxBody) (any, *problem.Problem) {
	return answerOrProblem(i.List(ctx, c, b.After, b.Take))
}

func inboxShow(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b inboxBody) (any, *problem.Problem) {
	return answerOrProblem(i.Show(ctx, c, b.Number))
}

func inboxRetry(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b inboxBody) (any, *problem.Problem) {
	return answerOrProblem(i.Retry(ctx, c, b.Number))
}

func inboxPurge(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b inboxBody) (any, *problem.Problem) {
	return answerOrProblem(i.Purge(ctx, c, b.Number))
}
