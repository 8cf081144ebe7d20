package jetlog_test

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/eventlog/eventlogtest"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// clusterConfig is a server with the accounts of jetlogtest; it tells nobody of its addresses, so that every connection and every route goes through the test's links.
func clusterConfig(n natstest.Node) string {
	return fmt.Sprintf(`
server_name: %s
listen: %q
http: %q
jetstream: {store_dir: %q, sync_interval: always}
cluster: {name: test, listen: %q, advertise: %q, no_advertise: true, routes: [%s]}
accounts: {
  LOG: {jetstream: enabled, users: [{user: log, password: log}], imports: [{service: {account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ"}}]}
  SYS: {exports: [{service: "$SYS.REQ.SERVER.PING.JSZ", response: stream}]}
}
system_account: SYS
`, n.Name, n.Client, n.Monitor, n.Dir, n.Cluster, natstest.Nowhere, "nats://"+strings.Join(n.Routes, ", nats://"))
}

// clusterStore makes a store of R3 logs for a site, on a connection that goes from server to server.
func clusterStore(t *testing.T, c *natstest.Cluster, site string, o jetlog.Options) *jetlog.Store {
	t.Helper()
	nc, err := jetlog.Connect(c.URLs("log", "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	o.Replicas = c.Size()
	store, err := jetlog.New(nc, site, o)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestStoreConformsOnThreeServers runs the whole suite on replicated logs, again and again, while one server after the other is killed; each leads some of the logs.
func TestStoreConformsOnThreeServers(t *testing.T) {
	t.Parallel()
	wanted := int64(3)
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		wanted = 30
	}
	c := natstest.Start(t, 3, clusterConfig)
	stop, ended := make(chan struct{}), make(chan struct{})
	var kills, sites atomic.Int64
	go func() {
		defer close(ended)
		c.KillInTurns(stop, time.Second, "", func() { kills.Add(1) })
	}()
	rounds := 0
	for ; kills.Load() < wanted && !t.Failed(); rounds++ {
		t.Run("Suite", func(t *testing.T) {
			eventlogtest.Run(t, func(t *testing.T) eventlog.Store {
				t.Parallel()
				return eventlogtest.Persistent(clusterStore(t, c, fmt.Sprintf("site-%d", sites.Add(1)), jetlog.Options{AckTimeout: 2 * time.Second, GiveUp: 30 * time.Second}))
			})
		})
	}
	close(stop)
	<-ended
	t.Logf("the suite ran %d times while %d servers were killed", rounds, kills.Load())
}
