package writer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// keepAsking sends a command until it is stored, as a client does, and fails the test on any refusal but unavailable.
func (c *cluster) keepAsking(log string, r writer.Request) *writer.Answer {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		out := make(chan outcome, 8)
		c.send(log, r, out)
		select {
		case o := <-out:
			switch {
			case o.problem == nil:
				return o.answer
			case o.problem.Code != problem.Unavailable && o.problem.Code != problem.UnknownOutcome:
				c.t.Errorf("command %s: got %v", r.Command.ID, o.problem)
				return nil
			}
		case <-time.After(testTTL):
		}
	}
	c.t.Errorf("command %s was not stored in time", r.Command.ID)
	return nil
}

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	jwt := c.boss.token(1000)
	for i := range 10 {
		c.keepAsking("patient", crp(jwt, fmt.Sprint("c", i), "A", "1"))
	}
	first, second := c.leader("patient"), c.other("patient")
	c.until("the standby has everything", func() bool {
		return second.status("patient").Sequence == first.status("patient").Sequence
	})
	first.end()
	delete(c.members, first.name)
	for i := range 12 {
		if a := c.keepAsking("patient", crp(jwt, fmt.Sprint("c", i), "A", "1")); a != nil && a.Repeated != (i < 10) {
			t.Errorf("c%d: got repeated %v", i, a.Repeated)
		}
	}
	if got := second.status("patient"); !got.Serving || got.Epoch != 2 {
		t.Errorf("got %+v, want it serving in epoch 2", got)
	}
}

// A member that was stopped past its lease and wakes up answers nothing, and what it still sends does not count.
func TestAWokenMemberCannotAnswer(t *testing.T) {
	memory := eventlog.NewMemory()
	c := newCluster(t, memory, "a", "b")
	jwt := c.boss.token(1000)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	first := c.leader("patient")
	wake := first.cutOff()
	first.clock.forward(time.Hour) // as it sees it when it wakes
	stale := make(chan outcome, 100)
	ask := func(r writer.Request) {
		first.w.Execute(r, func(a *writer.Answer, p *problem.Problem) { stale <- outcome{a, p} })
	}
	ask(expect(crp(jwt, "stale-conflict", "A", "2"), "7"))
	ask(expect(crp(jwt, "stale-version", "A", "2"), "1"))
	dry := crp(jwt, "stale-dry", "A", "2")
	dry.Command.DryRun = true
	ask(dry)
	ask(crp("no token", "stale-token", "A", "2"))
	c.until("another member leads", func() bool {
		return slices.ContainsFunc([]string{"a", "b"}, func(n string) bool { return n != first.name && c.members[n].serves("patient") })
	})
	c.keepAsking("patient", expect(crp(jwt, "new", "A", "2"), "1"))
	wake()
	for range 4 {
		if o := c.boss.wait(stale); o.problem != writer.Lost {
			t.Errorf("got %v, %v from the woken member, want nothing", o.answer, o.problem)
		}
	}
	c.until("it follows again", func() bool { return first.status("patient").Mode == "standby" })
	c.keepAsking("patient", expect(crp(jwt, "newer", "A", "3"), "2"))
}

// A lease that lapses and is renewed before anybody took it costs time, and nothing else.
func TestARenewedLeaseDecidesWhatWaited(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a")
	jwt := c.boss.token(1000)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	out, mend := c.waitsAt(c.members["a"], expect(crp(jwt, "waits", "A", "2"), "9"))
	mend()
	wantCode(t, c.boss.wait(out), problem.Conflict)
}

// waitsAt sends a command to the only member, whose lease lapses: nothing is answered before it is mended.
func (c *cluster) waitsAt(m *member, r writer.Request) (out chan outcome, mend func()) {
	c.t.Helper()
	mend = m.cutOff()
	m.clock.forward(time.Hour)
	out = make(chan outcome, 2)
	c.send("patient", r, out)
	select {
	case o := <-out:
		c.t.Fatalf("got %+v while the lease was not held", o)
	case <-time.After(50 * time.Millisecond):
	}
	return out, mend
}

// Logs are handed to and fro under load: every request gets exactly one answer, none is refused, and every command is stored once.
func TestHandOverUnderLoad(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	jwt := c.boss.token(1 << 30)
	const senders, enough = 16, 20
	var running sync.WaitGroup
	var sent, moves atomic.Int64
	for i := range senders {
		running.Go(func() {
			for n := 0; moves.Load() < enough && !t.Failed(); n++ {
				out := make(chan outcome, 4)
				c.send("patient", crp(jwt, fmt.Sprintf("h-%d-%d", i, n), fmt.Sprint("p", i), fmt.Sprint(n)), out)
				select {
				case o := <-out:
					if o.problem != nil {
						t.Errorf("h-%d-%d: got %v", i, n, o.problem)
					}
				case <-time.After(patience):
					t.Errorf("h-%d-%d: no answer", i, n)
				}
				if len(out) > 0 {
					t.Errorf("h-%d-%d: got another answer", i, n)
				}
				sent.Add(1)
			}
		})
	}
	for moves.Load() < enough && !t.Failed() {
		before := sent.Load()
		c.handOver("patient")
		moves.Add(1)
		c.until("commands go on", func() bool { return sent.Load() > before || t.Failed() })
	}
	running.Wait()
	stored := c.boss.stored("patient")
	if len(stored) != int(sent.Load()) {
		t.Errorf("got %d commands stored, want %d", len(stored), sent.Load())
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("command %s is stored %d times", id, n)
		}
	}
}

// Whatever happens to an append, takeovers included: every command is stored once, none is acknowledged and lost.
func TestTakeoversWithFaults(t *testing.T) {
	for _, fault := range []eventlog.Fault{eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay} {
		t.Run(string(fault), func(t *testing.T) {
			memory := eventlog.NewMemory()
			c := newCluster(t, memory, "a", "b")
			jwt := c.boss.token(1 << 30)
			var appends atomic.Int64
			memory.SetFault(func(log string, _ uint64, _ []byte) eventlog.Fault {
				if log == "patient" && appends.Add(1)%3 == 0 {
					return fault
				}
				return eventlog.None
			})
			for i := range 20 {
				id := fmt.Sprint("f", i)
				c.keepAsking("patient", crp(jwt, id, fmt.Sprint("p", i%3), "1"))
				if i%5 == 0 {
					_ = c.leader("patient").w.Resign(t.Context(), "patient") // it may fail; nothing may be lost by it
				}
				memory.Release("patient")
			}
			memory.SetFault(nil)
			for id, n := range c.boss.stored("patient") {
				if n != 1 {
					t.Errorf("command %s is stored %d times", id, n)
				}
			}
			if got := len(c.boss.stored("patient")); got != 20 {
				t.Errorf("got %d commands stored, want 20", got)
			}
		})
	}
}

// Each log can be led by another member: schemas, units of tokens and hand-backs go from one to the other.
func TestMembersShareOneSystemLog(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	c.boss.migrate(`{"aggregate":"visit","events":{"opened":{}}}`)
	c.lead("a", "eventful")
	c.boss.w = c.members["a"].w
	c.lead("b", "patient")
	c.lead("a", "ward")
	c.lead("b", "visit")
	c.lines.setLose(func(_, _, verb string) bool { return (verb == "grant" || verb == "hand-back") && c.doors.coin() })
	const limit = 60
	jwt := c.boss.token(limit)
	var running sync.WaitGroup
	var stored, spent atomic.Int64
	for i := range 3 * limit {
		typ := []string{"patient", "ward", "visit"}[i%3]
		event := map[string]string{"patient": "crp", "ward": "opened", "visit": "opened"}[typ]
		running.Go(func() {
			for range 100 {
				out := make(chan outcome, 4)
				c.send(typ, change(jwt, fmt.Sprint("u", i), one(typ, fmt.Sprint("x", i), event)), out)
				o := c.boss.wait(out)
				switch {
				case o.problem == nil:
					stored.Add(1)
				case o.problem.Code == problem.BudgetSpent:
					spent.Add(1)
				case o.problem.Code == problem.Unavailable:
					continue
				default:
					t.Errorf("u%d: got %v", i, o.problem)
				}
				return
			}
			t.Errorf("u%d: no end", i)
		})
	}
	running.Wait()
	if stored.Load() != limit || spent.Load() != 2*limit {
		t.Errorf("got %d stored and %d refused, want %d and %d", stored.Load(), spent.Load(), limit, 2*limit)
	}
}

// A migration is in force in every process when it returns, and a log that another process leads is checked without a gap.
func TestUniquenessAcrossMembers(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(fmt.Sprintf(userSchema, false))
	c.lead("a", "eventful")
	c.lead("b", "user")
	c.boss.w = c.members["a"].w
	jwt := c.boss.token(1 << 20)
	c.keepAsking("user", change(jwt, "", user("u1", "x")))
	c.keepAsking("user", change(jwt, "", user("u2", "x")))
	migrate := func() *problem.Problem {
		if _, p := c.boss.w.DraftSchema(t.Context(), c.boss.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
			t.Fatal(p)
		}
		_, p := c.boss.w.Migrate(t.Context(), c.boss.admin, "")
		return p
	}
	if p := migrate(); p == nil || p.Code != problem.Conflict || !strings.Contains(p.Error(), "hold the same value") {
		t.Fatalf("got %v, want the duplicates", p)
	}
	c.keepAsking("user", change(jwt, "", user("u2", "y"))) // the log decides again
	var running sync.WaitGroup
	var won atomic.Int64
	running.Go(func() {
		if p := migrate(); p != nil {
			t.Error(p)
		}
	})
	for i := range 200 {
		c.keepAsking("user", change(jwt, "", user(fmt.Sprint("w", i), fmt.Sprint("value", i))))
	}
	running.Wait()
	for i := range 20 {
		running.Go(func() {
			out := make(chan outcome, 2)
			c.send("user", change(jwt, "", user(fmt.Sprint("z", i), "same")), out)
			if o := c.boss.wait(out); o.problem == nil {
				won.Add(1)
			} else if o.problem.Code != problem.Conflict {
				t.Error(o.problem)
			}
		})
	}
	running.Wait()
	if won.Load() != 1 {
		t.Errorf("%d aggregates have the same value, want 1", won.Load())
	}
}

// A log that is frozen stays so for whoever takes it over, until the system log has another writer: then the act can never be stored.
func TestAFreezeOutlivesItsOwner(t *testing.T) {
	memory := eventlog.NewMemory()
	c := newCluster(t, memory, "a", "b", "c")
	c.boss.migrate(fmt.Sprintf(userSchema, false))
	author := c.members["c"] // the last one to be given a log that goes free
	c.leaveTo("user", func(m *member) bool { return m != author })
	c.lead("c", "eventful")
	c.boss.w = author.w
	owner := c.leader("user")
	jwt := c.boss.token(1 << 20)
	c.keepAsking("user", change(jwt, "", user("u1", "x")))
	if _, p := c.boss.w.DraftSchema(t.Context(), c.boss.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
		t.Fatal(p)
	}
	var answered atomic.Int64
	c.lines.setLose(func(_, _, verb string) bool { answered.Add(1); return verb == "check" || verb == "thaw" }) // the act is never stored
	migrating := make(chan struct{})
	go func() {
		defer close(migrating)
		_, _ = author.w.Migrate(t.Context(), c.boss.admin, "")
	}()
	c.until("the log is frozen", func() bool {
		return slices.ContainsFunc(c.boss.commits("user"), func(k *event.Commit) bool { return k.Events[0].Type == "log-frozen" })
	})
	owner.end()
	delete(c.members, owner.name)
	if c.leader("user") == author {
		t.Fatal("the log went to who writes the system log, which then checks it")
	}
	out := make(chan outcome, 2)
	c.send("user", change(jwt, "late", user("u2", "x")), out)
	select {
	case o := <-out:
		t.Fatalf("got %v, %v from a frozen log", o.answer, o.problem)
	case <-time.After(50 * time.Millisecond):
	}
	author.end() // another one writes the system log now
	delete(c.members, author.name)
	if o := c.boss.wait(out); o.problem != nil {
		t.Errorf("got %v, want the command stored", o.problem)
	}
	<-migrating
	c.boss.w = c.leader("eventful").w
}

// A log that is found to be damaged takes no commands in any process.
func TestACondemnedLogIsWrittenByNobody(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	jwt := c.boss.token(100)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	c.other("patient").w.Condemn(t.Context(), "patient", "message 7 is missing")
	out := make(chan outcome, 2)
	c.send("patient", crp(jwt, "", "A", "2"), out)
	wantCode(t, c.boss.wait(out), problem.Damaged)
	for _, m := range c.members {
		if st := m.status("patient"); st.Serving || st.Error == "" {
			t.Errorf("%s: got %+v, want the reason", m.name, st)
		}
	}
}

// Which member refuses the commands of its logs, as its disk is nearly full, every member can say.
func TestSiteNamesWhoHasNoRoom(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.members["b"].full.Store(problem.New(problem.NoSpace, "the disk is full"))
	for name, m := range c.members {
		c.until(name+" says who has no room", func() bool {
			s := m.w.Site(t.Context())
			return len(s.Members) == 2 && !slices.ContainsFunc(s.Members, func(o writer.SiteMember) bool { return (o.Refusing == "the disk is full") != (o.ID == "b") })
		})
	}
	c.members["b"].full.Store(nil)
}

// Site says who writes what, as every member knows it.
func TestSiteNamesWritersAndStandbys(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.lead("b", "patient")
	c.until("both members say the same", func() bool {
		for _, m := range c.members {
			s := m.w.Site(t.Context())
			i := slices.IndexFunc(s.Logs, func(l writer.SiteLog) bool { return l.Log == "patient" })
			if len(s.Members) != 2 || i < 0 || s.Logs[i].Member != "b" || s.Logs[i].State != "serving" || len(s.Logs[i].Standbys) != 1 ||
				s.Logs[i].Standbys[0].Member != "a" || s.Logs[i].Standbys[0].Lag != 0 {
				return false
			}
		}
		return true
	})
	for _, log := range []string{"nothing", ""} {
		if p := c.members["a"].w.Resign(t.Context(), log); p == nil || p.Code != problem.NotFound {
			t.Errorf("log %q: got %v, want not found", log, p)
		}
	}
}
