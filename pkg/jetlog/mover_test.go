package jetlog_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// TestConnectionsLeaveAPartedServer: every connection leaves a server that is parted from the others, the one that looks included; those elsewhere stay where they are, and so does one that
// knows no other server. With two of three servers gone nothing is moved but the one that looks.
func TestConnectionsLeaveAPartedServer(t *testing.T) {
	const victim, other, third = 1, 2, 0
	c := natstest.Start(t, 3, clusterConfig)
	connect := func(servers ...int) *nats.Conn {
		t.Helper()
		var urls []string
		for _, i := range servers {
			urls = append(urls, c.URL(i, "log", "log"))
		}
		nc, err := jetlog.Connect(strings.Join(urls, ","), nats.DontRandomize())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	asking, leaves, stays, alone := connect(victim, other, third), connect(victim, third, other), connect(other, victim), connect(victim)
	var mu sync.Mutex // guards left
	var left []jetlog.Left
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(left) }
	m := jetlog.NewMover(asking, func(l jetlog.Left) { mu.Lock(); defer mu.Unlock(); left = append(left, l) }, leaves, nil, stays, alone)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	home := asking.ConnectedServerId()
	c.Isolate(victim)
	at := time.Now()
	away := func(nc *nats.Conn) bool { return nc.IsConnected() && nc.ConnectedServerId() != home }
	until(t, "they have left", func() bool { return away(asking) && away(leaves) })
	t.Logf("left after %v", time.Since(at).Round(time.Millisecond))
	if got := count(); got != 2 || stays.Stats().Reconnects+alone.Stats().Reconnects > 0 {
		t.Errorf("%d connections left, want the two that could and had to", got)
	}
	c.Rejoin(victim)
	c.AwaitHealthy()
	c.Kill(victim)
	c.Kill(third)
	until(t, "the connection that looks is moved", func() bool { return count() == 3 })
	if stays.Stats().Reconnects > 0 {
		t.Error("a connection left although most servers are gone")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, l := range left {
		if l.Silent < 2*time.Second || !strings.Contains(l.Server, "127.0.0.1") || strings.Contains(l.Server, "log:log") {
			t.Errorf("got %+v, want a server without its password, silent for 2 s or more", l)
		}
	}
}
