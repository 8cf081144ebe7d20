package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/lease/leasetest"
	"github.com/eventfuldb/eventful/streams"
)

func TestLeasesConform(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) lease.Table {
		return jetlogtest.StartServer(t, jetlogtest.Options{}).Store().Leases()
	})
}

func TestLeasesConformInADomain(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{Domain: "north"})
	store, err := jetlog.New(server.Conn(), "north", jetlog.Options{Domain: "north"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store.Leases(), "a", "1")
}

// put writes a new record, and tries until the table takes it.
func put(t *testing.T, table lease.Table, key, value string) (revision uint64) {
	t.Helper()
	for begin := time.Now(); ; {
		revision, err := table.Put(t.Context(), key, []byte(value), leasetest.Birth(t, table))
		if err == nil {
			return revision
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// The bucket lies in memory: when the server has restarted it is made anew, the watch says so, and goes on with what comes.
func TestLeasesBehindARestart(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	table := server.Store().Leases()
	before, birth := put(t, table, "a", "1"), leasetest.Birth(t, table)
	w := leasetest.Watch(t, table)
	if diff := cmp.Diff(map[string]string{"a": "1"}, w.Whole()); diff != "" {
		t.Error(diff)
	}
	server.Stop()
	if c := w.Next(); !c.Reset {
		t.Errorf("got %+v, want a reset as soon as the connection is gone", c)
	}
	if _, err := table.Put(t.Context(), "b", []byte("1"), birth); err == nil || errors.Is(err, lease.ErrConflict) {
		t.Errorf("put without a server: got %v, want an error that says nothing of the table", err)
	}
	server.Start()
	if got := w.Whole(); len(got) != 0 {
		t.Errorf("got %v, want an empty table", got)
	}
	for what, revision := range map[string]uint64{"birth": birth, "revision": before} {
		if _, err := table.Put(t.Context(), "a", []byte("2"), revision); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("put behind a %s of the bucket that is lost: got %v, want ErrConflict", what, err)
		}
	}
	put(t, table, "a", "2")
	if c := w.Next(); c.Key != "a" || string(c.Value) != "2" {
		t.Errorf("got %+v, want a: 2", c)
	}
}

// An administrator deletes the bucket while everybody is connected.
func TestLeasesWhoseBucketIsDeleted(t *testing.T) {
	t.Parallel()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	table := server.Store().Leases()
	put(t, table, "a", "1")
	w := leasetest.Watch(t, table)
	w.Whole()
	js, err := jetstream.New(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), streams.LeaseStream); err != nil {
		t.Fatal(err)
	}
	if got := w.Whole(); len(got) != 0 {
		t.Errorf("got %v, want an empty table", got)
	}
	put(t, table, "a", "2")
	if c := w.Next(); c.Key != "a" || string(c.Value) != "2" {
		t.Errorf("got %+v, want a: 2", c)
	}
}

// The bucket is an ordinary KV bucket for those who look at it with other tools.
func TestLeasesAreABucket(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	table := server.Store().Leases()
	put(t, table, "a", "1")
	js, err := jetstream.New(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprint(leasetest.Birth(t, table), ".a")
	kv, err := js.KeyValue(t.Context(), "LEASES")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), key)
	if err != nil || string(entry.Value()) != "1" {
		t.Fatalf("got %v, %v, want 1", entry, err)
	}
	if err := table.Delete(t.Context(), "a", entry.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), key); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("got %v, want that it is gone", err)
	}
}

func TestLeasesInABucketOfOtherSettings(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	js, err := jetstream.New(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "LEASES", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = server.Store().Leases().Watch(ctx, func(lease.Change) {})
	if !errors.Is(err, jetlog.ErrSettings) {
		t.Errorf("got %v, want ErrSettings", err)
	}
}

func TestLeaseKeysReachNothingElse(t *testing.T) {
	table := jetlogtest.StartServer(t, jetlogtest.Options{}).Store().Leases()
	birth := leasetest.Birth(t, table)
	for _, key := range []string{"", "a.*", ">", "a b", "a..b", "../x", "a\x00"} {
		if _, err := table.Put(t.Context(), key, []byte("1"), birth); err == nil {
			t.Errorf("put %q: got nil, want an error", key)
		}
		if err := table.Delete(t.Context(), key, birth+1); err == nil {
			t.Errorf("delete %q: got nil, want an error", key)
		}
	}
}

// serves takes over at once whatever it is given.
type serves struct {
	work sync.WaitGroup
	mu   sync.Mutex // guards below
	lead map[string]*lease.Lease
	led  int
}

func (s *serves) Lead(l *lease.Lease) {
	s.mu.Lock()
	s.lead[l.Log()] = l
	s.led++
	s.mu.Unlock()
	s.work.Go(func() { _ = l.Serving(context.Background(), 1) })
}

func (s *serves) Leave(l *lease.Lease) { s.work.Go(func() { _ = l.Left(context.Background()) }) }

func (s *serves) Gone(*lease.Lease, bool) {}

func (s *serves) held() map[string]*lease.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := map[string]*lease.Lease{}
	for log, l := range s.lead {
		if l.Held() {
			held[log] = l
		}
	}
	return held
}

func (s *serves) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.led
}

// keeper runs a Keeper until the test ends.
func keeper(t *testing.T, server *jetlogtest.Server, id string) (*lease.Keeper, *serves) {
	t.Helper()
	return keeperOn(t, server.Store().Leases(), time.Second, id)
}

func keeperOn(t *testing.T, table lease.Table, ttl time.Duration, id string) (*lease.Keeper, *serves) {
	t.Helper()
	s := &serves{lead: map[string]*lease.Lease{}}
	k, err := lease.New(lease.Config{Table: table, Site: "test", Member: lease.Member{ID: id}, Handler: s, TTL: ttl, Grace: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Errorf("keeper %s: %v", id, err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		s.work.Wait()
	})
	return k, s
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("%s: not after 20 s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Keepers on a real bucket: they share, hand over, go on behind a restart of the server that lost the bucket, and end in order.
func TestKeepersOnABucket(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	a, leadsA := keeper(t, server, "a")
	b, leadsB := keeper(t, server, "b")
	until(t, "two members", func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 })
	for _, log := range []string{"x", "y", "z"} {
		a.Follow(log)
		b.Follow(log)
	}
	until(t, "all are held", func() bool { return len(leadsA.held())+len(leadsB.held()) == 3 })
	from, to := a, leadsB
	log := ownedBy(a, "a")
	if log == "" {
		from, to, log = b, leadsA, ownedBy(a, "b")
	}
	before, begin := len(to.held()), time.Now()
	if err := from.Resign(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s handed over in %v", log, time.Since(begin))
	until(t, "the successor holds it", func() bool { return len(to.held()) == before+1 })
	server.Stop()
	server.Start()
	until(t, "all are held again", func() bool { return len(leadsA.held())+len(leadsB.held()) == 3 })
}

// A bucket of an older version can be purged, of which no watch hears: keepers find out by themselves. One that is made now refuses it.
func TestKeepersOnAPurgedBucket(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	leasetest.Birth(t, server.Store().Leases())
	js, err := jetstream.New(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), streams.LeaseStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("purge of a new bucket: got nil, want that it is refused")
	}
	config := stream.CachedInfo().Config
	config.DenyPurge = false
	if err := js.DeleteStream(t.Context(), streams.LeaseStream); err != nil {
		t.Fatal(err)
	}
	if stream, err = js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	a, leadsA := keeper(t, server, "a")
	b, leadsB := keeper(t, server, "b")
	for _, log := range []string{"x", "y", "z"} {
		a.Follow(log)
		b.Follow(log)
	}
	held := func() int { return len(leadsA.held()) + len(leadsB.held()) }
	until(t, "all are held", func() bool { return held() == 3 })
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "none is held: nothing is renewed", func() bool { return held() == 0 })
	until(t, "all are held again", func() bool { return held() == 3 })
}

// ownedBy is a log that a member serves.
func ownedBy(k *lease.Keeper, member string) string {
	for _, o := range k.Owners() {
		if o.Member == member && o.State == lease.Serving {
			return o.Log
		}
	}
	return ""
}

// Plugin-runners read the bucket without a consumer, and keep their keys apart.
func TestPluginLeasesConform(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) lease.Table {
		store := jetlogtest.StartServer(t, jetlogtest.Options{}).Store()
		put(t, store.Leases(), "log", "1") // a writer makes the bucket
		return store.PluginLeases()
	})
}
