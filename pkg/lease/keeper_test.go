package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/lease/leasetest"
)

func TestOneMemberServesEverythingAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(20))
		synctest.Wait()
		if got := len(a.held()); got != 20 {
			t.Errorf("holds %d logs, want all 20 without a pause\n%s", got, w.state())
		}
		if !a.keeper.Alone() {
			t.Error("Alone: got false, want true")
		}
		w.pass(time.Minute)
		if got := a.count("gone"); got != 0 {
			t.Errorf("lost %d leases in a quiet minute, want none", got)
		}
		for _, o := range a.keeper.Owners() {
			if o.Member != "a" || !o.Live || o.State != lease.Serving || o.Epoch != 1 || o.Generation != 1 || o.Name != "writer a" {
				t.Errorf("got %+v, want it served by a, generation 1, epoch 1", o)
			}
		}
	})
}

func TestMembersShareTheLogs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.start("a", nil), w.start("b", nil)
		w.until("two members", time.Second, func() bool { return len(a.keeper.Members()) == 2 && len(b.keeper.Members()) == 2 })
		if a.keeper.Alone() || b.keeper.Alone() {
			t.Error("Alone: got true with two members")
		}
		for _, log := range logs(20) {
			a.keeper.Follow(log)
			b.keeper.Follow(log)
		}
		w.wantShares("two that come together", 5*time.Second, []int{10, 10}, "a", "b")
		w.start("c", logs(20))
		took := w.wantShares("a third joins", 30*time.Second, []int{7, 7, 6}, "a", "b", "c")
		if took < 5*time.Second {
			t.Errorf("balanced after %v, want none while membership is young", took)
		}
		moves := a.count("lead") + b.count("lead") + w.processes["c"].count("lead") - 20
		if moves != 6 {
			t.Errorf("%d hand-overs, want 6\n%s", moves, w.state())
		}
		w.pass(time.Minute)
		if got := a.count("lead") + b.count("lead") + w.processes["c"].count("lead") - 20; got != moves {
			t.Errorf("%d hand-overs after another minute, want no more than %d", got, moves)
		}
		w.processes["c"].kill()
		took = w.wantShares("a third is killed", ttl+time.Second, []int{10, 10}, "a", "b")
		t.Logf("all logs served again %v after a kill", took)
		b.end()
		if took := w.wantShares("the second ends in order", time.Second, []int{20}, "a"); took > 100*time.Millisecond {
			t.Errorf("taken over after %v, want at once", took)
		}
		if got := b.count("gone on"); got < 10 {
			t.Errorf("%d logs handed over at the end, want 10", got)
		}
		if err := b.err; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
}

func TestTheOnlyMemberLeavesItsLogsFree(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(3), func(c *lease.Config, _ *process) { c.Grace = 0 })
		w.wantShares("without a record: after the grace", ttl+time.Second, []int{3}, "a")
		a.end()
		if a.err != nil {
			t.Errorf("Run: got %v, want nil", a.err)
		}
		b := w.start("b", logs(3), func(c *lease.Config, _ *process) { c.Grace = 0 })
		synctest.Wait()
		if got := len(b.held()); got != 3 {
			t.Errorf("holds %d, want 3 at once: the former owner left them free\n%s", got, w.state())
		}
	})
}

func TestARestartedMemberTakesItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", logs(3))
		w.wantShares("start", time.Second, []int{3}, "a")
		w.processes["a"].kill()
		w.start("b", logs(3))
		again := w.start("a", logs(3))
		synctest.Wait()
		if got := len(again.held()); got != 3 {
			t.Errorf("holds %d after a restart, want its 3 at once\n%s", got, w.state())
		}
		for _, o := range again.keeper.Owners() {
			if o.Generation != 2 {
				t.Errorf("got %+v, want generation 2: the former life did not give it", o)
			}
		}
	})
}

// unsure does not know what became of a process that had its id.
func unsure(c *lease.Config, _ *process) { c.Gone = nil }

// Of two processes with one id the one that comes later ends, and the other does not notice.
func TestTwoProcessesWithOneID(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := w.start("a", logs(3), unsure)
		w.wantShares("start", time.Second, []int{3}, "a")
		second := w.start("a", logs(3), unsure)
		select {
		case <-second.ended:
		case <-time.After(ttl):
			t.Fatal("the second still runs")
		}
		if !errors.Is(second.err, lease.ErrSameMember) {
			t.Errorf("got %v, want ErrSameMember", second.err)
		}
		w.pass(time.Minute)
		if got := first.held(); len(got) != 3 || first.count("gone") > 0 || second.count("lead") > 0 {
			t.Errorf("the first holds %v, want all 3 all the time\n%s", got, w.state())
		}
	})
}

// A process whose predecessor is not certain to be gone waits until that was silent for TTL.
func TestARestartElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", logs(3), unsure)
		w.wantShares("start", time.Second, []int{3}, "a")
		w.processes["a"].kill()
		w.start("a", logs(3), unsure)
		if took := w.wantShares("again", ttl+time.Second, []int{3}, "a"); took < ttl/2 {
			t.Errorf("taken after %v, want not while the former process may live", took)
		}
	})
}

// A process that took the other one for gone ends it.
func TestTwoProcessesWithOneIDThatSeemedGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := w.start("a", logs(3))
		w.wantShares("start", time.Second, []int{3}, "a")
		w.start("a", logs(3))
		select {
		case <-first.ended:
		case <-time.After(ttl):
			t.Fatal("the first still runs")
		}
		if !errors.Is(first.err, lease.ErrSameMember) {
			t.Errorf("got %v, want ErrSameMember", first.err)
		}
		if got := first.held(); len(got) > 0 {
			t.Errorf("the first holds %v", got)
		}
	})
}

func TestKilledMembersLogsAreTakenInTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(5))
		w.wantShares("start", time.Second, []int{5}, "a")
		b := w.start("b", logs(5))
		w.until("b is a member", time.Second, func() bool { return len(b.keeper.Members()) == 2 })
		groups := map[string]string{}
		for _, log := range logs(5) {
			groups[log] = a.lease(log).Group()
		}
		a.kill()
		if took := w.wantShares("takeover", ttl+time.Second, []int{5}, "b"); took < ttl-ttl/4 {
			t.Errorf("taken over after %v, want not before the lease lapsed", took)
		}
		for log, group := range groups {
			if got := b.lease(log).Group(); got == group {
				t.Errorf("%s: the group is the same in a takeover", log)
			}
		}
	})
}

func TestAPausedMemberHoldsNothing(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, ttl - time.Millisecond, ttl + 500*time.Millisecond, 20 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.start("a", logs(5))
				w.wantShares("start", time.Second, []int{5}, "a")
				b := w.start("b", logs(5))
				w.pass(time.Second)
				leases := map[string]*lease.Lease{}
				for _, log := range logs(5) {
					leases[log] = a.lease(log)
				}
				a.link.pause()
				w.pass(pause)
				a.link.resume()
				for log, l := range leases { // before anything of a has run
					if pause > ttl && l.Held() {
						t.Errorf("%s: the woken member holds its lease", log)
					}
				}
				w.until("every log is held", ttl, func() bool { return len(a.held())+len(b.held()) == 5 })
				if pause > ttl+time.Second && len(a.held()) > 0 {
					t.Errorf("the woken member still holds %v", a.held())
				}
				w.pass(time.Second)
				if pause > ttl+time.Second && a.count("gone log") != 5 {
					t.Errorf("%d leases gone, want 5: %v", a.count("gone log"), a.events)
				}
			})
		})
	}
}

// With nobody else there, a member that slept goes on with what it has: the acknowledged renewal proves that nobody took it.
func TestALoneMemberSleeps(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2))
		w.wantShares("start", time.Second, []int{2}, "a")
		l := a.lease("log-00")
		a.link.pause()
		w.pass(time.Minute)
		a.link.resume()
		if l.Held() {
			t.Error("held before a renewal was acknowledged")
		}
		changed := l.Changed()
		w.wantShares("awake", time.Second, []int{2}, "a")
		select {
		case <-changed:
		default:
			t.Error("Changed was not closed")
		}
		if got := a.count("gone"); got != 0 {
			t.Errorf("%d leases gone, want none", got)
		}
	})
}

func TestHandOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(3), func(_ *lease.Config, p *process) { p.settle = 50 * time.Millisecond })
		w.wantShares("start", time.Second, []int{3}, "a")
		if err := a.keeper.Resign(t.Context(), "log-01"); !errors.Is(err, lease.ErrNoSuccessor) {
			t.Errorf("resign alone: got %v, want ErrNoSuccessor", err)
		}
		if err := a.keeper.Resign(t.Context(), "other"); !errors.Is(err, lease.ErrNotLeading) {
			t.Errorf("resign another log: got %v, want ErrNotLeading", err)
		}
		b := w.start("b", logs(2), func(_ *lease.Config, p *process) { p.takeOver = 20 * time.Millisecond })
		w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		if err := a.keeper.Resign(t.Context(), "log-02"); !errors.Is(err, lease.ErrNoSuccessor) {
			t.Errorf("resign what b does not follow: got %v, want ErrNoSuccessor", err)
		}
		group, begin := a.lease("log-01").Group(), time.Now()
		if err := a.keeper.Resign(t.Context(), "log-01"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 70*time.Millisecond {
			t.Errorf("handed over in %v, want 70 ms: what settling and the takeover take", took)
		}
		synctest.Wait()
		if got := b.held(); !slices.Equal(got, []string{"log-01"}) {
			t.Errorf("b holds %v, want log-01", got)
		}
		if got := b.lease("log-01").Group(); got != group {
			t.Errorf("the group changed from %s to %s in a hand-over", group, got)
		}
		if got := a.count("gone on log-01"); got != 1 {
			t.Errorf("a heard %v, want one Gone with republish", a.events)
		}
		for _, o := range b.keeper.Owners() {
			if o.Log == "log-01" && (o.Generation != 1 || o.Member != "b") {
				t.Errorf("got %+v, want generation 1: it was given", o)
			}
		}
		w.pass(time.Minute)
		if got := b.held(); !slices.Equal(got, []string{"log-01"}) {
			t.Errorf("b holds %v after a minute, want log-01", got)
		}
	})
}

// Who asked is told how it ended, also if he is sent away at that moment.
func TestResignIsToldAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		contexts, cancel := map[string]context.Context{}, map[string]context.CancelFunc{}
		for _, log := range logs(20) {
			contexts[log], cancel[log] = context.WithCancel(t.Context())
		}
		a := w.start("a", logs(20), func(_ *lease.Config, p *process) { p.gone = func(log string) { cancel[log]() } })
		w.wantShares("start", time.Second, []int{20}, "a")
		b := w.start("b", logs(20), func(c *lease.Config, _ *process) { c.Settle = time.Hour })
		w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		for _, log := range logs(20) {
			if err := a.keeper.Resign(contexts[log], log); err != nil {
				t.Errorf("%s was handed over: got %v, want nil", log, err)
			}
		}
		w.until("b has all", time.Second, func() bool { return len(b.held()) == 20 })
	})
}

// A member that is alone takes the commands of all logs in one group; from when another was seen each log has its own.
func TestGroups(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(3))
		w.wantShares("start", time.Second, []int{3}, "a")
		groups := map[string]bool{}
		for _, log := range logs(3) {
			groups[a.lease(log).Group()] = true
		}
		if len(groups) != 1 {
			t.Errorf("%d groups of one who is alone, want 1", len(groups))
		}
		b := w.start("b", logs(3))
		w.pass(time.Second)
		a.kill()
		w.wantShares("takeover", ttl+time.Second, []int{3}, "b")
		for _, log := range logs(3) {
			groups[b.lease(log).Group()] = true
		}
		if len(groups) != 4 {
			t.Errorf("%d groups behind the takeover, want 3 new ones", len(groups))
		}
	})
}

// What a person took from a member does not come back for balance; another log may. It does when that member has started again.
func TestAResignedLogStaysAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2))
		w.wantShares("start", time.Second, []int{2}, "a")
		b := w.start("b", logs(2))
		w.wantShares("balance", 10*time.Second, []int{1, 1}, "a", "b")
		log := a.held()[0]
		if err := a.keeper.Resign(t.Context(), log); err != nil {
			t.Fatal(err)
		}
		w.pass(4 * time.Second)
		if got := len(b.held()); got != 2 {
			t.Errorf("b holds %d logs after 4 s, want both: nothing moves at once\n%v\n%s", got, b.events, w.state())
		}
		w.pass(time.Minute)
		if got := b.held(); !slices.Equal(got, []string{log}) {
			t.Errorf("b holds %v after a minute, want %s, and that the other went to a", got, log)
		}
		if err := a.keeper.Resign(t.Context(), a.held()[0]); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if got := len(b.held()); got != 2 {
			t.Errorf("b holds %d logs after a minute, want both: both were resigned", got)
		}
		a.end()
		w.start("a", logs(2))
		w.wantShares("a has started again", 10*time.Second, []int{1, 1}, "a", "b")
	})
}

func TestTheSuccessorFails(t *testing.T) {
	for name, fail := range map[string]func(b *process){
		"it is killed in the takeover": func(b *process) { b.kill() },
		"it never serves":              func(*process) {},
		"it ends in order":             func(b *process) { b.stop() },
		"it is stopped":                func(b *process) { b.link.pause() },
		"it is fenced":                 func(b *process) { b.lease("log-00").Fenced() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.start("a", logs(1))
				w.wantShares("start", time.Second, []int{1}, "a")
				b := w.start("b", logs(1), func(_ *lease.Config, p *process) { p.takeOver = -1 })
				w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
				group := a.lease("log-00").Group()
				resigned := make(chan error, 1)
				go func() { resigned <- a.keeper.Resign(context.Background(), "log-00") }()
				w.until("b takes over", time.Second, func() bool { return b.lease("log-00") != nil })
				fail(b)
				took := w.wantShares("a has it back", 2*time.Second+200*time.Millisecond, []int{1}, "a")
				t.Logf("back after %v", took)
				if err := <-resigned; !errors.Is(err, lease.ErrNotServed) {
					t.Errorf("got %v, want ErrNotServed", err)
				}
				if got := a.lease("log-00").Group(); got != group {
					t.Error("the group changed: what was held could not be decided")
				}
				if got := strings.Join(a.events, ", "); got != "lead log-00, leave log-00, lead log-00" {
					t.Errorf("a heard %s", got)
				}
				b.link.resume()
				w.pass(time.Second)
				if l := b.lease("log-00"); l != nil {
					t.Errorf("b still has a lease: %v", b.events)
				}
			})
		})
	}
}

func TestTheOwnerDiesWhileHandingOver(t *testing.T) {
	for _, after := range []string{"leave", "left", "gone"} {
		t.Run(after, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.start("a", logs(1), func(_ *lease.Config, p *process) { p.settle = 100 * time.Millisecond })
				w.wantShares("start", time.Second, []int{1}, "a")
				b := w.start("b", logs(1), func(_ *lease.Config, p *process) { p.takeOver = 100 * time.Millisecond })
				w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
				go func() { _ = a.keeper.Resign(context.Background(), "log-00") }()
				switch after {
				case "leave":
					w.until("a leaves", time.Second, func() bool { return a.count("leave") == 1 })
				case "left":
					w.until("b takes over", time.Second, func() bool { return b.count("lead") == 1 })
				case "gone":
					w.until("b serves", time.Second, func() bool { return a.count("gone") == 1 })
				}
				a.kill()
				w.wantShares("b has it", ttl+time.Second, []int{1}, "b")
			})
		})
	}
}

func TestTheTableIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.start("a", nil), w.start("b", nil)
		w.pass(time.Second)
		for _, log := range logs(4) {
			a.keeper.Follow(log)
			b.keeper.Follow(log)
		}
		w.wantShares("start", time.Second, []int{2, 2}, "a", "b")
		for _, away := range []time.Duration{time.Second, 10 * time.Second} {
			a.link.split()
			b.link.split()
			w.pass(away)
			if held := len(a.held()) + len(b.held()); away > ttl && held > 0 {
				t.Errorf("%d leases held after %v without the table", held, away)
			}
			a.link.join()
			b.link.join()
			w.wantShares("it is back", time.Second, []int{2, 2}, "a", "b")
		}
		if got := a.count("gone") + b.count("gone"); got != 0 {
			t.Errorf("%d leases changed hands, want none: nobody was worse off than the other", got)
		}
	})
}

// The way back is longer for one than for the other: that is no reason to take its logs.
func TestTheTableIsBackForOneFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2))
		w.wantShares("start", time.Second, []int{2}, "a")
		b := w.start("b", logs(2), func(c *lease.Config, _ *process) { c.Settle = time.Hour })
		w.pass(time.Second)
		a.link.split()
		b.link.split()
		w.pass(10 * time.Second)
		b.link.join()
		w.pass(time.Second)
		a.link.join()
		w.wantShares("it is back", time.Second, []int{2}, "a")
		if got := a.count("gone"); got != 0 {
			t.Errorf("%d leases lost, want none", got)
		}
	})
}

// The lease counts from before the renewal was sent, however late it is acknowledged.
func TestAnswersAreLate(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2))
		w.wantShares("start", time.Second, []int{2}, "a")
		b := w.start("b", logs(2))
		w.pass(time.Second)
		a.link.delay(0, 700*time.Millisecond)
		a.link.deafen()
		w.pass(5 * time.Second)
		w.wantShares("late answers are answers", 0, []int{2}, "a")
		w.until("a renewed", time.Second, func() bool { return a.link.underWay() })
		a.link.split()
		w.wantShares("takeover", ttl+time.Second, []int{2}, "b")
		if len(b.held()) != 2 {
			t.Error("b does not hold them")
		}
	})
}

func TestOneIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.start("a", logs(4)), w.start("b", logs(4))
		w.until("all are held", time.Second, func() bool { return len(a.held())+len(b.held()) == 4 })
		a.link.split()
		w.wantShares("b has all", ttl+time.Second, []int{4}, "b")
		a.link.join()
		w.wantShares("they share again", 20*time.Second, []int{2, 2}, "a", "b")
	})
}

// Everybody finds an empty table: who still held a lease goes on with it.
func TestTheTableIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		grace := func(c *lease.Config, _ *process) { c.Grace = 0 }
		a, b := w.start("a", logs(4), grace), w.start("b", logs(4), grace)
		w.wantShares("start", 10*time.Second, []int{2, 2}, "a", "b")
		before := a.count("lead") + b.count("lead")
		for range 3 {
			w.pass(4 * time.Second)
			w.table.Lose()
			w.wantShares("lost", time.Second, []int{2, 2}, "a", "b")
		}
		if got := a.count("lead") + b.count("lead"); got != before {
			t.Errorf("%d takeovers, want none", got-before)
		}
		c := w.start("c", logs(4), grace)
		b.link.pause()
		w.table.Lose()
		w.until("what the stopped one had is served", 2*ttl+time.Second, func() bool { return len(a.held())+len(c.held()) == 4 })
		b.link.resume()
		w.pass(30 * time.Second)
		w.wantShares("all awake", time.Second, []int{2, 1, 1}, "a", "b", "c")
	})
}

// The table is lost twice while one sleeps; another led meanwhile. Its lease is over, although nothing in the table says so.
func TestTheTableIsLostTwice(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		grace := func(c *lease.Config, _ *process) { c.Grace = 0 }
		a, b := w.start("a", logs(1), grace), w.start("b", nil, grace)
		w.wantShares("start", 10*time.Second, []int{1}, "a")
		b.keeper.Follow("log-00")
		w.pass(time.Second)
		a.link.split()
		w.table.Lose()
		w.wantShares("b takes it", 2*ttl, []int{1}, "b")
		b.link.split()
		w.table.Lose()
		a.link.join()
		w.pass(ttl - time.Second)
		if got := a.held(); len(got) > 0 {
			t.Errorf("a holds %v, which b had in between", got)
		}
		b.link.join()
		w.until("one has it", 2*ttl, func() bool { return len(a.held())+len(b.held()) == 1 })
	})
}

// The servers restarted within another member's process, which claims at once: what was held before is over at the gap.
func TestTheTableIsLostUnderOneWithoutGrace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(1), func(_ *lease.Config, p *process) { p.link.blink = 500 * time.Millisecond })
		w.wantShares("start", time.Second, []int{1}, "a")
		w.start("b", logs(1))
		w.pass(time.Second)
		w.table.Lose()
		w.wantShares("b takes it", time.Second, []int{1}, "b")
		w.until("a knows", time.Second, func() bool { return a.count("gone") == 1 })
	})
}

func TestWallClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.start("a", logs(2))
				w.wantShares("start", time.Second, []int{2}, "a")
				b := w.start("b", logs(2))
				w.pass(time.Second)
				a.wallAhead.Store(int64(jump))
				if held := len(a.held()); jump > 0 && held > 0 {
					t.Errorf("%d leases held: the wall clock says that they are over", held)
				}
				w.wantShares("renewed", time.Second, []int{2}, "a")
				b.wallAhead.Store(int64(jump))
				w.pass(2 * time.Second)
				w.wantShares("the other's clock is no reason either", time.Second, []int{2}, "a")
				a.link.pause()
				a.wallAhead.Store(0)
				w.wantShares("takeover", ttl+time.Second, []int{2}, "b")
				a.link.resume()
				if held := len(a.held()); held > 0 {
					t.Errorf("%d leases held by who slept and had its clock set back", held)
				}
			})
		})
	}
}

func TestFencedOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2))
		w.wantShares("start", time.Second, []int{2}, "a")
		l := a.lease("log-00")
		l.Fenced()
		if l.Held() {
			t.Error("held behind Fenced")
		}
		if err := l.Serving(t.Context(), 7); !errors.Is(err, lease.ErrLost) {
			t.Errorf("Serving: got %v, want ErrLost", err)
		}
		if err := l.Left(t.Context()); !errors.Is(err, lease.ErrLost) {
			t.Errorf("Left: got %v, want ErrLost", err)
		}
		if got := a.count("gone log-00"); got != 1 {
			t.Errorf("heard %v, want one Gone", a.events)
		}
		w.wantShares("it takes it again later", 2*time.Second, []int{2}, "a")
		b := w.start("b", logs(2))
		w.pass(time.Second)
		a.lease("log-00").Fenced()
		w.wantShares("the other takes it", 500*time.Millisecond, []int{1}, "b")
		if got := b.held(); !slices.Equal(got, []string{"log-00"}) {
			t.Errorf("b holds %v", got)
		}
	})
}

// Records that cannot be read, or are of a newer program.
func TestForeignRecords(t *testing.T) {
	const newMember = `{"v":2,"soul":"x"}`
	records := map[string]string{
		"north.log.newer": `{"v":2,"owner":"z"}`, "north.log.text": "garbage", "north.log.empty": "", "north.log.state": `{"v":1,"owner":"z","state":"dozing"}`,
		"north.log.group": `{"v":1,"owner":"z","incarnation":"i","group":"a.>","state":"serving"}`, "north.log.none": `{"owner":"z"}`,
		"north.member.new": newMember, "north.member.text": "\x00\xff", "north.member.list": "[1]",
		"south.log.x": "garbage", "north.log.A b": "garbage", "north.other.x": "garbage",
	}
	bubble(t, func(t *testing.T, w *world) {
		for key, value := range records {
			if _, err := w.table.Put(t.Context(), key, []byte(value), leasetest.Birth(t, w.table)); err != nil {
				t.Fatal(err)
			}
		}
		a := w.start("a", []string{"newer", "text", "empty", "state", "group", "none", "plain"})
		synctest.Wait()
		if got := a.held(); !slices.Equal(got, []string{"plain"}) {
			t.Errorf("holds %v, want plain alone", got)
		}
		if a.keeper.Alone() {
			t.Error("Alone: got true beside a newer member")
		}
		w.until("garbage is nobody's after TTL", ttl+time.Second, func() bool { return len(a.held()) == 6 })
		w.pass(10 * time.Second)
		if got := a.held(); len(got) != 6 || slices.Contains(got, "newer") {
			t.Errorf("holds %v, want all but newer", got)
		}
		for _, o := range a.keeper.Owners() {
			if o.Log == "newer" && o.State != lease.Unknown {
				t.Errorf("got %+v, want it unknown", o)
			}
		}
		if got := len(a.keeper.Members()); got != 1 {
			t.Errorf("%d members live, want 1", got)
		}
		for key, want := range map[string]string{"north.member.new": newMember, "north.member.text": "", "south.log.x": "garbage"} {
			if got := read(t, w.table, key); got != want {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
		}
	})
}

func TestAMemberThatANewerProgramKnows(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, err := w.table.Put(t.Context(), "north.member.a", []byte(`{"v":2}`), leasetest.Birth(t, w.table)); err != nil {
			t.Fatal(err)
		}
		a := w.start("a", logs(1))
		<-a.ended
		if !errors.Is(a.err, lease.ErrNewer) {
			t.Errorf("got %v, want ErrNewer", a.err)
		}
		if got := read(t, w.table, "north.member.a"); got != `{"v":2}` {
			t.Errorf("the record is %s now", got)
		}
	})
}

// read gives a record, or nothing.
func read(t *testing.T, table lease.Table, key string) (value string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := table.Watch(ctx, func(c lease.Change) {
		if c.Key == key {
			value = string(c.Value)
		} else if c.Key == "" {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestConfig(t *testing.T) {
	_, err := lease.New(lease.Config{Site: "A", Member: lease.Member{ID: "a.*"}, TTL: -1})
	for _, want := range []string{"Table", "Handler", "site", "member id", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want all problems, also one with %s", err, want)
		}
	}
}

func TestRequestsBehindTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(1))
		w.wantShares("start", time.Second, []int{1}, "a")
		l := a.lease("log-00")
		a.end()
		if l.Held() {
			t.Error("held behind the end")
		}
		for what, err := range map[string]error{
			"resign": a.keeper.Resign(t.Context(), "log-00"), "serving": l.Serving(t.Context(), 1), "left": l.Left(t.Context()),
		} {
			if !errors.Is(err, lease.ErrStopped) {
				t.Errorf("%s: got %v, want ErrStopped", what, err)
			}
		}
		l.Fenced()
	})
}

func TestMembersFirstInOrderClaim(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var all []*process
				for i := range n {
					all = append(all, w.start(fmt.Sprintf("m%d", i), nil))
				}
				w.pass(time.Second)
				for _, p := range all {
					for _, log := range logs(4 * n) {
						p.keeper.Follow(log)
					}
				}
				w.pass(time.Second)
				leads := 0
				for _, p := range all {
					leads += p.count("lead")
				}
				if leads != 4*n {
					t.Errorf("%d claims for %d logs: members did not choose alike", leads, 4*n)
				}
			})
		})
	}
}
