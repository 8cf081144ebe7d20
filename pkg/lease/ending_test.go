package lease_test

import (
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// slowOnce is a process that settles the first log that it leaves slowly.
type slowOnce struct {
	*process
	left bool
}

// Leave implements lease.Handler.
func (s *slowOnce) Leave(l *lease.Lease) {
	if s.left {
		s.process.Leave(l)
		return
	}
	s.left = true
	s.note("leave", l)
	s.work.Go(func() {
		s.wait(1500 * time.Millisecond)
		_ = l.Left(s.w.t.Context())
	})
}

// A member that ends has ever fewer logs; the others' balance gives it none back.
func TestAMemberThatEndsIsGivenNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", logs(12), func(c *lease.Config, p *process) { c.Handler = &slowOnce{process: p} })
		b, c := w.start("b", logs(12)), w.start("c", logs(12))
		w.wantShares("start", time.Minute, []int{4, 4, 4}, "a", "b", "c")
		w.pass(10 * time.Second)
		led, left := a.count("lead"), b.count("leave")+c.count("leave")
		a.stop()
		w.wantShares("the others have all", 3*time.Second, []int{6, 6}, "b", "c")
		<-a.ended
		if got := a.count("lead"); got != led {
			t.Errorf("the member that ended was given %d logs, want none", got-led)
		}
		if got := b.count("leave") + c.count("leave"); got != left {
			t.Errorf("the others handed over %d logs, want none", got-left)
		}
	})
}
