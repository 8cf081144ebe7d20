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
	for name, c := range map[string]struct {
		info *jetstream.ClusterInfo
		want bool
	}{
		"not clustered":                        {nil, true},
		"one replica":                          {&jetstream.ClusterInfo{Leader: "n1"}, true},
		"all heard":                            {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{heard, heard}}, true},
		"one is away":                          {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{heard, away}}, true},
		"cut off":                              {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{silent, silent}}, false},
		"one is away and one silent":           {&jetstream.ClusterInfo{Leader: "n1", LeaderSince: &since, Replicas: []*jetstream.PeerInfo{silent, away}}, false},
		"it has just heard of the next leader": {&jetstream.ClusterInfo{Leader: "n3", Replicas: []*jetstream.PeerInfo{heard, silent}}, false},
	} {
		if err := jetlog.Leads(c.info); (err == nil) != c.want {
			t.Errorf("%s: got %v, want believed: %t", name, err, c.want)
		}
	}
}
