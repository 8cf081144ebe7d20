package node_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// TestEnginesAreConfined: an engine in the server's process may do what its role takes; who answers requests for both engines, everything in APP.
func TestEnginesAreConfined(t *testing.T) {
	s := newSite(t)
	n, err := node.Start(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	both := []streams.Role{streams.RoleWriter, streams.RoleProjector}
	for _, c := range []struct {
		account keyring.Account
		roles   []streams.Role
		subject string
		want    bool
	}{
		{keyring.LOG, both[:1], "evt.ward.patient", true},
		{keyring.LOG, both[:1], "$JS.API.STREAM.DELETE.EVT_ward_patient", false},
		{keyring.LOG, both[1:], "evt.ward.patient", false},
		{keyring.LOG, both[1:], "$JS.API.STREAM.NAMES", true},
		{keyring.LOG, both, "evt.ward.patient", true},
		{keyring.APP, both[1:], "$SYS.REQ.CLAIMS.UPDATE", false},
		{keyring.SYS, both, "$SYS.REQ.SERVER.PING.JSZ", false},
		{keyring.APP, both[:1], "event.patient", false},
		{keyring.APP, both, "event.patient", true},
	} {
		refused := make(chan struct{}, 1)
		nc, err := n.ConnAs(c.account, c.roles, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { refused <- struct{}{} }))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(nc.Publish(c.subject, []byte("{}")), nc.FlushTimeout(patience)); err != nil {
			t.Fatal(err)
		}
		got := true
		select {
		case <-refused:
			got = false
		case <-time.After(20 * time.Millisecond): // the refusal comes before the answer to the flush, and is told on another goroutine
		}
		if got != c.want {
			t.Errorf("%v in %s: publish %s: got %v, want %v", c.roles, c.account, c.subject, got, c.want)
		}
		nc.Close()
	}
}
