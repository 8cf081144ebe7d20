package jetlog_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/lease"
)

// makers counts what is made through them.
type makers struct {
	s     *jetlogtest.Server
	fail  []error // of the next connections
	asked []string
	made  []*nats.Conn
}

func (m *makers) connect(stream string) (*nats.Conn, error) {
	m.asked = append(m.asked, stream)
	if len(m.fail) > 0 {
		err := m.fail[0]
		m.fail = m.fail[1:]
		return nil, err
	}
	m.made = append(m.made, m.s.Conn())
	return m.made[len(m.made)-1], nil
}

func (m *makers) store(t *testing.T) *jetlog.Store {
	t.Helper()
	store, err := jetlog.New(m.s.Conn(), jetlogtest.Site, jetlog.Options{Maker: m.connect, GiveUp: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestMaker: each stream that is missing is made by a connection of its own, which is closed then, and leases that went with their server again; for one that is there nobody connects.
func TestMaker(t *testing.T) {
	m := &makers{s: jetlogtest.StartServer(t, jetlogtest.Options{}), fail: []error{errors.New("no server"), errors.New("no server")}}
	store := m.store(t)
	for range 2 {
		if _, err := store.Create(t.Context(), "patient"); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Staged(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := store.MakePlugins(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := store.Leases().Watch(ctx, func(lease.Change) { cancel() }); err != nil {
			t.Fatal(err)
		}
	}
	m.s.Stop() // the leases lay in memory
	m.s.Start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := store.Leases().Watch(ctx, func(c lease.Change) {
		if !c.Reset {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	log := "EVT_" + jetlogtest.Site + "_patient"
	want := []string{log, log, log, "KV_STAGED_" + jetlogtest.Site, "KV_POSITIONS_" + jetlogtest.Site, "DEAD_" + jetlogtest.Site, "KV_LEASES", "KV_LEASES"}
	if diff := cmp.Diff(want, m.asked); diff != "" {
		t.Errorf("connections to make streams (-want +got):\n%s", diff)
	}
	if slices.ContainsFunc(m.made, func(nc *nats.Conn) bool { return !nc.IsClosed() }) {
		t.Error("a connection that made a stream is still open")
	}
}

// TestMakerWithoutAConnection: a stream that cannot be made is unavailable; a user that is refused is not tried again.
func TestMakerWithoutAConnection(t *testing.T) {
	m := &makers{s: jetlogtest.StartServer(t, jetlogtest.Options{}), fail: []error{nats.ErrAuthorization}}
	store := m.store(t)
	if _, err := store.Create(t.Context(), "patient"); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("got %v, want that it is unavailable and why", err)
	}
	if len(m.asked) != 1 {
		t.Errorf("got %d connections, want one", len(m.asked))
	}
	m.fail = slices.Repeat([]error{errors.New("no server")}, 1000)
	if _, err := store.Create(t.Context(), "patient"); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("got %v, want that it is unavailable", err)
	}
}
