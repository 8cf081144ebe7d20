package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

const patience = 20 * time.Second

// office is an inbox on a real server, with a function of the test in the place of the writers.
type office struct {
	t       *testing.T
	server  *jetlogtest.Server
	nc      *nats.Conn
	letters *jetlog.Inbox
	refused *jetlog.Refused
	engine  *inbox.Inbox

	mu   sync.Mutex // guards what follows
	sent []sent
	acts []string // on record

	unrecorded *problem.Problem // why nothing can be recorded
}

// sent is one attempt to have a command decided.
type sent struct{ subject, command, body string }

// decide is what a writer would say; nil: stored.
type decide func(ctx context.Context, subject string, header nats.Header, body []byte) *problem.Problem

func newOffice(t *testing.T, say decide, change func(*inbox.Config)) *office {
	t.Helper()
	o := &office{t: t, server: jetlogtest.StartServer(t, jetlogtest.Options{})}
	o.nc = o.server.Conn(nats.SkipSubjectValidation())
	store := o.server.Store()
	var err error
	if o.letters, err = store.Inbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o.refused, err = store.Refused(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := inbox.Config{
		Site: jetlogtest.Site, Letters: o.letters, Refused: o.refused, Key: [32]byte{1}, NameKey: [32]byte{2}, FirstPause: time.Millisecond, LastPause: 50 * time.Millisecond, Log: zerolog.Nop(),
		Claims: func(jwt string, _ time.Time) (*token.Claims, error) {
			if jwt == "" {
				return nil, errors.New("no token")
			}
			return claims(strings.TrimPrefix(jwt, "token-of-")), nil
		},
	}
	cfg.Record = func(_ context.Context, by *token.Claims, id, eventType string, fields map[string]string) *problem.Problem {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.acts = append(o.acts, fmt.Sprint(by.Actor(), " ", eventType, " ", fields["number"], " ", fields["sender"]))
		return o.unrecorded
	}
	cfg.Send = func(ctx context.Context, subject string, header nats.Header, body []byte) ([]byte, *problem.Problem) {
		p := say(ctx, subject, header, body)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.sent = append(o.sent, sent{subject, header.Get(streams.HeaderCommandID), string(body)})
		return nil, p
	}
	if change != nil {
		change(&cfg)
	}
	if o.engine, err = inbox.New(cfg); err != nil {
		t.Fatal(err)
	}
	return o
}

func claims(person string) *token.Claims {
	return &token.Claims{ID: "id-of-" + person, Issuer: "issuer", IdentifierType: "user", IdentifierID: person, Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite}}
}

func caller(person string) inbox.Caller {
	return inbox.Caller{Claims: claims(person), Token: "token-of-" + person}
}

func admin() inbox.Caller {
	c := claims("admin")
	c.Actions = []token.Action{token.ActionAdmin}
	return inbox.Caller{Claims: c}
}

// run runs the engine until the function that it gives is called, or the test is over.
func (o *office) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.engine.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Errorf("run: got %v, want an end in peace", err)
		}
	})
	o.t.Cleanup(stop)
	return stop
}

// put sends a command of ada, and waits until it is in the inbox.
func (o *office) put(aggregate event.AggregateID, body string) {
	o.t.Helper()
	subject, err := streams.CommandSubject(aggregate, "crp")
	if err != nil {
		o.t.Fatal(err)
	}
	o.raw(streams.InboxSubject(subject), nats.Header{streams.HeaderToken: {"token-of-ada"}}, body)
}

func (o *office) raw(subject string, header nats.Header, body string) {
	o.t.Helper()
	m, err := o.nc.RequestMsg(&nats.Msg{Subject: subject, Header: header, Data: []byte(body)}, patience)
	if err != nil || !strings.Contains(string(m.Data), `"seq"`) {
		o.t.Fatalf("put on %s: got %v, %v", subject, m, err)
	}
}

// empty waits until nothing waits any more.
func (o *office) empty() {
	o.t.Helper()
	until(o.t, "the inbox is empty", func() bool {
		n, _, err := o.letters.Waiting(o.t.Context())
		return err == nil && n == 0
	})
}

func (o *office) attempts() []sent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]sent(nil), o.sent...)
}

// entries are all refusals.
func (o *office) entries() []inbox.Entry {
	o.t.Helper()
	var all []inbox.Entry
	for after := uint64(0); ; {
		page, p := o.engine.List(o.t.Context(), admin(), after, 100)
		if p != nil {
			o.t.Fatal(p)
		}
		all = append(all, page.Refused...)
		if after = page.Cursor; after == 0 {
			return all
		}
	}
}

func patient(i int) event.AggregateID {
	return event.AggregateID{Type: "patient", ID: fmt.Sprint("P ", i)}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
