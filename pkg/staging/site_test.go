package staging_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/staging/stagingtest"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const patience = 20 * time.Second

const (
	patientSchema = `{"aggregate":"patient","fields":{"crp":{"type":"decimal"},"name":{"pii":true}},"events":{"admitted":{"fields":["name"]},"crp":{"fields":["crp"],"required":["crp"]}}}`
	bedSchema     = `{"aggregate":"bed","log":"patient","events":{"taken":{"fields":["by"]},"freed":{}}}`
	labSchema     = `{"aggregate":"lab","events":{"sample":{}}}`
)

// site is a writer in memory, with an auth key and three types, of which two share a log; and a bucket. At the end of the test every log is verified.
type site struct {
	t       *testing.T
	logs    *eventlog.Memory
	bucket  *stagingtest.Memory
	w       *writer.Writer
	seed    []byte
	account string
}

func newSite(t *testing.T, change func(*writer.Config)) *site {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, logs: eventlog.NewMemory(), bucket: stagingtest.NewMemory()}
	s.account, _ = account.PublicKey()
	cfg := writer.Config{Site: "here", Store: s.logs, Dir: t.TempDir(), Key: make([]byte, 32), Log: zerolog.Nop()}
	if cfg.Keys, err = fieldkey.New(fieldkey.Config{Site: "here", Bucket: fieldkeytest.NewMemory()}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if s.w, err = writer.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run the writer: %v", err)
		}
		s.verify()
	})
	select {
	case <-s.w.Ready():
	case <-time.After(patience):
		t.Fatal("the writer was not ready in time")
	}
	s.schemas()
	return s
}

func (s *site) schemas() {
	s.t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		s.t.Fatal(err)
	}
	s.seed = seed
	k := token.Key{ID: id, Name: "test", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionAdmin}}
	if p := s.w.AddKey(s.t.Context(), "operator", k); p != nil {
		s.t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, s.account, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	admin, err := s.w.Authenticate(jwt)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, text := range []string{patientSchema, bedSchema, labSchema} {
		if _, p := s.w.DraftSchema(s.t.Context(), admin, []byte(text)); p != nil {
			s.t.Fatal(p)
		}
	}
	if _, p := s.w.Migrate(s.t.Context(), admin, ""); p != nil {
		s.t.Fatal(p)
	}
}

func (s *site) verify() {
	names, err := s.logs.List(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		log, err := s.logs.Open(context.Background(), name)
		if err != nil {
			s.t.Fatal(err)
		}
		report, err := verify.All(context.Background(), log, nil)
		if err != nil || !report.OK() {
			s.t.Errorf("verify %s: got %+v, %v", name, report, err)
		}
	}
}

// caller is a person with a new request id.
func (s *site) caller(person string, change ...func(*token.Claims)) staging.Caller {
	s.t.Helper()
	claims := token.Claims{IdentifierType: "user", IdentifierID: person, Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite}, Limit: 10_000, Expires: time.Now().Add(100 * time.Hour)}
	for _, c := range change {
		c(&claims)
	}
	jwt, _, err := token.Mint(s.seed, s.account, claims)
	if err != nil {
		s.t.Fatal(err)
	}
	read, err := s.w.Authenticate(jwt)
	if err != nil {
		s.t.Fatal(err)
	}
	return staging.Caller{Claims: read, Token: jwt, Request: nextRequest()}
}

var nextRequest = func() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprint("request-", n)
	}
}()

// again is the same caller with another request.
func again(c staging.Caller) staging.Caller {
	c.Request = nextRequest()
	return c
}

// execute is the writer without NATS.
func (s *site) execute(ctx context.Context, r writer.Request) (*writer.Answer, *problem.Problem) {
	type outcome struct {
		answer  *writer.Answer
		problem *problem.Problem
	}
	out := make(chan outcome, 1)
	s.w.Execute(r, func(a *writer.Answer, p *problem.Problem) { out <- outcome{a, p} })
	select {
	case o := <-out:
		return o.answer, o.problem
	case <-ctx.Done():
		return nil, problem.New(problem.UnknownOutcome, "%v", ctx.Err())
	case <-time.After(patience):
		return nil, problem.New(problem.UnknownOutcome, "no answer within %s", patience)
	}
}

// staging is a new process on the bucket.
func (s *site) staging() *staging.Staging { return s.stagingOn(s.bucket, s.execute) }

func (s *site) stagingOn(b staging.Bucket, execute staging.Execute) *staging.Staging {
	s.t.Helper()
	st, err := staging.New(staging.Config{Site: "here", Bucket: b, Execute: execute, Key: [32]byte{1}, NameKey: [32]byte{2}})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// change is one event of an aggregate.
func change(aggregateType, id, eventType string, fields ...string) aggregate.Change {
	e := aggregate.NewEvent{Type: eventType}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Fields = append(e.Fields, event.Field{Name: fields[i], Value: fields[i+1], Set: true})
	}
	return aggregate.Change{Aggregate: event.AggregateID{Type: aggregateType, ID: id}, Events: []aggregate.NewEvent{e}}
}

func expecting(e aggregate.Expected, c aggregate.Change) aggregate.Change {
	c.Expected = e
	return c
}

// mustAdd stages changes, one request each.
func (s *site) mustAdd(c staging.Caller, changes ...aggregate.Change) {
	s.t.Helper()
	for _, one := range changes {
		if _, p := s.staging().Add(s.t.Context(), again(c), []aggregate.Change{one}, false); p != nil {
			s.t.Fatalf("stage %s: %v", one.Aggregate, p)
		}
	}
}

// staged is what a person has staged, as texts.
func (s *site) staged(c staging.Caller) []string {
	s.t.Helper()
	list, p := s.staging().List(s.t.Context(), again(c), 0, 1000)
	if p != nil {
		s.t.Fatal(p)
	}
	out := []string{}
	for _, e := range list.Events {
		out = append(out, e.Type+"/"+e.ID+" "+e.Event)
	}
	return out
}

// stored lists the events of a log in its order, as texts, with the command of each.
func (s *site) stored(name string) (events, commands []string) {
	s.t.Helper()
	log, err := s.logs.Open(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	first, last, err := log.Bounds(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for sequence := first; sequence <= last; sequence++ {
		m, err := log.Get(s.t.Context(), sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		_, commits, err := event.DecodeBlock(m.Data, sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, c := range commits {
			if event.IsReserved(c.Aggregate.Type) {
				continue // budgets
			}
			for _, e := range c.Events {
				events = append(events, c.Aggregate.String()+" "+e.Type)
				commands = append(commands, c.CommandID)
			}
		}
	}
	return events, commands
}

// fault is what happens at one side effect.
type fault int

const (
	none     fault = 0
	notThere fault = 1 // not persisted; the process ends
	lost     fault = 2 // persisted, and the process ends before it knows
)

// process is a Staging whose process ends at its n-th side effect, counted from 1. Behind that nothing that it asks for happens.
type process struct {
	s     *site
	at    int
	fault fault

	mu   sync.Mutex // guards n and gone
	n    int
	gone bool
}

var errGone = fmt.Errorf("the process has ended: %w", eventlog.ErrUnavailable)

// effect says what to do with the next side effect.
func (p *process) effect() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return notThere
	}
	if p.n++; p.n == p.at {
		p.gone = true
		return p.fault
	}
	return none
}

func (p *process) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

func (p *process) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if p.dead() {
		return nil, 0, errGone
	}
	return p.s.bucket.Get(ctx, key)
}

func (p *process) Keys(ctx context.Context) ([]string, error) {
	if p.dead() {
		return nil, errGone
	}
	return p.s.bucket.Keys(ctx)
}

func (p *process) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	f := p.effect()
	if f == notThere {
		return errGone
	}
	err := p.s.bucket.Put(ctx, key, value, revision)
	if f == lost {
		return errGone
	}
	return err
}

func (p *process) Delete(ctx context.Context, key string, revision uint64) error {
	f := p.effect()
	if f == notThere {
		return errGone
	}
	err := p.s.bucket.Delete(ctx, key, revision)
	if f == lost {
		return errGone
	}
	return err
}

func (p *process) execute(ctx context.Context, r writer.Request) (*writer.Answer, *problem.Problem) {
	unknown := problem.New(problem.UnknownOutcome, "%v", errGone)
	f := notThere
	switch {
	case !r.Command.DryRun:
		f = p.effect()
	case !p.dead():
		f = none
	}
	if f == notThere {
		return nil, unknown
	}
	answer, refused := p.s.execute(ctx, r)
	if f == lost {
		return nil, unknown
	}
	return answer, refused
}

func (p *process) staging() *staging.Staging { return p.s.stagingOn(p, p.execute) }
