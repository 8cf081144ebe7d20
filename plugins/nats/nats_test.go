package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/nats"
	"github.com/eventfuldb/eventful/streams"
)

// start runs a server with JetStream on a folder, on any port or that port.
func start(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func tryOpen(t testing.TB, s *server.Server, name string, options plugin.Values) (plugin.Plugin, error) {
	k := nats.Kind(nats.Site{})
	settings := plugin.Settings{Name: name, Site: "here", Options: plugin.Values{"url": s.ClientURL()}}
	for name, value := range options {
		settings.Options[name] = value
	}
	pii := settings.Options["pii"]
	delete(settings.Options, "pii") // the engine's own
	var err error
	if settings.Options, err = k.Examine(settings); err != nil {
		return nil, err
	}
	settings.Options["pii"] = pii
	return k.Open(t.Context(), settings)
}

func open(t *testing.T, s *server.Server, options plugin.Values) plugin.Plugin {
	t.Helper()
	p, err := tryOpen(t, s, "feed", options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// stock is a NATS client that knows nothing of EventfulDB.
func stock(t *testing.T, s *server.Server) jetstream.JetStream {
	t.Helper()
	c, err := natsgo.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// event1 is what a consumer reads.
type event1 struct {
	ID, Subject, Type, AggregateVersion string
	Deletes, Forgotten                  bool
	Data                                struct{ Fields map[string]*string }
}

// read gives all messages of the stream on some subjects.
func read(t *testing.T, js jetstream.JetStream, subject string) (events []event1, subjects []string) {
	t.Helper()
	c, err := js.OrderedConsumer(t.Context(), "EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := c.Next(jetstream.FetchMaxWait(500 * time.Millisecond))
		if errors.Is(err, natsgo.ErrTimeout) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var e event1
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		if m.Headers().Get("content-type") != "application/cloudevents+json" || m.Headers().Get("Nats-Msg-Id") != e.ID {
			t.Errorf("got headers %v", m.Headers())
		}
		events, subjects = append(events, e), append(subjects, m.Subject())
		if meta, err := m.Metadata(); err != nil || meta.NumPending == 0 {
			break
		}
	}
	return events, subjects
}

func TestConforms(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	js := stock(t, s)
	plugintest.Run(t, plugintest.Target{
		Kind: nats.Kind(nats.Site{}), Deletes: true,
		Open:   func(t *testing.T) plugin.Plugin { return open(t, s, nil) },
		Newest: func(t *testing.T, a event.AggregateID) event.Version { return newestOf(t, js, "EVENTS", a) },
	})
	if events, _ := read(t, js, "event.eventful-test.>"); len(events) != 0 {
		t.Errorf("plugin:test left %d events", len(events))
	}
}

// newestOf is the newest version of an aggregate in a stream; 0 for none, or a deleted one.
func newestOf(t *testing.T, js jetstream.JetStream, name string, a event.AggregateID) (v event.Version) {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	newest := uint64(0)
	for _, what := range []string{"patient-admitted", "patient-updated", "patient-erased"} {
		subject, err := streams.FeedSubject(a, what)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence < newest {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var e event1
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		newest = m.Sequence
		if _, err := fmt.Sscan(e.AggregateVersion, &v); err != nil {
			t.Fatal(err)
		}
		if e.Deletes {
			v = 0
		}
	}
	return v
}

// TestTheFeed: each event on its own subject, in order, once within the window of the server.
func TestTheFeed(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	p, js := open(t, s, plugin.Values{"max-age": "24h", "max-bytes": "1000000"}), stock(t, s)
	for v := event.Version(1); v <= 3; v++ {
		for range 2 {
			for i, o := range p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Change("a.b/*", v, "name", "Ada"), plugintest.Change("c", v)}}) {
				if o.Status != plugin.StatusDone {
					t.Errorf("version %d of %d: %v", v, i, o.Err)
				}
			}
		}
	}
	events, subjects := read(t, js, "event.patient.a=2Eb=2F=2A.*")
	if got := strings.Join(subjects, " "); got != "event.patient.a=2Eb=2F=2A.patient-admitted event.patient.a=2Eb=2F=2A.patient-updated event.patient.a=2Eb=2F=2A.patient-updated" {
		t.Errorf("got subjects %s", got)
	}
	for i, e := range events {
		if e.AggregateVersion != fmt.Sprint(i+1) || e.Subject != "patient/a.b/*" {
			t.Errorf("got %+v", e)
		}
	}
	if stream, err := js.Stream(t.Context(), "EVENTS"); err != nil || stream.CachedInfo().Config.MaxAge != 24*time.Hour || stream.CachedInfo().Config.MaxBytes != 1000000 || stream.CachedInfo().State.Msgs != 6 {
		t.Errorf("got %+v, %v", stream.CachedInfo(), err)
	}
	large := plugintest.Change("large", 1, "name", strings.Repeat("x", 1<<20))
	if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{large, plugintest.Change("d", 1)}}); o[0].Status != plugin.StatusPark || o[1].Status != plugin.StatusDone {
		t.Errorf("larger than a message: got %v", o)
	}
	if _, err := tryOpen(t, s, "another", nil); err == nil || !strings.Contains(err.Error(), "not of this plugin") {
		t.Errorf("a stream of another plugin: got %v", err)
	}
}

// TestForgotten: with --pii the events that may hold what is forgotten go, and consumers are told.
func TestForgotten(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	p, js := open(t, s, plugin.Values{"pii": "true"}), stock(t, s)
	for _, c := range []plugin.Change{plugintest.Change("a", 1, "name", "Canary"), plugintest.Change("b", 1, "name", "Eve"), plugintest.Forget("a")} {
		if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{c}}); o[0].Status != plugin.StatusDone {
			t.Fatal(o[0].Err)
		}
	}
	events, _ := read(t, js, streams.FeedSubjects)
	if len(events) != 2 || events[0].Subject != "patient/b" || !events[1].Forgotten || events[1].Subject != "patient/a" {
		t.Errorf("got %+v", events)
	}
}

// TestAServerThatGoes: nothing is acknowledged meanwhile, everything arrives behind it, once.
func TestAServerThatGoes(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, -1)
	p := open(t, s, nil)
	port := s.Addr().(*net.TCPAddr).Port
	if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Change("a", 1)}}); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	s.Shutdown()
	s.WaitForShutdown()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if o := p.Deliver(ctx, plugin.Batch{Changes: []plugin.Change{plugintest.Change("a", 2)}}); o[0].Status != plugin.StatusRetry {
		t.Fatalf("without a server: got %v", o)
	}
	s = start(t, dir, port)
	for deadline := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		o := p.Deliver(ctx, plugin.Batch{Changes: []plugin.Change{plugintest.Change("a", 2)}})
		cancel()
		if o[0].Status == plugin.StatusDone {
			break
		}
		if o[0].Status == plugin.StatusPark || time.Now().After(deadline) {
			t.Fatalf("with the server again: got %v", o)
		}
	}
	if events, _ := read(t, stock(t, s), streams.FeedSubjects); len(events) != 2 || events[1].AggregateVersion != "2" {
		t.Errorf("got %+v", events)
	}
}

// TestAStreamThatIsAway: nothing is acknowledged by nobody, nor by another stream.
func TestAStreamThatIsAway(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	p, js := open(t, s, nil), stock(t, s)
	// Behind its last stream nats-server 2.15.2 removes the account's folder of streams, beside whoever makes the next one.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "STAYS", Subjects: []string{"stays"}}); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	one := plugin.Batch{Changes: []plugin.Change{plugintest.Change("a", 1), plugintest.Change("b", 1)}}
	want := func(text string) {
		t.Helper()
		for i, o := range p.Deliver(t.Context(), one) {
			if o.Status != plugin.StatusRetry || o.Err == nil || !strings.Contains(o.Err.Error(), text) {
				t.Errorf("change %d: got %s, %v, want a retry for %q", i, o.Status, o.Err, text)
			}
		}
	}
	want("no stream takes the event")
	other := stream.CachedInfo().Config
	other.Name = "OTHERS"
	if _, err := js.CreateStream(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	want("no acknowledgement of this stream")
	if err := js.DeleteStream(t.Context(), "OTHERS"); err != nil {
		t.Fatal(err)
	}
	full := stream.CachedInfo().Config
	full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew // as a server whose store is full answers: for this one there is no room
	if _, err := js.CreateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if o := p.Deliver(t.Context(), one); o[0].Status != plugin.StatusDone || o[1].Status != plugin.StatusRetry {
		t.Errorf("a stream with room for one: got %v", o)
	}
	if _, err := js.UpdateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	for i, o := range p.Deliver(t.Context(), one) {
		if o.Status != plugin.StatusDone {
			t.Errorf("change %d with the stream back: got %v", i, o.Err)
		}
	}
	if events, _ := read(t, js, streams.FeedSubjects); len(events) != 2 {
		t.Errorf("got %+v", events)
	}
}

// TestMoreThanMayWait: a batch that is larger than what may be under way on a connection.
func TestMoreThanMayWait(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	p := open(t, s, nil)
	var changes []plugin.Change
	for i := range 9000 {
		changes = append(changes, plugintest.Change(fmt.Sprint("a", i), 1))
	}
	for i, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
		if o.Status != plugin.StatusDone {
			t.Fatalf("change %d: got %v", i, o.Err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i, o := range p.Deliver(ctx, plugin.Batch{Changes: changes}) {
		if o.Status == plugin.StatusPark {
			t.Fatalf("change %d of a call without time: got %v", i, o.Err)
		}
	}
	for i, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
		if o.Status != plugin.StatusDone {
			t.Fatalf("change %d behind it: got %v", i, o.Err)
		}
	}
}

// TestOptionsThatAreWrong are named, and no secret is repeated.
func TestOptionsThatAreWrong(t *testing.T) {
	for option, values := range map[string][]string{
		"url": {"http://h", "nats://u:canary@h", "nats://h/x", "h:4222"}, "creds": {"canary"}, "ca": {"none"}, "stream": {"a.b", "", "a b"},
		"max-age": {"-1s", "1s"}, "max-bytes": {"-1"}, "replicas": {"2"}, "duplicate-window": {"0s", "25h"},
	} {
		for _, value := range values {
			v := plugin.Values{"url": "nats://127.0.0.1:4222"}
			v[option] = value
			if _, err := nats.Kind(nats.Site{}).Examine(plugin.Settings{Options: v}); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("--%s=%s: got %v", option, value, err)
			}
		}
	}
}

// What is shown names the stream that there is, also of the site's own feed, and is a configuration again.
func TestTheStreamIsShown(t *testing.T) {
	for url, want := range map[string]string{"": "FEED", "nats://127.0.0.1:4222": "EVENTS"} {
		given := plugin.Values{}
		if url != "" {
			given["url"] = url
		}
		k := nats.Kind(nats.Site{})
		values, err := k.Examine(plugin.Settings{Options: given})
		if err != nil {
			t.Fatal(err)
		}
		shown := k.Show(plugin.Settings{Options: values})
		if _, err := k.Examine(plugin.Settings{Options: shown}); err != nil || shown["stream"] != want {
			t.Errorf("url %q: got stream %s, %v, want %s", url, shown["stream"], err, want)
		}
	}
}

// A stream that is gone is not made anew without a word, and one of somebody else that takes its place is not published into.
func TestAStreamThatIsReplaced(t *testing.T) {
	s := start(t, t.TempDir(), -1)
	js, p := stock(t, s), open(t, s, nil)
	deliver := func(want plugin.Status, why string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for {
			o := p.Deliver(ctx, plugin.Batch{Changes: []plugin.Change{plugintest.Change("A", 1, "name", "Ada")}})[0]
			if o.Status == want && (why == "" || strings.Contains(o.Err.Error(), why)) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("got %s, %v, want %s, %q", o.Status, o.Err, want, why)
			}
		}
	}
	deliver(plugin.StatusDone, "")
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	deliver(plugin.StatusRetry, "no stream takes the event")
	settings := plugin.Settings{Name: "feed", Site: "here", Options: plugin.Values{"url": s.ClientURL()}, Begun: true}
	var err error
	if settings.Options, err = nats.Kind(nats.Site{}).Examine(settings); err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Kind(nats.Site{}).Open(t.Context(), settings); err == nil || !strings.Contains(err.Error(), "plugin:replay feed --all -f") {
		t.Errorf("got %v, want that the stream is not there", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"event.>"}}); err != nil {
		t.Fatal(err)
	}
	deliver(plugin.StatusRetry, "not of this plugin")
	s.Shutdown()
	s.WaitForShutdown()
	deliver(plugin.StatusRetry, "not connected to NATS")
}
