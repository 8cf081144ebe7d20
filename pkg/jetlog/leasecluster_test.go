package jetlog_test

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/lease/leasetest"
	"github.com/eventfuldb/eventful/streams"
)

// TestLeasesOnThreeServers runs the suite on a replicated bucket, made anew for each of its tests; then keepers share logs while one server after the other is
// killed: no log is held twice at one instant, and all are held again.
func TestLeasesOnThreeServers(t *testing.T) {
	t.Parallel()
	c := natstest.Start(t, 3, clusterConfig)
	table := func(t *testing.T) *jetlog.Leases {
		return clusterStore(t, c, "test", jetlog.Options{}).Leases()
	}
	leasetest.Run(t, func(t *testing.T) lease.Table {
		dropLeases(t, c)
		l := table(t)
		if err := l.Delete(t.Context(), "ready", put(t, l, "ready", "")); err != nil {
			t.Fatal(err)
		}
		return l
	})
	dropLeases(t, c)
	wanted := int64(2)
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		wanted = 20
	}
	a, leadsA := keeperOn(t, table(t), 3*time.Second, "a")
	b, leadsB := keeperOn(t, table(t), 3*time.Second, "b")
	until(t, "two members", func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 })
	for _, log := range []string{"w", "x", "y", "z"} {
		a.Follow(log)
		b.Follow(log)
	}
	all := func() bool { return len(leadsA.held())+len(leadsB.held()) == 4 }
	until(t, "all are held", all)
	stop, ended := make(chan struct{}), make(chan struct{})
	var kills atomic.Int64
	go func() {
		defer close(ended)
		c.KillInTurns(stop, time.Second, streams.LeaseStream, func() { kills.Add(1) })
	}()
	for begin := time.Now(); kills.Load() < wanted; {
		heldOnce(t, leadsA, leadsB)
		if time.Since(begin) > time.Duration(wanted)*time.Minute {
			t.Fatalf("%d kills only", kills.Load())
		}
		<-time.After(time.Millisecond)
	}
	close(stop)
	<-ended
	until(t, "all are held again", all)
	t.Logf("%d servers were killed; a led %d times, b %d times", kills.Load(), leadsA.times(), leadsB.times())
}

// heldOnce checks that no log is held by both. The first is asked again behind the second, as they go on meanwhile.
func heldOnce(t *testing.T, a, b *serves) {
	t.Helper()
	first, second := a.held(), b.held()
	for log, l := range first {
		if other := second[log]; other != nil && l.Held() && other.Held() && l.Held() {
			t.Fatalf("%s is held by both", log)
		}
	}
}

func dropLeases(t *testing.T, c *natstest.Cluster) {
	t.Helper()
	nc, err := jetlog.Connect(c.URLs("log", "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the bucket is gone", func() bool {
		err := js.DeleteStream(t.Context(), streams.LeaseStream)
		return err == nil || errors.Is(err, jetstream.ErrStreamNotFound)
	})
}
