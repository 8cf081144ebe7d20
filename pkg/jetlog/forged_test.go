package jetlog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

// besideLogs are the streams of LOG that are no log.
func besideLogs() (all []string) {
	for _, name := range []string{"KV_STAGED_", "REFUSED_", "KV_POSITIONS_", "DEAD_", "KV_KEYS_", "KV_SNAP_", "KV_CHECKPOINTS_"} {
		all = append(all, name+jetlogtest.Site)
	}
	return append(all, streams.LeaseStream)
}

// TestNothingIsForgedByAConsumer: what a consumer brings is stored where its maker wants it. So no role but the writer's may make one on a stream that somebody may write to besides the logs:
// it could put blocks of its own making into a log. The first case shows that it would.
func TestNothingIsForgedByAConsumer(t *testing.T) {
	a := newAimed(t, streams.Permissions{Publish: []streams.Permission{{Subject: "$JS.API.CONSUMER.CREATE.>"}}})
	a.fill()
	for _, stream := range besideLogs() {
		if err := a.forge(stream); err != nil {
			t.Fatalf("with rights to make consumers of %s: %v", stream, err)
		}
	}
	until(t, "what lay in the other streams is in the log", func() bool { return a.last() > uint64(len(besideLogs())) })
	for _, role := range []streams.Role{streams.RoleProjector, streams.RoleRunner, streams.RoleArchiver, streams.RoleDoctor} {
		t.Run(string(role), func(t *testing.T) {
			a := newAimed(t, roleInLog(t, role))
			a.fill()
			for _, stream := range besideLogs() {
				if err := a.forge(stream); err == nil || !strings.Contains(err.Error(), "CONSUMER.CREATE."+stream) {
					t.Errorf("a consumer of %s: got %v, want it refused", stream, err)
				}
			}
			if last := a.last(); last != 1 {
				t.Errorf("the log ends at %d, want 1", last)
			}
		})
	}
}

// forge makes a stream with a message, and asks for a consumer that brings it into the log; the error is the server's refusal.
func (a *aimed) forge(stream string) error {
	a.t.Helper()
	if _, err := a.admin.CreateStream(a.t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"beside." + stream}}); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.admin.Publish(a.t.Context(), "beside."+stream, []byte("a block")); err != nil {
		a.t.Fatal(err)
	}
	config := fmt.Sprintf(`{"stream_name":%q,"config":{"ack_policy":"none","deliver_policy":"all","deliver_subject":%q}}`, stream, "evt."+jetlogtest.Site+".patient")
	for _, name := range []string{"", ".forging", ".forging.beside." + stream} {
		if err := a.sender.PublishRequest("$JS.API.CONSUMER.CREATE."+stream+name, a.sender.NewInbox(), []byte(config)); err != nil {
			a.t.Fatal(err)
		}
		if name == "" {
			config = strings.Replace(config, `"config":{`, `"config":{"name":"forging",`, 1)
		}
	}
	if err := a.sender.Flush(); err != nil {
		a.t.Fatal(err)
	}
	return a.sender.LastError()
}

// last is the end of the log.
func (a *aimed) last() uint64 {
	a.t.Helper()
	stream, err := a.admin.Stream(a.t.Context(), a.stream)
	if err != nil {
		a.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}
