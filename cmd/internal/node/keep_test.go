package node_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// A server that could not write its store is started anew when it can, on the same port, with all that it acknowledged; connections find it.
func TestAServerThatFailsIsStartedAnew(t *testing.T) {
	if !disktest.Alone(t, "REQUIRE_DISK") {
		return
	}
	mount := disktest.Tmpfs(t, "REQUIRE_DISK", 64<<20)
	s := newSite(t)
	s.config.StoreDir = filepath.Join(mount, "jetstream")
	usable := make(chan struct{})
	var asked atomic.Int64 // since it was closed
	s.config.Usable = func() error {
		select {
		case <-usable:
			if asked.Add(1) == 2 {
				return fmt.Errorf("not any more") // behind the first new server
			}
			return nil
		default:
			return fmt.Errorf("not yet")
		}
	}
	n := s.start(t)
	url := n.ClientURL()
	nc, err := n.Conn(keyring.LOG, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(deadline(t), jetstream.StreamConfig{Name: "EVT_ward_patient", Subjects: []string{"evt.ward.patient"}}); err != nil {
		t.Fatal(err)
	}
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := js.Publish(ctx, "evt.ward.patient", make([]byte, 10_000))
		return err
	}
	acked := uint64(0)
	for ; acked < 10; acked++ {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	free := disktest.Fill(t, mount, 0)
	for n.Fault() == nil {
		if err := publish(); err == nil {
			acked++
		}
	}
	if _, err := js.Stream(deadline(t), "EVT_ward_patient"); err != nil {
		t.Errorf("got error %v while the store cannot be written, want it read", err)
	}
	free()
	close(usable)
	until(t, func() bool { return n.Fault() == nil })
	if got := asked.Load(); got < 4 {
		t.Errorf("the fault was taken back after %d questions, want the store asked before and behind each of two starts", got)
	}
	if n.ClientURL() != url {
		t.Errorf("got %s, want still %s", n.ClientURL(), url)
	}
	until(t, func() bool { return publish() == nil })
	stream, err := js.Stream(deadline(t), "EVT_ward_patient")
	if err != nil {
		t.Fatal(err)
	}
	if state := stream.CachedInfo().State; state.Msgs < acked+1 || state.LastSeq != state.Msgs {
		t.Errorf("got %+v, want the %d acknowledged messages and one more", state, acked)
	}
}

// A server that is started anew takes connections of engines only when it has opened its store: one before would have it open streams beside its start, and be told that streams
// are not there.
func TestConnectionsWaitForTheStore(t *testing.T) {
	s := newSite(t)
	failed := &counter{text: "could not be started anew"}
	s.config.Log = zerolog.New(failed)
	n := s.start(t)
	js, err := jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	const streams = 20
	for i := range streams {
		if _, err := js.CreateStream(deadline(t), jetstream.StreamConfig{Name: fmt.Sprint("EVT_ward_", i), Subjects: []string{fmt.Sprint("evt.ward.", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	back := make(chan struct{}, 1)
	for range 5 {
		nc, err := n.Conn(keyring.LOG, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
		if err != nil {
			t.Fatal(err)
		}
		node.Fail(n)
		select {
		case <-back:
		case <-deadline(t).Done():
			t.Fatal("the connection did not come back")
		}
		for i := range streams {
			m, err := nc.Request(fmt.Sprint("$JS.API.STREAM.INFO.EVT_ward_", i), nil, patience)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(m.Data), `"error"`) {
				t.Errorf("got %s behind a connection, want every stream", m.Data)
			}
		}
		nc.Close()
		until(t, func() bool { return n.Fault() == nil })
	}
	if got := failed.lines.Load(); got != 0 {
		t.Errorf("got %d starts that failed, want none", got)
	}
}

// counter counts the lines of a log that hold a text.
type counter struct {
	text  string
	lines atomic.Int64
}

// Write is part of io.Writer.
func (c *counter) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.text) {
		c.lines.Add(1)
	}
	return len(line), nil
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := deadline(t); !done(); {
		select {
		case <-ctx.Done():
			t.Fatal("not in time")
		case <-tick.C:
		}
	}
}
