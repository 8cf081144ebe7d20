package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// watched is a writer beside which calls of the JetStream API are told of.
type watched struct {
	t     *testing.T
	store *eventlog.Memory
	nc    *nats.Conn
}

func watchStreams(t *testing.T, messages int) *watched {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	connect := func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	w := &watched{t: t, store: eventlog.NewMemory(), nc: connect()}
	engine, err := writer.New(writer.Config{Site: "here", Store: w.store, Dir: t.TempDir(), Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nc, ended := connect(), make(chan error, 2)
	go func() { ended <- engine.Run(ctx) }()
	<-engine.Ready()
	go func() { ended <- run.WatchStreams(ctx, nc, engine, messages) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("got %v, want an end in peace", err)
			}
		}
		if r, err := verify.All(context.Background(), w.open(), nil); err != nil || !r.OK() {
			t.Errorf("verify: %+v, %v", r, err)
		}
	})
	return w
}

func (w *watched) open() eventlog.Log {
	w.t.Helper()
	l, err := w.store.Open(context.Background(), event.Reserved)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// call publishes what a nats-server tells of a call.
func (w *watched) call(verb, stream string) {
	w.t.Helper()
	told := map[string]any{"type": "io.nats.jetstream.advisory.v1.api_audit", "client": map[string]string{"user": "UABC", "host": "127.0.0.1", "name": `a","subject":"$JS.API.STREAM.PURGE.X`},
		"subject": "$JS.API.STREAM." + verb + "." + stream, "request": "", "response": `{"success":true,"pad":"` + strings.Repeat(".STREAM.PURGE.", 100) + `"}`}
	data, err := json.Marshal(told)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.nc.Publish("$JS.EVENT.ADVISORY.API", data); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for something; each is done before each look.
func (w *watched) until(what string, each func(), is func() bool) {
	w.t.Helper()
	late, look := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for each(); !is(); each() {
		select {
		case <-look.C:
		case <-late:
			w.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// recorded are the events of that type in the system log: how many by aggregate.
func (w *watched) recorded(eventType string) map[string]int {
	w.t.Helper()
	of := make(map[string]int)
	for i, raw := range verifytest.Messages(w.t, w.open()) {
		_, commits, err := event.DecodeBlock(raw, uint64(i+1))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type == eventType {
					of[c.Aggregate.String()]++
				}
			}
		}
	}
	return of
}

// begin has the watch hear calls.
func (w *watched) begin() {
	w.t.Helper()
	w.until("the first change is recorded", func() { w.call("PURGE", "FIRST") }, func() bool { return len(w.recorded("stream-changed")) > 0 })
}

// TestChangesInAFlood: changes are recorded, every one, among many more calls that change nothing.
func TestChangesInAFlood(t *testing.T) {
	w := watchStreams(t, 0)
	w.begin()
	const changes = 200
	for i := range changes {
		for range 200 {
			w.call("INFO", "EVT_here_patient")
		}
		w.call("PURGE", fmt.Sprintf("S%d", i))
	}
	w.until("every change is recorded", func() {}, func() bool { return len(w.recorded("stream-changed")) == changes+1 })
	if missed := w.recorded("changes-missed"); len(missed) > 0 {
		t.Errorf("got %v, want nothing missed", missed)
	}
}

// TestMissedChanges: a flood that could not be heard whole is on record.
func TestMissedChanges(t *testing.T) {
	w := watchStreams(t, 1)
	w.begin()
	w.until("that calls were missed is recorded", func() {
		for range 1000 {
			w.call("INFO", "EVT_here_patient")
		}
	}, func() bool { return w.recorded("changes-missed")["eventful-stream/LOG"] > 0 })
}
