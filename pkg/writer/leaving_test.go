package writer_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// stalling is a store whose next append to the patients' log, once that is wanted, stores nothing and has no outcome until it is said to be unknown.
type stalling struct {
	eventlog.Store
	next atomic.Pointer[stalled]
}

type stalled struct{ sent, unknown chan struct{} }

// Done implements eventlog.Pending.
func (s *stalled) Done() <-chan struct{} { return s.unknown }

// Err implements eventlog.Pending.
func (s *stalled) Err() error {
	<-s.unknown
	return eventlog.ErrUnknown
}

func (s *stalling) Create(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.Store.Create(ctx, name)
	return stallingLog{l, s}, err
}

type stallingLog struct {
	eventlog.Log
	store *stalling
}

func (l stallingLog) Append(expected uint64, data []byte) eventlog.Pending {
	if l.Name() == "patient" {
		if p := l.store.next.Swap(nil); p != nil {
			close(p.sent)
			return p
		}
	}
	return l.Log.Append(expected, data)
}

// A log that is to be handed over while a block in flight has no known outcome is settled first, and then handed over.
func TestHandOverWithAnUnknownOutcome(t *testing.T) {
	store := &stalling{Store: eventlog.NewMemory()}
	c := newCluster(t, store, "a", "b")
	jwt := c.boss.token(1 << 20)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	for i := range 3 {
		from, p := c.leader("patient"), &stalled{sent: make(chan struct{}), unknown: make(chan struct{})}
		store.next.Store(p)
		c.send("patient", crp(jwt, fmt.Sprint("u", i), "A", "1"), make(chan outcome, 4))
		<-p.sent
		resigned := make(chan *problem.Problem, 1)
		go func() { resigned <- from.w.Resign(t.Context(), "patient") }()
		c.until("it is leaving", func() bool {
			return slices.ContainsFunc(from.w.Status(), func(l writer.LogStatus) bool { return l.Log == "patient" && l.Mode == "leaving" })
		})
		close(p.unknown)
		c.until("it is handed over", func() bool { return !from.serves("patient") && c.leader("patient") != from })
		if p := <-resigned; p != nil {
			t.Errorf("round %d: got %v, want it handed over", i, p)
		}
		c.keepAsking("patient", crp(jwt, fmt.Sprint("u", i), "A", "1"))
	}
}

// A log whose writer has an outcome to settle, and a disk that is full to the last byte, goes to a writer that has room: the one settles nothing there, and does not wait for room.
func TestAnUnknownOutcomeOnAFullDisk(t *testing.T) {
	store := &stalling{Store: eventlog.NewMemory()}
	c := newCluster(t, store, "a", "b")
	jwt := c.boss.token(1 << 20)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	from, to, p := c.leader("patient"), c.other("patient"), &stalled{sent: make(chan struct{}), unknown: make(chan struct{})}
	c.until("the other one follows", func() bool { return to.status("patient").Sequence == from.status("patient").Sequence })
	from.last.Store(true)
	c.keepAsking("patient", crp(jwt, "kept", "A", "2")) // the state does not get it
	store.next.Store(p)
	c.send("patient", crp(jwt, "unknown", "A", "3"), make(chan outcome, 4))
	<-p.sent
	close(p.unknown)
	c.until("it settles", func() bool { return from.status("patient").Mode == "recovering" })
	from.full.Store(problem.New(problem.NoSpace, "the disk is full"))
	c.until("the other one serves", func() bool { return to.serves("patient") && !from.serves("patient") })
	if a := c.keepAsking("patient", crp(jwt, "kept", "A", "2")); a != nil && !a.Repeated {
		t.Error("what was stored before was stored again")
	}
	c.keepAsking("patient", crp(jwt, "unknown", "A", "3"))
	from.last.Store(false)
	from.full.Store(nil)
	c.until("the first one follows", func() bool {
		return from.status("patient").Mode == "standby" && from.status("patient").Sequence == to.status("patient").Sequence
	})
	for id, n := range c.boss.stored("patient") {
		if n != 1 {
			t.Errorf("command %s is stored %d times", id, n)
		}
	}
}

// A hand-over does not wait for room that only writing the state shows to be missing, as where a file system has no inodes left.
func TestAHandOverDoesNotWaitForTheState(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	jwt := c.boss.token(1 << 20)
	c.keepAsking("patient", crp(jwt, "", "A", "1"))
	from, to := c.leader("patient"), c.other("patient")
	from.last.Store(true)
	c.keepAsking("patient", crp(jwt, "kept", "A", "2"))
	c.until("the other one follows", func() bool { return to.status("patient").Sequence == from.status("patient").Sequence })
	within, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if p := from.w.Resign(within, "patient"); p != nil {
		t.Errorf("got %v, want it handed over", p)
	}
	if a := c.keepAsking("patient", crp(jwt, "kept", "A", "2")); a != nil && !a.Repeated {
		t.Error("what was stored before was stored again")
	}
	from.last.Store(false)
}
