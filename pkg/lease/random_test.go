package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// Several members on one table, with everything that can happen to them: requests lost on the way there or back, or done later; news late and twice; members
// stopped, cut off, killed, started again, asked to resign, fenced, without room; the table lost; wall clocks that jump. At no instant two hold one log. When the
// faults end every log is served within TTL and a second, the logs are shared evenly, and then nothing moves any more.
func TestRandomFaults(t *testing.T) {
	seeds, first := 5, rand.Uint64()
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		seeds = 300
	}
	if _, err := fmt.Sscan(os.Getenv("EVENTFUL_SEED"), &first); err == nil {
		seeds = 1
	}
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			t.Logf("again with EVENTFUL_SEED=%d", seed)
			bubble(t, func(t *testing.T, w *world) { simulate(t, w, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// simulate plays one round.
func simulate(t *testing.T, w *world, random *rand.Rand) {
	const members, many = 3, 7
	start := func(name string) {
		w.start(name, logs(many), func(c *lease.Config, p *process) {
			c.Grace = 0
			p.link.chaos = rand.New(rand.NewPCG(random.Uint64(), 1))
			p.takeOver, p.settle = time.Duration(random.IntN(100))*time.Millisecond, time.Duration(random.IntN(100))*time.Millisecond
		})
	}
	for i := range members {
		start(fmt.Sprint("m", i))
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		name := w.names[random.IntN(members)]
		w.oneFault(random, w.processes[name], func() { start(name) })
		w.fine(time.Duration(random.IntN(2500)) * time.Millisecond)
	}
	for _, p := range w.processes {
		p.link.calm()
		p.link.resume()
		p.full.Store(false)
		if p.link.isDead() {
			start(p.name)
			w.processes[p.name].link.calm()
		}
		if p.link.isBroken() {
			p.link.join()
		}
	}
	served := func() bool {
		n := 0
		for _, p := range w.processes {
			n += len(p.held())
		}
		return n == many
	}
	settled := w.until("every log is served", 2*ttl+time.Second, served) // TTL and a second, behind the grace of a table that was lost last
	w.pass(again)                                                        // what was asked of members that were stopped is over, and all have room again
	w.wantShares("balance", 90*time.Second, []int{3, 2, 2}, "m0", "m1", "m2")
	before := w.moves()
	w.pass(time.Minute)
	w.wantShares("balance stays", 0, []int{3, 2, 2}, "m0", "m1", "m2")
	if after := w.moves(); after != before {
		t.Errorf("%d leases moved in a quiet minute, want none\n%s", after-before, w.state())
	}
	t.Logf("served after %v, %d leases in all", settled, before)
}

// oneFault lets something happen to a process.
func (w *world) oneFault(random *rand.Rand, p *process, restart func()) {
	ms := func(n int) time.Duration { return time.Duration(random.IntN(n)) * time.Millisecond }
	log := logs(7)[random.IntN(7)]
	switch random.IntN(10) {
	case 0:
		p.link.pause()
		w.later(ms(8000), p.link.resume)
	case 1:
		if !p.link.isBroken() {
			p.link.split()
			w.later(ms(8000), func() {
				if !p.link.isDead() {
					p.link.join()
				}
			})
		}
	case 2:
		p.kill()
		w.fine(ms(5000))
		restart()
	case 3:
		if !p.link.isPaused() && !p.link.isDead() {
			p.stop()
			w.fine(ms(4000))
			p.kill()
			restart()
		}
	case 4:
		if random.IntN(3) == 0 {
			w.table.Lose()
		}
	case 5:
		p.wallAhead.Store(int64(ms(7_200_000) - time.Hour))
	case 6:
		if l := p.lease(log); l != nil && !p.link.isPaused() {
			l.Fenced()
		}
	case 7:
		p.full.Store(random.IntN(2) == 0)
	default:
		w.background(func(ctx context.Context) { _ = p.keeper.Resign(ctx, log) })
	}
}

func (w *world) moves() (n int) {
	for _, p := range w.started {
		n += p.count("lead")
	}
	return n
}

// fine lets time go by and looks every 2 ms whether a log is held twice.
func (w *world) fine(d time.Duration) {
	w.t.Helper()
	for begin := time.Now(); time.Since(begin) < d; {
		w.noTwo()
		<-time.After(2 * time.Millisecond)
	}
}
