package run_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	connect := natsServer(t, &natsserver.Options{})
	heard := connect()
	return watchOver(t, connect(), func(ctx context.Context, w *writer.Writer) error { return run.WatchStreams(ctx, heard, w, messages) })
}

// natsServer starts one, and gives what connects to it.
func natsServer(t *testing.T, o *natsserver.Options) (connect func(...nats.Option) *nats.Conn) {
	t.Helper()
	o.Host, o.Port, o.NoSigs = "127.0.0.1", -1, true
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return func(more ...nats.Option) *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), append(more, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

// watchOver runs a writer, and a watch beside it.
func watchOver(t *testing.T, nc *nats.Conn, watch func(context.Context, *writer.Writer) error) *watched {
	t.Helper()
	w := &watched{t: t, store: eventlog.NewMemory(), nc: nc}
	engine, err := writer.New(writer.Config{Site: "here", Store: w.store, Dir: t.TempDir(), Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- engine.Run(ctx) }()
	<-engine.Ready()
	go func() { ended <- watch(ctx, engine) }()
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
	w.callAs(map[string]string{"user": "UABC", "host": "127.0.0.1", "name": `a","subject":"$JS.API.STREAM.PURGE.X`}, verb, stream, "")
}

func (w *watched) callAs(client map[string]string, verb, stream, request string) {
	w.t.Helper()
	told := map[string]any{"type": "io.nats.jetstream.advisory.v1.api_audit", "client": client, "subject": "$JS.API.STREAM." + verb + "." + stream, "request": request,
		"response": `{"success":true,"did_create":` + strconv.FormatBool(!strings.Contains(request, "there")) + `,"pad":"` + strings.Repeat(".STREAM.PURGE.", 100) + `"}`}
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

// TestForeignStreams: who makes a stream is recorded, whatever its name, unless it is a maker of EventfulDB's; and so is what somebody has a server send to its own API. What engines do by themselves
// is not.
func TestForeignStreams(t *testing.T) {
	for _, c := range []struct {
		account, role, verb, stream, request string
		want                                 bool
	}{
		{"LOG", "maker", "CREATE", "EVT_here_patient", "", false},
		{"LOG", "maker", "CREATE", "KV_LEASES", "", false},
		{"APP", "maker", "CREATE", "FEED", "", false},
		{"APP", "maker", "UPDATE", "FEED", "", false},
		{"LOG", "maker", "CREATE", "FEED", "", true},
		{"LOG", "maker", "CREATE", "EVT_there_patient", "", true},
		{"LOG", "maker", "UPDATE", "EVT_here_patient", "", true},
		{"LOG", "writer", "CREATE", "EVT_here_patient", "", true},
		{"LOG", "writer", "CREATE", "KV_LEASES", `"is there"`, false}, // nothing was made
		{"LOG", "engine", "CREATE", "EVIL", "", true},
		{"LOG", "break-glass", "CREATE", strings.Repeat("long", 60), "", true},
		{"LOG", "break-glass", "CREATE", "A\u030a", "", true}, // not in NFC
		{"LOG", "", "DELETE", "EVT_here_patient", "", true},
		{"LOG", "", "MSG.DELETE", "KV_KEYS_here", "", true},
		{"LOG", "writer", "MSG.DELETE", "KV_KEYS_here", "", false},
		{"LOG", "projector", "MSG.DELETE", "KV_SNAP_here", "", false},
		{"LOG", "projector", "MSG.DELETE", "KV_KEYS_here", "", true},
		{"LOG", "plugin-runner", "MSG.DELETE", "DEAD_here", "", false},
		{"LOG", "engine", "MSG.DELETE", "DEAD_here", "", false},
		{"LOG", "engine", "MSG.DELETE", "EVT_here_patient", "", true},
		{"APP", "plugin-runner", "MSG.DELETE", "FEED", "", false},
		{"APP", "plugin-runner", "PURGE", "FEED", `{"filter":"event.patient.A.*"}`, false},
		{"APP", "plugin-runner", "PURGE", "FEED", `{"filter":"event.patient.*.*"}`, true},
		{"APP", "plugin-runner", "PURGE", "FEED", `{"filter":"event.>"}`, true},
		{"APP", "engine", "PURGE", "FEED", "", true},
		{"APP", "engine", "UPDATE", "FEED", `{"subjects":["feed.` + run.Secret + `.>"]}`, true},
		{"APP", "engine", "PURGE", "CMD_INBOX", `{"filter":"event.patient.A.*"}`, true},
	} {
		client := map[string]string{"user": "UABC", "name_tag": c.role, "host": "127.0.0.1", "kind": "Client"}
		if c.role == "" {
			client = map[string]string{"kind": "JetStream"}
		}
		got, ok := run.Recorded(c.account, map[string]any{"client": client, "subject": "$JS.API.STREAM." + c.verb + "." + c.stream, "request": c.request,
			"response": `{"did_create":` + strconv.FormatBool(!strings.Contains(c.request, "there")) + `}`})
		if ok != c.want {
			t.Errorf("%s: %s of %s by %q: got recorded %v, want %v", c.account, c.verb, c.stream, c.role, ok, c.want)
		}
		if strings.Contains(got.Request, run.Secret) {
			t.Errorf("%s of %s is recorded with the secret: %s", c.verb, c.stream, got.Request)
		}
		if ok && c.role == "" && (got.User != "jetstream" || got.Role != "JetStream") {
			t.Errorf("what a server sent itself: got %+v", got)
		}
	}
}

// TestMakersAreNotRecorded: of a stream that was made and one that was removed by a server's own hand the second alone is in the log; names that are no ids are.
func TestMakersAreNotRecorded(t *testing.T) {
	w := watchStreams(t, 0)
	w.begin()
	maker := map[string]string{"user": "UABC", "name_tag": "maker"}
	w.callAs(maker, "CREATE", "EVT_here_patient", "")
	w.callAs(maker, "CREATE", strings.Repeat("long", 60), "")
	w.callAs(map[string]string{"kind": "JetStream"}, "DELETE", "EVT_here_ward", "")
	w.until("both are recorded", func() {}, func() bool { return len(w.recorded("stream-changed")) == 3 })
	digest := sha256.Sum256([]byte(strings.Repeat("long", 60)))
	if got := w.recorded("stream-changed"); got["eventful-stream/EVT_here_ward"] != 1 || got["eventful-stream/sha256-"+hex.EncodeToString(digest[:])] != 1 {
		t.Errorf("got %v", got)
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

// gate is how a connection is made, unless it is shut.
type gate struct {
	mu   sync.Mutex // guards what follows
	shut bool
	open []net.Conn
}

// Dial is part of nats.CustomDialer.
func (g *gate) Dial(network, address string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, errors.New("the gate is shut")
	}
	c, err := net.Dial(network, address)
	if err == nil {
		g.open = append(g.open, c)
	}
	return c, err
}

// set shuts the gate, and ends what goes through it, or opens it.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut = shut; shut {
		for _, c := range g.open {
			_ = c.Close()
		}
		g.open = nil
	}
}

// TestChangesWhileAway: what somebody changed while the connection that hears of changes was away is found behind it, once; what comes and goes by itself, and a stream that is new,
// is none of it.
func TestChangesWhileAway(t *testing.T) {
	connect := natsServer(t, &natsserver.Options{JetStream: true, StoreDir: t.TempDir(), Users: []*natsserver.User{{Username: "u", Password: "u"}}})
	user, g := nats.UserInfo("u", "u"), &gate{}
	js, err := jetstream.New(connect(user))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	add := func(name string, storage jetstream.StorageType) {
		subject := "x." + name
		if log, isLog := strings.CutPrefix(name, "EVT_here_"); isLog {
			subject = "evt.here." + log
		}
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Storage: storage})
		if err == nil {
			_, err = js.Publish(ctx, subject, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"EVT_here_patient", "EVT_here_ward", "KV_B", "FIRST"} {
		add(name, jetstream.FileStorage)
	}
	add("KV_LEASES", jetstream.MemoryStorage)
	describe := func(text string) {
		if _, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: "EVT_here_patient", Subjects: []string{"evt.here.patient"}, Description: text}); err != nil {
			t.Error(err)
		}
	}
	purge := func(name string) {
		if s, err := js.Stream(ctx, name); err != nil || s.Purge(ctx) != nil {
			t.Errorf("purge %s: %v", name, err)
		}
	}
	watching := connect(user, nats.SetCustomDialer(g), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	w := watchOver(t, nil, func(ctx context.Context, w *writer.Writer) error { return run.WatchStreamsClosely(ctx, watching, w) })
	w.until("the first change is recorded", func() { purge("FIRST") }, func() bool { return len(w.recorded("stream-changed")) > 0 })
	away := func(change func()) {
		g.set(true)
		w.until("the connection is away", func() {}, func() bool { return !watching.IsConnected() })
		change()
		g.set(false)
	}
	away(func() {
		describe("by hand")
		purge("EVT_here_ward")
		purge("KV_B")
		if err := errors.Join(js.DeleteStream(ctx, "KV_LEASES"), js.DeleteStream(ctx, "FIRST")); err != nil {
			t.Error(err)
		}
		add("NEW", jetstream.FileStorage)
	})
	found := func() map[string]int { return w.recorded("change-found") }
	w.until("all three are found", func() {}, func() bool { return len(found()) == 3 })
	away(func() { purge("EVT_here_patient") })
	w.until("what is purged is found", func() {}, func() bool { return found()["eventful-stream/EVT_here_patient"] == 2 })
	if diff := cmp.Diff(map[string]int{"eventful-stream/EVT_here_patient": 2, "eventful-stream/EVT_here_ward": 1, "eventful-stream/FIRST": 1}, found()); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}
