package writer_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Without room commands and acts are refused, and cost and leave nothing; with room again all goes on.
func TestWithoutRoomNothingIsWritten(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	var full atomic.Pointer[problem.Problem]
	s.cfg.Room = full.Load
	s.restart()
	jwt := s.token(2)
	s.must(crp(jwt, "first", "A", "1"))
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(`{"aggregate":"bed","events":{"made":{}}}`)); p != nil {
		t.Fatal(p)
	}
	_, patients := ended(t, s.store, "patient")
	_, system := ended(t, s.store, "eventful")

	full.Store(problem.New(problem.NoSpace, "the disk is full"))
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.NoSpace)
	wantCode(t, s.do(crp("", "", "A", "2")), problem.Unauthenticated)
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(`{"aggregate":"ward","events":{"made":{}}}`)); p == nil || p.Code != problem.NoSpace {
		t.Errorf("draft: got %v, want no_space", p)
	}
	if _, p := s.w.Migrate(t.Context(), s.admin, ""); p == nil || p.Code != problem.NoSpace {
		t.Errorf("migrate: got %v, want no_space", p)
	}
	if names, err := s.store.List(t.Context()); err != nil || len(names) != 2 {
		t.Errorf("got logs %v, error %v, want no third one", names, err)
	}
	if _, last := ended(t, s.store, "patient"); last != patients {
		t.Errorf("got %d messages in the log, want %d as before", last, patients)
	}
	if _, last := ended(t, s.store, "eventful"); last != system {
		t.Errorf("got %d messages in the system log, want %d as before", last, system)
	}

	full.Store(nil)
	if a := s.must(crp(jwt, "", "A", "2")); a.Commits[0].Version != 2 {
		t.Errorf("got %+v, want version 2", a)
	}
	wantCode(t, s.do(crp(jwt, "", "A", "3")), problem.BudgetSpent)
	if _, p := s.w.Migrate(t.Context(), s.admin, ""); p != nil {
		t.Error(p)
	}
}

// A log that is frozen for a migration when there is no room any more takes commands again when there is some, although the migration was refused.
func TestAFrozenLogGoesOnWithRoom(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	var full atomic.Pointer[problem.Problem]
	s.cfg.Room = full.Load
	s.restart()
	jwt := s.token(100)
	s.migrate(fmt.Sprintf(userSchema, false))
	s.must(change(jwt, "", user("u1", "x")))
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
		t.Fatal(p)
	}
	m.SetFault(func(log string, _ uint64, _ []byte) eventlog.Fault {
		if log == "user" { // that it is frozen
			full.Store(problem.New(problem.NoSpace, "the disk is full"))
		}
		return eventlog.None
	})
	if _, p := s.w.Migrate(t.Context(), s.admin, ""); p == nil || p.Code != problem.NoSpace {
		t.Errorf("migrate: got %v, want no_space", p)
	}
	m.SetFault(nil)
	full.Store(nil)
	s.must(change(jwt, "", user("u2", "x")))
}

// A member whose own disk has no room refuses, until the other one has its logs. Each request has one answer, whenever it comes; what is refused leaves nothing, and no command is refused behind that.
func TestAMemberWithoutRoomHandsOverUnderLoad(t *testing.T) {
	for name, last := range map[string]bool{"below its limit": false, "full to the last byte": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, eventlog.NewMemory(), "a", "b")
			jwt := c.boss.token(1 << 30)
			first, second := c.leader("patient"), c.other("patient")
			c.until("the other one follows", func() bool { return second.status("patient").Sequence == first.status("patient").Sequence })
			l := c.crowd(jwt)
			c.until("commands are stored", func() bool { return l.stored.Load() > 100 })
			first.last.Store(last)
			first.full.Store(problem.New(problem.NoSpace, "the disk is full"))
			for _, log := range []string{"patient", "eventful"} {
				c.until("the other one serves "+log, func() bool { return second.serves(log) && !first.serves(log) })
			}
			c.until("commands are stored again", func() bool { return l.stored.Load() > l.enough.Load() })
			refused := l.refused.Load()
			c.until("some more are", func() bool { return l.stored.Load() > 2*l.enough.Load() })
			if got := l.refused.Load() - refused; got > 0 {
				t.Errorf("%d commands were refused behind the hand-over, want none", got)
			}
			l.end()
			first.last.Store(false)
			first.full.Store(nil)
			c.until("the first one follows", func() bool {
				return first.status("patient").Mode == "standby" && first.status("patient").Sequence == second.status("patient").Sequence
			})
			stored := c.boss.stored("patient")
			if len(stored) != int(l.stored.Load()) {
				t.Errorf("got %d commands stored, want %d", len(stored), l.stored.Load())
			}
			for id, n := range stored {
				if n != 1 {
					t.Errorf("command %s is stored %d times", id, n)
				}
			}
			t.Logf("%d commands were stored, %d refused for want of room", l.stored.Load(), l.refused.Load())
		})
	}
}

// A command whose log has room, and which needs units from a log that has none for the moment, is not refused for want of room: that log goes to a member that has some.
func TestUnitsFromALogWithoutRoom(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.lead("a", "eventful")
	c.lead("b", "patient")
	a, jwt := c.members["a"], c.boss.token(10)
	a.keeps.Store(true)
	a.full.Store(problem.New(problem.NoSpace, "the disk of a is full"))
	out := make(chan outcome, 4)
	c.send("patient", crp(jwt, "first", "A", "1"), out)
	o := c.boss.wait(out)
	wantCode(t, o, problem.Unavailable)
	if !strings.Contains(o.problem.Detail, "the disk of a is full") {
		t.Errorf("got %v, want it to say why", o.problem)
	}
	a.keeps.Store(false)
	c.keepAsking("patient", crp(jwt, "first", "A", "1"))
	a.full.Store(nil)
}

// A command that comes while the lease is not held waits, whatever room there is: another member may have some. It is refused when it is this member's to decide.
func TestWhatWaitedIsRefusedWithoutRoom(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a")
	jwt := c.boss.token(1000)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	a := c.members["a"]
	a.full.Store(problem.New(problem.NoSpace, "the disk is full"))
	out, mend := c.waitsAt(a, crp(jwt, "waits", "A", "2"))
	mend()
	wantCode(t, c.boss.wait(out), problem.NoSpace)
	a.full.Store(nil)
	c.keepAsking("patient", crp(jwt, "waits", "A", "2"))
}

// crowd is senders of which each waits for its answer.
type crowd struct {
	stored, refused atomic.Int64
	enough          atomic.Int64 // stored when the first was refused
	over            atomic.Bool
	running         sync.WaitGroup
}

func (l *crowd) end() {
	l.over.Store(true)
	l.running.Wait()
}

func (c *cluster) crowd(jwt string) *crowd {
	l := &crowd{}
	c.t.Cleanup(l.end)
	l.enough.Store(1 << 60)
	for i := range 8 {
		l.running.Go(func() {
			for n := 0; !l.over.Load() && !c.t.Failed(); n++ {
				id, out := fmt.Sprintf("l-%d-%d", i, n), make(chan outcome, 4)
				c.send("patient", crp(jwt, id, fmt.Sprint("p", i), fmt.Sprint(n)), out)
				l.take(c, id, out)
			}
		})
	}
	return l
}

func (l *crowd) take(c *cluster, id string, out chan outcome) {
	select {
	case o := <-out:
		switch {
		case o.problem == nil:
			l.stored.Add(1)
		case o.problem.Code == problem.NoSpace:
			l.refused.Add(1)
			l.enough.CompareAndSwap(1<<60, l.stored.Load()+100)
		default:
			c.t.Errorf("%s: got %v", id, o.problem)
		}
	case <-time.After(patience):
		c.t.Errorf("%s: no answer", id)
	}
	if len(out) > 0 {
		c.t.Errorf("%s: got another answer", id)
	}
}

// Who finds no successor is told what one lacks that had no room a moment ago.
func TestResigningWithoutASuccessorSaysWhatIsWanted(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a")
	p := c.members["a"].w.Resign(t.Context(), "patient")
	if p == nil || p.Code != problem.Conflict || !strings.Contains(p.Hint, "half a minute") {
		t.Errorf("got %+v, want a conflict that says when a writer with room again is given logs", p)
	}
}
