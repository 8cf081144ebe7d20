package lease_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/lease/leasetest"
)

// atOnce is when logs of a member that has no room are served elsewhere: a second, and what a hand-over takes.
const atOnce = 1200 * time.Millisecond

// again is how long a member must have had room before it leads logs again, with the 5 s of Settle that the tests have.
const again = 30 * time.Second

// roomless has a member without room from the start.
func roomless(_ *lease.Config, p *process) { p.full.Store(true) }

// both are two members that follow and share some logs.
func both(w *world, n int) (a, b *process) {
	w.t.Helper()
	a, b = w.start("a", nil), w.start("b", nil)
	w.until("two members", time.Second, func() bool { return len(a.keeper.Members()) == 2 && len(b.keeper.Members()) == 2 })
	for _, log := range logs(n) {
		a.keeper.Follow(log)
		b.keeper.Follow(log)
	}
	w.wantShares("two share", 10*time.Second, []int{n / 2, n / 2}, "a", "b")
	return a, b
}

// A member whose disk is full hands over all that it has, in order and at once; it is given nothing until it has had room for a while, and then its share.
func TestAMemberWithoutRoomHandsItsLogsOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := both(w, 10)
		groups := map[string]string{}
		for _, log := range a.held() {
			groups[log] = a.lease(log).Group()
		}
		before := w.moves()
		a.full.Store(true)
		w.wantShares("b has all", atOnce, []int{10}, "b")
		if got := a.count("gone on"); got != 5 {
			t.Errorf("%d logs were handed over, want 5, each in order: %v", got, a.events)
		}
		for log, group := range groups {
			if got := b.lease(log).Group(); got != group {
				t.Errorf("%s: another group, as behind a takeover", log)
			}
		}
		w.pass(5 * time.Minute)
		if got := w.moves() - before; got != 5 {
			t.Errorf("%d leases moved while there was no room, want 5\n%s", got, w.state())
		}
		a.full.Store(false)
		took := w.wantShares("its share comes back", 2*again, []int{5, 5}, "a", "b")
		if took < again {
			t.Errorf("its share came back after %v, want not before it had room for %v", took, again)
		}
		if got := w.moves() - before; got != 10 {
			t.Errorf("%d leases moved, want 5 there and 5 back", got)
		}
	})
}

// Three members: those with room share what the third one had.
func TestThoseWithRoomShare(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b", "c"} {
			w.start(name, logs(9))
		}
		w.wantShares("three share", time.Minute, []int{3, 3, 3}, "a", "b", "c")
		b := w.processes["b"]
		led := b.count("lead")
		b.full.Store(true)
		w.wantShares("the other two have all", atOnce, []int{5, 4}, "a", "c")
		before := w.moves()
		w.pass(time.Minute)
		if got := w.moves() - before; got != 0 {
			t.Errorf("%d leases moved in a quiet minute, want none", got)
		}
		w.processes["a"].kill()
		took := w.wantShares("the one that is left with room has all", ttl+time.Second, []int{9}, "c")
		t.Logf("taken over %v after a kill", took)
		if got := b.count("lead"); got != led {
			t.Errorf("the member without room took %d logs, want none", got-led)
		}
	})
}

// Where nobody has room nothing moves, and every log keeps a writer, who says why it refuses.
func TestNobodyHasRoom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := both(w, 4)
		a.full.Store(true)
		w.pass(500 * time.Millisecond) // two that lie on one disk do not find out at one moment
		b.full.Store(true)
		before := w.moves()
		w.pass(time.Minute)
		w.wantShares("all stay", 0, []int{2, 2}, "a", "b")
		if got := w.moves() - before; got != 0 {
			t.Errorf("%d leases moved, want none", got)
		}
		if err := a.keeper.Resign(t.Context(), a.held()[0]); !errors.Is(err, lease.ErrNoSuccessor) {
			t.Errorf("resign: got %v, want ErrNoSuccessor", err)
		}
		b.kill()
		w.wantShares("logs of one that was killed have a writer", ttl+time.Second, []int{4}, "a")
		w.start("b", logs(4), roomless)
		w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		a.end()
		if took := w.wantShares("logs of one that ended have a writer", time.Second, []int{4}, "b"); took > 500*time.Millisecond {
			t.Errorf("taken after %v", took)
		}
		w.start("c", logs(4))
		w.wantShares("one with room comes", atOnce, []int{4}, "c")
	})
}

// The only member keeps what it has, and takes what comes.
func TestTheOnlyMemberHasNoRoom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(3), roomless)
		w.wantShares("it takes all", 100*time.Millisecond, []int{3}, "a")
		a.keeper.Follow("new")
		w.wantShares("and a new one", time.Second, []int{4}, "a")
		a.full.Store(false)
		w.pass(2 * again)
		a.full.Store(true)
		w.pass(time.Minute)
		if got := a.count("lead"); got != 4 || a.count("gone") > 0 {
			t.Errorf("heard %v, want 4 Leads and nothing else", a.events)
		}
	})
}

// A disk about its limit moves its logs once, and not with every change.
func TestRoomComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, _ := both(w, 6)
		before := w.moves()
		for range 20 {
			a.full.Store(true)
			w.pass(2 * time.Second)
			a.full.Store(false)
			w.pass(again - time.Second)
		}
		w.wantShares("b keeps all", 0, []int{6}, "b")
		if got := w.moves() - before; got != 3 {
			t.Errorf("%d leases moved, want 3, once", got)
		}
		w.wantShares("room stays", time.Minute, []int{3, 3}, "a", "b")
	})
}

// A log that the only member without room is about to take over, which it may never come to serve, goes to one with room that comes.
func TestWhatWasNotTakenOverIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(2), roomless, func(_ *lease.Config, p *process) { p.takeOver = -1 })
		w.until("a takes over", time.Second, func() bool { return a.count("lead") == 2 })
		w.start("b", logs(2))
		w.wantShares("b serves", atOnce, []int{2}, "b")
		w.pass(time.Minute)
		if got := a.count("lead"); got != 2 {
			t.Errorf("a took them again: %v", a.events)
		}
	})
}

// A member without room takes no free log in the place of one with room that is slow.
func TestASlowMemberWithRoom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", nil, roomless)
		b := w.start("b", nil)
		w.until("two members", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		b.keeper.Follow("new")
		w.until("b says that it follows it", time.Second, func() bool { return strings.Contains(read(t, w.table, "north.member.b"), "new") })
		b.link.delay(700*time.Millisecond, 0)
		b.lease("new").Fenced() // for a second it does not take it either
		a.keeper.Follow("new")
		w.until("b has it again", 3*time.Second, func() bool { return b.count("lead") == 2 && len(b.held()) == 1 })
		if got := a.count("lead"); got != 0 {
			t.Errorf("a heard %v, want nothing: b has room", a.events)
		}
	})
}

// A successor that fills up in the middle of a hand-over gives the log on, and one that does not serve is left alone for a while.
func TestTheSuccessorHasNoRoomEither(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slow := func(_ *lease.Config, p *process) { p.settle = 500 * time.Millisecond }
		a := w.start("a", logs(1), slow)
		w.wantShares("start", time.Second, []int{1}, "a")
		b := w.start("b", logs(1), slow)
		w.until("b is a member", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		a.full.Store(true)
		w.until("a leaves", atOnce, func() bool { return a.count("leave") == 1 })
		b.full.Store(true)
		w.wantShares("a keeps it", time.Second, []int{1}, "a")
		w.pass(time.Minute)
		if got := strings.Join(a.events, ", "); got != "lead log-00, leave log-00, lead log-00" {
			t.Errorf("a heard %s", got)
		}
		b.takeOver = -1
		b.full.Store(false)
		w.until("b is tried", again+atOnce, func() bool { return b.count("lead") == 1 })
		w.wantShares("a has it back", 5*time.Second, []int{1}, "a")
		w.pass(30 * time.Second)
		if got := b.count("lead"); got != 1 {
			t.Errorf("b was tried %d times within half a minute, want once", got)
		}
		w.until("b is tried again", 30*time.Second, func() bool { return b.count("lead") == 2 })
	})
}

// A log that its successor gives up, as that has no room by then either, goes to a third member: the one that handed it over does not take it back to drop what waits there.
func TestASuccessorThatGivesUpForAThird(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(1))
		w.wantShares("start", time.Second, []int{1}, "a")
		b := w.start("b", logs(1), func(_ *lease.Config, p *process) { p.takeOver = -1 })
		c := w.start("c", logs(1))
		w.until("three members", time.Second, func() bool { return len(a.keeper.Members()) == 3 })
		a.full.Store(true)
		w.until("b takes over", atOnce, func() bool { return b.count("lead") == 1 })
		b.full.Store(true)
		w.wantShares("c has it", 2*time.Second, []int{1}, "c")
		w.until("a knows", time.Second, func() bool { return a.count("gone") == 1 })
		if got := strings.Join(a.events, ", "); got != "lead log-00, leave log-00, gone on log-00" {
			t.Errorf("a heard %s", got)
		}
		if got := c.count("lead"); got != 1 {
			t.Errorf("c heard %v", c.events)
		}
	})
}

// Who does not know that members may have no room reads a member that may lead nothing.
func TestARecordWithoutRoom(t *testing.T) {
	type member struct {
		V    int      `json:"v"`
		Full bool     `json:"full"`
		Logs []string `json:"logs"`
	}
	bubble(t, func(t *testing.T, w *world) {
		record := func() (m member) {
			if err := json.Unmarshal([]byte(read(t, w.table, "north.member.a")), &m); err != nil {
				t.Fatal(err)
			}
			return m
		}
		a := w.start("a", logs(2), roomless)
		w.wantShares("start", time.Second, []int{2}, "a")
		if got := record(); got.V != 1 || !got.Full || got.Logs == nil || len(got.Logs) > 0 {
			t.Errorf("got %+v, want version 1, full, and an empty list of logs", got)
		}
		a.full.Store(false)
		w.pass(again + time.Second)
		if got := record(); got.V != 1 || got.Full || len(got.Logs) != 2 {
			t.Errorf("got %+v, want both logs", got)
		}
	})
}

// An older member, whose record never says that it has no room, gets the logs of one that has none.
func TestAnOlderMemberIsGivenLogs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(1))
		w.wantShares("start", time.Second, []int{1}, "a")
		const old = `{"v":1,"incarnation":"o1","beat":1,"name":"old","host":"h","pid":9,"version":"v0","logs":["log-00"]}`
		if _, err := w.table.Put(t.Context(), "north.member.old", []byte(old), leasetest.Birth(t, w.table)); err != nil {
			t.Fatal(err)
		}
		w.until("the older one is seen", time.Second, func() bool { return len(a.keeper.Members()) == 2 })
		a.full.Store(true)
		var got lease.Owner
		w.until("the log is the older one's", atOnce, func() bool {
			got = a.keeper.Owners()[0]
			return got.Member == "old"
		})
		if got.State != lease.Taking {
			t.Errorf("got %+v, want it to be taken over by the older one", got)
		}
	})
}
