package writer_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// clock is the clock of a site's writer; it can be set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

func newClockedSite(t *testing.T) (*site, *clock) {
	t.Helper()
	s, c := newSite(t, eventlog.NewMemory()), &clock{}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Now = c.now
	s.start()
	return s, c
}

// until mints a token that may write and expires after a time by the true clock.
func (s *site) until(expires time.Duration, limit uint64) string {
	s.t.Helper()
	jwt, _, err := token.Mint(s.keySeed, s.account, token.Claims{
		IdentifierType: "user", IdentifierID: fmt.Sprintf("u%d", s.n.Add(1)), Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite}, Limit: limit, Expires: time.Now().Add(expires),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return jwt
}

// jumps are what the clock does, one after the other, against the true time.
var jumps = []time.Duration{0, time.Hour, 0, -time.Hour, 0, time.Hour, -time.Hour}

// wantTimesToGrow holds that each block of the log is later than the one before.
func (s *site) wantTimesToGrow(name string) {
	s.t.Helper()
	log, last := ended(s.t, s.store, name)
	var before event.Time
	for sequence := uint64(1); sequence <= last; sequence++ {
		m, err := log.Get(context.Background(), sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		h, err := event.DecodeHeader(m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		if h.Time <= before {
			s.t.Errorf("log %s: block %d has the time %d, that before it %d", name, sequence, h.Time, before)
		}
		before = h.Time
	}
}

// The clock jumps an hour forward and back, also while the writer is away. Block times grow, and a command id that was accepted a moment ago is known, whatever the
// clock was then: with the state, and with one that was rebuilt. The window is a day of block time, so the clock that went ahead by an hour makes it at most an
// hour shorter.
func TestClockJumpsKeepTheWindow(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprint("restarts ", restarts), func(t *testing.T) {
			s, c := newClockedSite(t)
			jwt := s.until(12*time.Hour, 1000)
			for i, jump := range jumps {
				c.set(jump)
				if restarts {
					s.restart()
				}
				if jump < 0 {
					wantCode(t, s.do(crp(jwt, "", "A", "1")), problem.Unauthenticated) // issued in what is now the future
					c.set(0)
				}
				for _, id := range []string{"p", "q"} {
					if a := s.must(crp(jwt, fmt.Sprint(id, i), "A", "1")); a.Repeated {
						t.Errorf("clock %s: got a repeat, want a new commit", jump)
					}
				}
				for j := range i + 1 {
					if a := s.must(crp(jwt, fmt.Sprint("p", j), "A", "1")); !a.Repeated {
						t.Errorf("clock %s: got a new commit for the id of jump %d, want the first answer", jump, j)
					}
				}
				s.wantTimesToGrow("patient")
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
			c.set(0)
			s.start()
			for j := range jumps {
				if a := s.must(crp(jwt, fmt.Sprint("q", j), "A", "1")); !a.Repeated {
					t.Errorf("state rebuilt: got a new commit for the id of jump %d, want the first answer", j)
				}
			}
			s.wantTimesToGrow("patient")
			s.wantTimesToGrow("eventful")
		})
	}
}

// A token is judged by the clock as it is: one that has expired by a clock that went ahead is refused, and taken again when the clock is right. One that the clock
// says was issued more than a minute from now is refused meanwhile.
func TestClockJumpsAndTheExpiryOfTokens(t *testing.T) {
	s, c := newClockedSite(t)
	short, long := s.until(30*time.Minute, 100), s.until(12*time.Hour, 100)
	s.must(crp(short, "", "A", "1"))
	s.must(crp(long, "", "A", "1"))
	c.set(time.Hour)
	wantCode(t, s.do(crp(short, "", "A", "1")), problem.Unauthenticated)
	s.must(crp(long, "", "A", "1"))
	c.set(-time.Hour)
	wantCode(t, s.do(crp(short, "", "A", "1")), problem.Unauthenticated)
	wantCode(t, s.do(crp(long, "", "A", "1")), problem.Unauthenticated)
	c.set(0)
	s.must(crp(short, "", "A", "1"))
	s.must(crp(long, "", "A", "1"))
}

// A writer that starts while the clock is ahead knows the budgets of tokens that seem to have expired: they are as spent as before when the clock is right again.
func TestClockJumpsKeepBudgets(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 24 * time.Hour} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			s, c := newClockedSite(t)
			s.migrate(wardSchema)
			jwt := s.until(30*time.Minute, 10)
			for range 5 {
				s.must(crp(jwt, "", "A", "1"))
				s.must(change(jwt, "", opened("W")))
			}
			c.set(ahead)
			s.restart()
			wantCode(t, s.do(crp(jwt, "", "A", "1")), problem.Unauthenticated)
			c.set(0)
			wantCode(t, s.do(change(jwt, "", opened("W"))), problem.BudgetSpent)
			wantCode(t, s.do(crp(jwt, "", "A", "1")), problem.BudgetSpent)
		})
	}
}
