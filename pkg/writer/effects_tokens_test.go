package writer_test

import (
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func (e *affected) revokeToken() *problem.Problem {
	c := e.shown(e.jwt)
	_, p := e.w.RevokeToken(e.ctx, e.admin, c.ID, c)
	return p
}

func (e *affected) refusesToken() error {
	if p := e.tried(crp(e.jwt, "", "A", "1")); p == nil || p.Code != problem.Unauthenticated {
		return fmt.Errorf("got %v for a revoked token, want unauthenticated", p)
	}
	return nil
}

func (e *affected) revokeKey() *problem.Problem {
	_, p := e.w.RevokeKey(e.ctx, e.admin, e.key.ID)
	return p
}

func (e *affected) updateKey() *problem.Problem {
	k := e.key
	k.MaxLimit = 7
	return e.w.UpdateKey(e.ctx, "operator", k, 1)
}

var oneHourMore = writer.Refresh{Expiration: time.Hour, Limit: 1}

func (e *affected) refreshToken() *problem.Problem {
	c := e.shown(e.jwt)
	_, p := e.w.RefreshToken(e.ctx, e.admin, c.ID, c, oneHourMore)
	return p
}

// leavesFour holds that four of the ten units were left, and that nobody can spend them but a successor.
func (e *affected) leavesFour() error {
	c := e.shown(e.jwt)
	got, p := e.w.RefreshToken(e.ctx, e.admin, c.ID, c, oneHourMore)
	if p != nil {
		return p
	}
	if got.Left != 4 || got.Claims.Limit != 5 || !got.Claims.Expires.Equal(c.Expires.Add(time.Hour)) {
		return fmt.Errorf("got %+v, want 4 left, 5 to spend, an hour more", got)
	}
	return e.refusesToken()
}

// addsKey has the other auth key there.
func (e *affected) addsKey() {
	if p := e.addKey(); p != nil {
		e.t.Fatal(p)
	}
}
