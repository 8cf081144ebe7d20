package natsapi

import (
	"context"
	"encoding/json"

	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

const (
	defaultRefusedPage = 100
	maxRefusedPage     = 1000
)

// Bodies of the acts on the inbox (docs/spec/commands.md, section 11). Each act knows its own keys and no others.
type (
	noBody   struct{}
	listBody struct {
		After uint64 `json:"after"`
		Take  *int   `json:"take"`
	}
	oneBody struct {
		Number refusalNumber `json:"number"`
	}
	purgeBody struct {
		oneBody
		Actor *string `json:"actor"`
	}
)

// refusalNumber is the number of a refused command, which counts from 1.
type refusalNumber struct {
	given bool // the key is there, with whatever
	value uint64
}

func (n *refusalNumber) UnmarshalJSON(data []byte) error {
	n.given = true
	return json.Unmarshal(data, &n.value) // a null leaves 0
}

// number is that of the body; 0: none was given.
func (b oneBody) number() (uint64, *problem.Problem) {
	if b.Number.given && b.Number.value == 0 {
		return 0, problem.New(problem.Malformed, "the body: number is 0 or null, and the first refused command is 1").WithHint(numberHint)
	}
	return b.Number.value, nil
}

// one is the number of a body that must have one.
func (b oneBody) one() (uint64, *problem.Problem) {
	if !b.Number.given {
		return 0, problem.New(problem.Malformed, "the body: number is missing").WithHint(numberHint)
	}
	return b.number()
}

const numberHint = "`eventful inbox:refused` lists the numbers"

// inboxAct checks who asks and reads the body.
func inboxAct[body any](do func(*inbox.Inbox, context.Context, inbox.Caller, body) (any, *problem.Problem)) act {
	return func(a *API, ctx context.Context, r request, h headers) (any, *problem.Problem) {
		if a.cfg.Inbox == nil {
			return nil, problem.New(problem.Unavailable, "this process does not keep the inbox")
		}
		var b body
		c, p := a.who(h, false)
		if p == nil {
			p = r.body(&b)
		}
		if p != nil {
			return nil, p
		}
		return do(a.cfg.Inbox, ctx, inbox.Caller{Claims: c, Token: h.get(streams.HeaderToken)}, b)
	}
}

func inboxStatus(i *inbox.Inbox, ctx context.Context, c inbox.Caller, _ noBody) (any, *problem.Problem) {
	return answerOrProblem(i.Status(ctx, c))
}

func inboxList(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b listBody) (any, *problem.Problem) {
	take := defaultRefusedPage
	if b.Take != nil {
		take = min(max(*b.Take, 1), maxRefusedPage)
	}
	return answerOrProblem(i.List(ctx, c, b.After, take))
}

func inboxShow(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b oneBody) (any, *problem.Problem) {
	number, p := b.one()
	if p != nil {
		return nil, p
	}
	return answerOrProblem(i.Show(ctx, c, number))
}

func inboxRetry(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b oneBody) (any, *problem.Problem) {
	number, p := b.one()
	if p != nil {
		return nil, p
	}
	return answerOrProblem(i.Retry(ctx, c, number))
}

// inboxPurge removes one refusal, or all of them, or of one actor, where no number was given.
func inboxPurge(i *inbox.Inbox, ctx context.Context, c inbox.Caller, b purgeBody) (any, *problem.Problem) {
	number, p := b.number()
	if p != nil {
		return nil, p
	}
	actor := ""
	if b.Actor != nil {
		if actor = *b.Actor; actor == "" || number != 0 {
			return nil, problem.New(problem.Malformed, "the body: actor is empty, or stands beside a number").WithHint("`eventful inbox:refused` lists the actors; `-` stands for none")
		}
	}
	return answerOrProblem(i.Purge(ctx, c, number, actor))
}
