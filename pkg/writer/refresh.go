package writer

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Refresh is what a token is to be refreshed by.
type Refresh struct {
	Expiration time.Duration // added to its expiry
	Limit      uint64        // added to what is left of its budget
}

// Refreshed is what the successor of a refreshed token is to be: the same actor and rights.
type Refreshed struct {
	Claims token.Claims // with the new Expires and Limit
	Left   uint64       // what was left of the old budget
}

// RefreshToken ends a token in favour of a successor, which the holder of its auth key signs and records (RecordToken, with the predecessor).
//
// In order: (1) the record that it is ended; (2) the barrier: nobody spends of it any more; (3) every log hands back what it did not spend, so what is left is a fact of the system
// log. A crash behind any of them leaves an ended token without a successor, and the same call goes on from there.
func (w *Writer) RefreshToken(ctx context.Context, by *token.Claims, id string, shown *token.Claims, r Refresh) (Refreshed, *problem.Problem) {
	c, p := w.endForSuccessor(ctx, by, id, shown, r)
	if p == nil {
		p = w.Confirm(ctx, "that token "+id+" is ended")
	}
	if p != nil {
		return Refreshed{}, p
	}
	left, p := w.settleBudget(ctx, c)
	if p != nil {
		return Refreshed{}, p
	}
	out := Refreshed{Claims: *c, Left: left}
	out.Claims.Expires, out.Claims.Limit = c.Expires.Add(r.Expiration), left+r.Limit
	return out, nil
}

// endForSuccessor checks that the successor can be what is asked for, and records that the token is ended. It gives the token's claims.
func (w *Writer) endForSuccessor(ctx context.Context, by *token.Claims, id string, shown *token.Claims, r Refresh) (*token.Claims, *problem.Problem) {
	c, p := w.knownClaims(ctx, id, shown)
	if p != nil {
		return nil, p
	}
	if by.IdentifierType != token.AuthKeyType || by.IdentifierID != c.Issuer {
		return nil, problem.New(problem.Forbidden, "the token was issued by %s, not by %s", c.Issuer, by.Actor()).WithHint("use the auth key that issued it")
	}
	if p := w.fitsKey(ctx, c, r); p != nil {
		return nil, p
	}
	p = w.actBy(ctx, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		t, p := w.ending(id, shown)
		if p != nil {
			return nil, p
		}
		switch end := w.sys.endedAs(id); {
		case end != nil && end.Why != endedRefreshed:
			return nil, problem.New(problem.Conflict, "token %s is revoked", id).WithHint("make a new one: `eventful token:generate`")
		case end != nil && end.Successor != "":
			return nil, problem.New(problem.Conflict, "token %s was refreshed before: token %s has its budget", id, end.Successor).
				WithHint("if that one was lost, refresh it by its id: `eventful token:refresh %s`", end.Successor)
		case end != nil && w.cfg.Now().Sub(c.Expires) > budgetKept/2: // its grants are known for as long at least
			return nil, problem.New(problem.Conflict, "token %s expired at %s", id, c.Expires.Format(time.RFC3339)).WithHint("make a new one: `eventful token:generate`")
		case end != nil:
			return nil, nil
		case t.Expires <= w.cfg.Now().Unix():
			return nil, problem.New(problem.Conflict, "token %s expired at %s", id, c.Expires.Format(time.RFC3339)).WithHint("make a new one: `eventful token:generate`")
		}
		return oneEvent(typeToken, id, eventRevoked, t.fields(endedRefreshed)), nil
	})
	return c, p
}

// knownClaims are the claims of a token that is shown, or recorded.
func (w *Writer) knownClaims(ctx context.Context, id string, shown *token.Claims) (*token.Claims, *problem.Problem) {
	if shown != nil {
		return shown, nil
	}
	var c *token.Claims
	_, p := w.act(ctx, w.system, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		t, err := w.system.issued(id)
		if err != nil {
			return nil, unreadableRecord(err)
		}
		if t == nil {
			return nil, problem.New(problem.NotFound, "no token %.80q is recorded", id).WithHint("show the token itself: `eventful token:refresh - < FILE`")
		}
		c = t.claims()
		return nil, nil
	})
	if p != nil {
		return nil, p
	}
	return c, nil
}

// fitsKey refuses, before anything is ended, a successor that its auth key may not issue. What is left of the budget can only become less.
func (w *Writer) fitsKey(ctx context.Context, c *token.Claims, r Refresh) *problem.Problem {
	next := *c
	now := w.cfg.Now()
	next.IssuedAt, next.Expires = now, c.Expires.Add(r.Expiration)
	if r.Expiration < 0 || next.Expires.Before(c.Expires) {
		return problem.New(problem.Malformed, "an expiration of %s more is no time", r.Expiration)
	}
	if !now.Before(next.Expires) {
		return problem.New(problem.Conflict, "the new token would have expired at %s", next.Expires.Format(time.RFC3339)).WithHint("give more --expiration")
	}
	w.sys.mu.Lock()
	b := w.sys.byID[c.ID]
	if b != nil {
		b = b.clone()
	} else {
		b = &budget{}
	}
	w.sys.mu.Unlock()
	used, _ := w.used(ctx, map[string]*budget{c.ID: b})
	left := c.Limit - min(c.Limit, used[c.ID]) // all of it, where a log does not answer
	if next.Limit = left + r.Limit; next.Limit < left {
		return problem.New(problem.Malformed, "%d events more are too many", r.Limit)
	}
	next.ID = "" // the old one may be ended already
	return next.Recheck(w.sys)
}

// settleBudget has every log hand back what it did not spend of an ended token, and says how much nobody spent. What a damaged log held counts as spent.
func (w *Writer) settleBudget(ctx context.Context, c *token.Claims) (uint64, *problem.Problem) {
	for log, back := range w.sys.holders(c.ID, "") {
		if _, p := w.takeBack(ctx, c, log, back); p != nil && p.Code != problem.Damaged {
			return 0, p
		}
	}
	left := uint64(0)
	_, p := w.act(ctx, w.system, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		_, left = w.sys.granted(c, "")
		return nil, nil
	})
	if p != nil {
		return 0, p // the act may still be decided: left is not ours to read
	}
	return left, nil
}
