package jetlog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

// bound sets the bound of a stream.
func bound(t *testing.T, s *jetlogtest.Server, stream string, bytes int64) {
	t.Helper()
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	now, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	config := now.CachedInfo().Config
	config.MaxBytes = bytes
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestFullStreams: an inbox, and a stream of refused commands, that are full take nothing more, say so, and keep what they have; with room they go on.
func TestFullStreams(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	i := openInbox(t, s)
	r, err := s.Store().Refused(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	refused := "REFUSED_" + jetlogtest.Site
	for _, stream := range []string{streams.InboxStream, refused} {
		bound(t, s, stream, 3000)
	}
	data := []byte(strings.Repeat("x", 1000))
	put := func() error { _, err := i.Put(t.Context(), "cmd.patient.A.crp", nil, data); return err }
	n := 0
	add := func() error { n++; return r.Add(t.Context(), string(rune('a'+n)), data) }
	for what, one := range map[string]func() error{"the inbox": put, "what is refused": add} {
		for n := range 2 {
			if err := one(); err != nil {
				t.Fatalf("%s, %d: %v", what, n, err)
			}
		}
		if err := one(); !errors.Is(err, jetlog.ErrFull) {
			t.Errorf("%s: got %v, want ErrFull", what, err)
		}
	}
	if waiting, _, err := i.Waiting(t.Context()); err != nil || waiting != 2 {
		t.Errorf("got %d letters, %v, want 2", waiting, err)
	}
	if err := r.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := add(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if kept, err := r.Count(t.Context()); err != nil || kept != 2 {
		t.Errorf("got %d refused, %v, want 2", kept, err)
	}
}

// TestStreamsWithoutABound: those that an older eventful made go on, and a check names what they lack.
func TestStreamsWithoutABound(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	openInbox(t, s)
	if _, err := s.Store().Refused(t.Context()); err != nil {
		t.Fatal(err)
	}
	inbox, err := streams.InboxSettings(1)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := streams.RefusedSettings(jetlogtest.Site, 1)
	if err != nil {
		t.Fatal(err)
	}
	for stream, settings := range map[string][]streams.Setting{streams.InboxStream: inbox, "REFUSED_" + jetlogtest.Site: refused} {
		if err := s.Store().Check(t.Context(), settings); err != nil {
			t.Errorf("%s as it was made: %v", stream, err)
		}
		bound(t, s, stream, -1)
		if err := s.Store().Check(t.Context(), settings); !errors.Is(err, jetlog.ErrSettings) || !strings.Contains(err.Error(), "max_bytes is -1, not 1073741824") {
			t.Errorf("%s: got %v, want ErrSettings that names max_bytes", stream, err)
		}
	}
	openInbox(t, s)
	if _, err := s.Store().Refused(t.Context()); err != nil {
		t.Error(err)
	}
}
