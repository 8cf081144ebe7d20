package writer

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// maxReclaims bounds how often a grant asks other logs for what they do not need; each round that helps makes the budget smaller.
const maxReclaims = 32

// grant asks the system log for units of a token for a log: at least need, and some ahead while there are plenty. When the limit is used up, logs that
// hold units which they do not need are asked to hand them back.
//
// A hand-back has two steps: (1) the log records that it may not spend the units any more; (2) the system log records that it has them. A crash between leaves units
// that nobody can spend; since both records count everything so far, the next hand-back of that log makes up for it.
func (w *Writer) grant(ctx context.Context, c *token.Claims, log string, need uint64) *problem.Problem {
	for range maxReclaims {
		p := w.grantOnce(ctx, c, log, need)
		if p == nil || p.Code != problem.BudgetSpent {
			return p
		}
		if got, failed := w.reclaim(ctx, c, log); failed != nil || !got {
			if failed != nil {
				return failed
			}
			return p
		}
	}
	return problem.New(problem.Unavailable, "the units of token %s went from log to log %d times", c.ID, maxReclaims).WithHint("send it again in a moment, with the same command id")
}

func (w *Writer) grantOnce(ctx context.Context, c *token.Claims, log string, need uint64) *problem.Problem {
	_, p := w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		_, left := w.sys.granted(c, log)
		if left < need {
			return nil, budgetSpent(c, left, need)
		}
		units := min(left, max(need, min(maxGrant, (left+1)/2)))
		return oneEvent(typeToken, c.ID, eventGranted, map[string]string{
			"log": log, "units": decimal(units), "total": decimal(c.Limit - left + units), "limit": decimal(c.Limit),
			"actor": c.Actor(), "issuer": c.Issuer, "expires": fmt.Sprint(c.Expires.Unix()),
		}), nil
	})
	return p
}

// reclaim asks every other log that holds units of the token to hand back what it does not need; got says whether there was anything.
func (w *Writer) reclaim(ctx context.Context, c *token.Claims, but string) (got bool, failed *problem.Problem) {
	for log, known := range w.sys.holders(c.ID, but) {
		e := w.engine(log)
		if e == nil {
			continue
		}
		back, p := w.handBack(ctx, e, c)
		if p != nil {
			return got, p
		}
		if back <= known {
			continue
		}
		_, p = w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
			return oneEvent(typeToken, c.ID, eventTakenBack, map[string]string{"log": log, "units": decimal(back)}), nil
		})
		if p != nil {
			return got, p
		}
		got = true
	}
	return got, nil
}

// handBack has a log record that it gives up what it does not need of a token, and says how much it has given up so far.
func (w *Writer) handBack(ctx context.Context, e *engine, c *token.Claims) (uint64, *problem.Problem) {
	var back uint64
	_, p := w.act(ctx, e, c, func(s *submission) ([]aggregate.Change, *problem.Problem) {
		units, before, err := e.unspent(c)
		if err != nil {
			return nil, problem.New(problem.Unavailable, "log %s: what it holds of token %s cannot be read", e.name, c.ID)
		}
		s.handsBack, s.handedBack = units, before+units
		back = s.handedBack
		if units == 0 {
			return nil, nil
		}
		return oneEvent(typeBudget, e.name+"/"+c.ID, eventReturned, map[string]string{"units": decimal(back)}), nil
	})
	if p != nil {
		return 0, p // the act may still be decided: back is not ours to read
	}
	return back, nil
}

// act has a log decide and store an act of EventfulDB itself, and waits for it. An act that changes nothing has no answer.
func (w *Writer) act(ctx context.Context, e *engine, c *token.Claims, decide func(*submission) ([]aggregate.Change, *problem.Problem)) (*Answer, *problem.Problem) {
	type outcome struct {
		a *Answer
		p *problem.Problem
	}
	done := make(chan outcome, 1)
	e.submit(&submission{
		command: aggregate.Command{ID: "act-" + randomHex()}, claims: c, act: decide,
		reply: func(a *Answer, p *problem.Problem) { done <- outcome{a, p} },
	})
	select {
	case o := <-done:
		return o.a, o.p
	case <-ctx.Done():
		return nil, problem.New(problem.UnknownOutcome, "the act was not answered in time: %v", ctx.Err()).WithHint("look at the present state before you repeat it")
	}
}
