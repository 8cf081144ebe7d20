package jetlog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

func TestOpenRefusesOtherSettings(t *testing.T) {
	tests := map[string]struct {
		change func(*jetstream.StreamConfig)
		want   error
		named  []string
	}{
		"limits":           {func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxAge = 10, 1e12 }, jetlog.ErrSettings, []string{"max_msgs is 10, not -1", "max_age"}},
		"direct gets":      {func(c *jetstream.StreamConfig) { c.AllowDirect = false }, jetlog.ErrSettings, []string{"allow_direct is false, not true"}},
		"subjects":         {func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more") }, jetlog.ErrSettings, []string{"subjects"}},
		"discard":          {func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, jetlog.ErrSettings, []string{"discard is old, not new"}},
		"no topology":      {func(c *jetstream.StreamConfig) { c.Metadata = nil }, jetlog.ErrSettings, []string{streams.TopologyKey}},
		"a newer topology": {func(c *jetstream.StreamConfig) { c.Metadata[streams.TopologyKey] = "2"; c.MaxMsgs = 1 }, jetlog.ErrNewer, []string{"topology 2, this program knows 1"}},
		"what is free":     {func(c *jetstream.StreamConfig) { c.Description = "the hospital's" }, nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{})
			f.change(t, test.change)
			for verb, open := range map[string]func() error{
				"Open":   func() error { _, err := f.store.Open(t.Context(), "patient"); return err },
				"Create": func() error { _, err := f.store.Create(t.Context(), "patient"); return err },
			} {
				err := open()
				if !errors.Is(err, test.want) {
					t.Errorf("%s: got %v, want %v", verb, err, test.want)
				}
				for _, name := range test.named {
					if err == nil || !strings.Contains(err.Error(), name) {
						t.Errorf("%s: got %v, want it to name %q", verb, err, name)
					}
				}
			}
		})
	}
}

func TestCheckSync(t *testing.T) {
	if err := jetlog.CheckSync(t.Context(), jetlogtest.StartServer(t, jetlogtest.Options{}).SysConn()); err != nil {
		t.Errorf("sync always: %v", err)
	}
	lazy := jetlogtest.StartServer(t, jetlogtest.Options{NoSync: true})
	err := jetlog.CheckSync(t.Context(), lazy.SysConn())
	if !errors.Is(err, jetlog.ErrNotSynced) || !strings.Contains(err.Error(), "server test syncs every 2m0s") {
		t.Errorf("sync every two minutes: got %v, want ErrNotSynced with server and interval", err)
	}
}

// TestWithoutTheQuestion: an account that does not import the question, as one of an older site, is told from servers that are silent.
func TestWithoutTheQuestion(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	if err := jetlog.CheckSync(t.Context(), server.Conn()); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("got %v, want that nobody answers", err)
	}
}

// TestStrictServers: a server says whether it refuses requests with members that it does not know.
func TestStrictServers(t *testing.T) {
	for _, lax := range []bool{false, true} {
		servers, err := jetlog.Servers(t.Context(), jetlogtest.StartServer(t, jetlogtest.Options{Lax: lax}).SysConn(), time.Now)
		if err != nil || len(servers) != 1 || servers[0].Strict == lax {
			t.Errorf("lax %v: got %+v, %v", lax, servers, err)
		}
	}
}
