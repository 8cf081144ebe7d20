package jetlog_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// A server is believed to be the leader while it says so and hears most replicas.
func TestLeads(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	heard, silent, away := &jetstream.PeerInfo{Current: true, Active: time.Second}, &jetstream.PeerInfo{Active: 5 * time.Second}, &jetstream.PeerInfo{Offline: true, Active: time.Second}
	const stale = ": the leader may be one of before"
	const deaf = "n1 answered as the leader, and does not hear most of the replicas" + stale
	for name, c := range map[string]struct {
		info *jetstream.ClusterInfo
		want string // of the error; empty: it is believed
	}{
		"not clustered":                        {nil, ""},
		"one replica":                          {&jetstream.ClusterInfo{Leader: "n1"}, ""},
		"all heard":                            {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{heard, heard}}, ""},
		"one is away":                          {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{heard, away}}, ""},
		"cut off":                              {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{silent, silent}}, deaf},
		"one is away and one silent":           {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{silent, away}}, deaf},
		"it has just heard of the next leader": {&jetstream.ClusterInfo{Leader: "n3", Replicas: []*jetstream.PeerInfo{heard, silent}}, "a server answered as the leader, and does not lead any more (n3 leads now)" + stale},
		"it has just heard that it leads not":  {&jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{heard, silent}}, "a server answered as the leader, and does not lead any more (no other leader is known)" + stale},
	} {
		got := ""
		if err := jetlog.Leads(c.info); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
