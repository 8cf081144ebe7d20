package writer

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// maxReclaims bounds how often a grant asks other logs for what they do not need; each round that helps makes the budget smaller.
const maxReclaims = 32

// units is how many units of a token a log wants: need more than the have that it knows to have been granted so far. Asked twice, they are granted once.
type units struct {
	log        string
	have, need uint64
}

// requestUnits asks who writes the system log for units, and returns when this process sees them.
func (w *Writer) requestUnits(ctx context.Context, c *token.Claims, u units) *problem.Problem {
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	r, p := w.ask(ctx, event.Reserved, verbGrant, call{Token: c, Log: u.log, Have: u.have, Need: u.need})
	if p == nil {
		if err := w.sys.await(ctx, r.Sequence); err == nil {
			return nil
		}
	}
	if p == nil || p.Code == problem.UnknownOutcome { // of the grant; of the command nothing was stored
		return problem.New(problem.Unavailable, "units of token %s could not be asked for in time", c.ID).WithHint("send it again in a moment, with the same command id")
	}
	if p.Code == problem.NoSpace && w.cfg.Room() == nil { // of another writer, whose logs go to one that has room: this log has some
		return problem.New(problem.Unavailable, "units of token %s cannot be had from a log whose writer has no room: %s", c.ID, p.Detail).WithHint("send it again in a moment, with the same command id")
	}
	return p
}

// grant grants units of a token to a log: at least what it needs, and some ahead while there are plenty. When the limit is used up, logs that
// hold units which they do not need are asked to hand them back.
//
// A hand-back has two steps: (1) the log records that it may not spend the units any more; (2) the system log records that it has them. A crash between leaves units
// that nobody can spend; since both records count everything so far, the next hand-back of that log makes up for it.
func (w *Writer) grant(ctx context.Context, c *token.Claims, u units) *problem.Problem {
	for range maxReclaims {
		p := w.grantOnce(ctx, c, u)
		if p == nil || p.Code != problem.BudgetSpent {
			return p
		}
		if got, failed := w.reclaim(ctx, c, u.log); failed != nil || !got {
			if failed != nil {
				return failed
			}
			return p
		}
	}
	return problem.New(problem.Unavailable, "the units of token %s went from log to log %d times", c.ID, maxReclaims).WithHint("send it again in a moment, with the same command id")
}

func (w *Writer) grantOnce(ctx context.Context, c *token.Claims, u units) *problem.Problem {
	p := w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		here, left := w.sys.granted(c, u.log)
		if here >= u.have+u.need {
			return nil, nil // who asks has not seen it yet
		}
		need := u.have + u.need - here
		if left < need {
			return nil, budgetSpent(c, left, need)
		}
		more := min(left, max(need, min(maxGrant, (left+1)/2)))
		return oneEvent(typeToken, c.ID, eventGranted, map[string]string{
			"log": u.log, "units": decimal(more), "total": decimal(c.Limit - left + more), "limit": decimal(c.Limit),
			"actor": c.Actor(), "issuer": c.Issuer, "expires": fmt.Sprint(c.Expires.Unix()),
		}), nil
	})
	return p
}

// reclaim asks every other log that holds units of the token to hand back what it does not need; got says whether there was anything.
func (w *Writer) reclaim(ctx context.Context, c *token.Claims, but string) (got bool, failed *problem.Problem) {
	for log, known := range w.sys.holders(c.ID, but) {
		some, p := w.takeBack(ctx, c, log, known)
		if p != nil {
			return got, p
		}
		got = got || some
	}
	return got, nil
}

// takeBack asks a log, of which it is known what it handed back so far, to hand back what it does not need, and records it.
func (w *Writer) takeBack(ctx context.Context, c *token.Claims, log string, known uint64) (got bool, p *problem.Problem) {
	r, p := w.ask(ctx, log, verbHandBack, call{Token: c})
	if p != nil || r.Units <= known {
		return false, p
	}
	_, p = w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(typeToken, c.ID, eventTakenBack, map[string]string{"log": log, "units": decimal(r.Units)}), nil
	})
	return p == nil, p
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
	return w.put(ctx, e, &submission{command: aggregate.Command{ID: "act-" + randomHex()}, claims: c, act: decide})
}
