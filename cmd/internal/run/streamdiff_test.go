package run_test

import (
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// A stream of which a change was just heard, and that is deleted while the connection is away amid a look, is found as deleted, once: the look does not take it for one that was heard to go.
func TestAwayAmidALook(t *testing.T) {
	connect := natsServer(t, &natsserver.Options{JetStream: true, StoreDir: t.TempDir()})
	js, err := jetstream.New(connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FIRST", Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	g, back := &gate{}, make(chan struct{}, 1)
	nc := connect(nats.SetCustomDialer(g), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	found, err := run.LookAcross(t.Context(), nc, "FIRST", func() {
		g.set(true)
		if err := js.DeleteStream(t.Context(), "FIRST"); err != nil {
			t.Error(err)
		}
		g.set(false)
		<-back
	})
	if err != nil || len(found) != 1 || found[0].Stream != "FIRST" || found[0].Action != "delete" {
		t.Errorf("got %+v, %v, want that FIRST was deleted", found, err)
	}
}
