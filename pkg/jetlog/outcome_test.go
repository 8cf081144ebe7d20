package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

const streamName = "EVT_test_patient"

// fixture is a server, a log, and JetStream as an administrator sees it.
type fixture struct {
	server *jetlogtest.Server
	store  *jetlog.Store
	log    eventlog.Log
	admin  jetstream.JetStream
}

func newFixture(t *testing.T, o jetlog.Options) fixture {
	t.Helper()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	nc := server.Conn()
	store, err := jetlog.New(nc, jetlogtest.Site, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := store.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{server, store, l, admin}
}

// change changes the stream behind the log's back.
func (f fixture) change(t *testing.T, change func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := f.admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := f.admin.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) fill(t *testing.T, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := f.log.Append(i-1, []byte{byte(i)}).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantNext(t *testing.T, c eventlog.Cursor, from, to uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := from; i <= to; i++ {
		if m, err := c.Next(ctx); err != nil || m.Sequence != i || m.Data[0] != byte(i) {
			t.Fatalf("got message %d, %v, want %d", m.Sequence, err, i)
		}
	}
}

func TestRefusalsOfTheStream(t *testing.T) {
	tests := map[string]func(*jetstream.StreamConfig){
		"sealed":                func(c *jetstream.StreamConfig) { c.Sealed = true },
		"message over a limit":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2 },
		"another stream's name": nil, // the subject belongs to another stream
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{})
			if change != nil {
				f.change(t, change)
			} else {
				f.change(t, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
				config := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"evt.test.patient"}}
				if _, err := f.admin.CreateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.log.Append(0, []byte("abc")).Err(); !errors.Is(err, eventlog.ErrRefused) {
				t.Errorf("got %v, want ErrRefused", err)
			}
			if _, last, err := f.log.Bounds(t.Context()); err != nil || last != 0 {
				t.Errorf("got last %d, %v, want 0", last, err)
			}
		})
	}
}

func TestNoAnswerIsUnknown(t *testing.T) {
	tests := map[string]func(t *testing.T, f fixture){
		"the stream does not answer": func(t *testing.T, f fixture) {
			f.change(t, func(c *jetstream.StreamConfig) { c.NoAck = true })
		},
		"the stream is gone": func(t *testing.T, f fixture) {
			if err := f.admin.DeleteStream(t.Context(), streamName); err != nil {
				t.Fatal(err)
			}
		},
		"the server is gone":       func(_ *testing.T, f fixture) { f.server.Stop() },
		"the connection is closed": func(_ *testing.T, f fixture) { f.admin.Conn().Close() },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{AckTimeout: 200 * time.Millisecond})
			prepare(t, f)
			first, second := f.log.Append(0, []byte("a")), f.log.Append(1, []byte("b"))
			for _, p := range []eventlog.Pending{first, second} {
				select {
				case <-p.Done():
				case <-time.After(10 * time.Second):
					t.Fatal("got no outcome within 10 s")
				}
				if err := p.Err(); !errors.Is(err, eventlog.ErrUnknown) {
					t.Errorf("got %v, want ErrUnknown", err)
				}
			}
		})
	}
}

// What was published while the server was away never comes up later: the connection keeps nothing.
func TestNothingIsKeptForLater(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	f.server.Stop()
	if err := f.log.Append(0, []byte("lost")).Err(); !errors.Is(err, eventlog.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	f.server.Start()
	if _, last, err := f.log.Bounds(t.Context()); err != nil || last != 0 { // repeats until the server is back
		t.Errorf("got last %d, %v, want 0", last, err)
	}
	f.fill(t, 1, 1)
}

func TestAwayServerIsUnavailable(t *testing.T) {
	f := newFixture(t, jetlog.Options{GiveUp: 200 * time.Millisecond})
	f.server.Stop()
	if _, err := f.log.Get(t.Context(), 1); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Get: got %v, want ErrUnavailable", err)
	}
	if _, _, err := f.log.Bounds(t.Context()); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Bounds: got %v, want ErrUnavailable", err)
	}
	if _, err := f.store.List(t.Context()); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("List: got %v, want ErrUnavailable", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.log.Get(short, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a deadline: got %v, want DeadlineExceeded", err)
	}
}

func TestNewRefusesAConnectionThatKeepsMessages(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := jetlog.New(nc, jetlogtest.Site, jetlog.Options{}); err == nil || !strings.Contains(err.Error(), "ReconnectBufSize") {
		t.Errorf("got %v, want an error about ReconnectBufSize", err)
	}
	if _, err := jetlog.New(server.Conn(), "Not A Site", jetlog.Options{}); err == nil {
		t.Error("got nil for a wrong site, want an error")
	}
}

func TestDomainOfTheStream(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{Domain: "north"})
	for domain, want := range map[string]error{"": nil, "north": nil, "south": eventlog.ErrUnavailable} {
		store, err := jetlog.New(server.Conn(), jetlogtest.Site, jetlog.Options{Domain: domain, GiveUp: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		l, err := store.Create(t.Context(), "patient")
		if !errors.Is(err, want) {
			t.Errorf("domain %q: got %v, want %v", domain, err, want)
		}
		if err != nil {
			continue
		}
		_, last, err := l.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Append(last, []byte("a")).Err(); err != nil {
			t.Errorf("domain %q: append: %v", domain, err)
		}
		if _, err := l.Get(t.Context(), last+9); !errors.Is(err, eventlog.ErrNotFound) { // asks the leader by the domain's own subject
			t.Errorf("domain %q: got %v, want ErrNotFound", domain, err)
		}
	}
}

// answering has the stream say nothing, and answers appends in its place.
func (f fixture) answering(t *testing.T, answer func(*nats.Msg)) {
	t.Helper()
	f.change(t, func(c *jetstream.StreamConfig) { c.NoAck = true })
	nc := f.server.Conn()
	if _, err := nc.Subscribe("evt.test.patient", answer); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgements(t *testing.T) {
	tests := map[string]struct {
		answer string
		want   error
	}{
		"as the server words it":    {`{"stream":"EVT_test_patient","seq":1}`, nil},
		"worded otherwise":          {`{ "seq": 1, "stream": "EVT_test_patient", "more": {} }`, nil},
		"another sequence":          {`{"stream":"EVT_test_patient","seq":11}`, eventlog.ErrUnknown},
		"another stream":            {`{"stream":"EVT_test_patients","seq":1}`, eventlog.ErrUnknown},
		"another domain":            {`{"stream":"EVT_test_patient","domain":"hub","seq":1}`, eventlog.ErrUnknown},
		"a duplicate":               {`{"stream":"EVT_test_patient","seq":1,"duplicate":true}`, eventlog.ErrUnknown},
		"no stream":                 {`{"seq":1}`, eventlog.ErrUnknown},
		"cut":                       {`{"stream":"EVT_test_patient","seq":1`, eventlog.ErrUnknown},
		"something behind":          {`{"stream":"EVT_test_patient","seq":1}}`, eventlog.ErrUnknown},
		"nothing":                   {``, eventlog.ErrUnknown},
		"null":                      {`null`, eventlog.ErrUnknown},
		"another last sequence":     {`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"stream":"EVT_test_patient","seq":0}`, eventlog.ErrTaken},
		"one that is being written": {`{"error":{"code":400,"err_code":10164}}`, eventlog.ErrTaken},
		"too large":                 {`{"error":{"code":400,"err_code":10054}}`, eventlog.ErrRefused},
		"the store failed":          {`{"error":{"code":503,"err_code":10077}}`, eventlog.ErrUnknown},
		"an error and a sequence":   {`{"stream":"EVT_test_patient","seq":1,"error":{"code":503,"err_code":10077}}`, eventlog.ErrUnknown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{})
			f.answering(t, func(m *nats.Msg) { _ = m.Respond([]byte(test.answer)) })
			err := f.log.Append(0, []byte("a")).Err()
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// Each append takes its own acknowledgement, in whatever order they come, and only the first one.
func TestAcknowledgementsInAnyOrder(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	const n = 50
	var mu sync.Mutex // guards asked
	var asked []*nats.Msg
	f.answering(t, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if asked = append(asked, m); len(asked) < n {
			return
		}
		for i := n - 1; i >= 0; i-- {
			sequence := int(asked[i].Data[0]) + 1
			if i%7 == 3 {
				sequence++ // a lie
			}
			_ = asked[i].Respond(fmt.Appendf(nil, `{"stream":"EVT_test_patient","seq":%d}`, sequence))
			_ = asked[i].Respond([]byte(`{"error":{"code":400,"err_code":10071}}`)) // too late
		}
	})
	var pending []eventlog.Pending
	for i := range n {
		pending = append(pending, f.log.Append(uint64(i), []byte{byte(i)}))
	}
	for i, p := range pending {
		if err := p.Err(); (i%7 == 3) != errors.Is(err, eventlog.ErrUnknown) || i%7 != 3 && err != nil {
			t.Errorf("append %d: got %v", i, err)
		}
	}
}

// A connection that is lost settles what waits at once, long before the timeout.
func TestALostConnectionIsUnknown(t *testing.T) {
	for name, lose := range map[string]func(f fixture){
		"the server stops":         func(f fixture) { f.server.Stop() },
		"the connection is closed": func(f fixture) { f.admin.Conn().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, jetlog.Options{AckTimeout: time.Hour})
			f.answering(t, func(*nats.Msg) {})
			p := f.log.Append(0, []byte("a"))
			if err := f.admin.Conn().Flush(); err != nil {
				t.Fatal(err)
			}
			lose(f)
			select {
			case <-p.Done():
			case <-time.After(30 * time.Second):
				t.Fatal("got no outcome within 30 s")
			}
			if err := p.Err(); !errors.Is(err, eventlog.ErrUnknown) {
				t.Errorf("got %v, want ErrUnknown", err)
			}
		})
	}
}

// Appends give up one after the other, each at its own time.
func TestEachAppendGivesUpByItself(t *testing.T) {
	const patience = 300 * time.Millisecond
	f := newFixture(t, jetlog.Options{AckTimeout: patience})
	f.answering(t, func(*nats.Msg) {})
	for range 2 { // the second time the timer runs anew
		first := f.log.Append(0, []byte("a"))
		timer := time.NewTimer(patience / 2)
		select {
		case <-first.Done():
			t.Fatal("the first append gave up too early")
		case <-timer.C:
		}
		began := time.Now()
		second := f.log.Append(1, []byte("b"))
		if err := first.Err(); !errors.Is(err, eventlog.ErrUnknown) {
			t.Errorf("first: got %v, want ErrUnknown", err)
		}
		if err := second.Err(); !errors.Is(err, eventlog.ErrUnknown) {
			t.Errorf("second: got %v, want ErrUnknown", err)
		}
		if took := time.Since(began); took < patience {
			t.Errorf("the second append gave up after %v, want %v", took, patience)
		}
	}
}

// TestAcknowledgementsComeWhereNobodyForesees: inboxes of nats.go count on from each other, so who has seen one of a process knows the others. The words behind them are new each time.
func TestAcknowledgementsComeWhereNobodyForesees(t *testing.T) {
	f := newFixture(t, jetlog.Options{})
	watching := f.server.Conn()
	seen, err := watching.SubscribeSync("evt.>")
	if err == nil {
		err = watching.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for n := range uint64(2) {
		store, err := jetlog.New(f.server.Conn(), jetlogtest.Site, jetlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := store.Open(t.Context(), "patient")
		if err == nil {
			err = l.Append(n, []byte("a block")).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := seen.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(m.Reply, ".")
		word := parts[len(parts)-2]
		if len(word) < 26 || words[word] {
			t.Errorf("acknowledgement on %s: got the word %q before the number, want 26 random characters", m.Reply, word)
		}
		words[word] = true
	}
}
