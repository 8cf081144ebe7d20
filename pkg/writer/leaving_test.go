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
