package writer_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const patience = 20 * time.Second

// site is a writer on a store, with an auth key and the aggregate type patient.
type site struct {
	t       testing.TB
	store   eventlog.Store
	dir     string
	cfg     writer.Config
	w       *writer.Writer
	stop    func() error
	keySeed []byte
	account string
	admin   *token.Claims
	n       atomic.Uint64
}

const patientSchema = `{"aggregate":"patient","fields":{"crp":{"type":"decimal"},"name":{"max-length":20}},
	"events":{"registered":{"fields":["name"],"required":["name"]},"crp":{"fields":["crp"]},"died":{"deletes":true}}}`

func newSite(t testing.TB, store eventlog.Store) *site {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, store: store, dir: t.TempDir()}
	s.account, _ = account.PublicKey()
	s.cfg = writer.Config{Site: "here", Store: store, Dir: s.dir, Key: make([]byte, 32), Log: zerolog.Nop()}
	s.start()
	t.Cleanup(s.verify)
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop the writer: %v", err)
		}
	})
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	s.keySeed = seed
	k := token.Key{ID: id, Name: "test", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionAdmin}}
	if p := s.w.AddKey(t.Context(), "operator", k); p != nil {
		t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, s.account, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if s.admin, err = s.w.Authenticate(jwt); err != nil {
		t.Fatal(err)
	}
	s.migrate(patientSchema)
	return s
}

// start runs a writer; stop ends it and gives what Run came back with.
func (s *site) start() {
	s.t.Helper()
	w, err := writer.New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.w = w
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- err
		s.t.Fatalf("run the writer: %v", err)
	case <-time.After(patience):
		s.t.Fatal("the writer was not ready in time")
	}
}

func (s *site) restart() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

func (s *site) migrate(definition string) {
	s.t.Helper()
	if _, p := s.w.DraftSchema(s.t.Context(), s.admin, []byte(definition)); p != nil {
		s.t.Fatal(p)
	}
	if _, p := s.w.Migrate(s.t.Context(), s.admin, ""); p != nil {
		s.t.Fatal(p)
	}
}

// adminToken mints a token that may administer everything.
func (s *site) adminToken() string {
	s.t.Helper()
	jwt, _, err := token.MintAdmin(s.keySeed, s.account, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return jwt
}

// token mints an access token that may write.
func (s *site) token(limit uint64) string {
	s.t.Helper()
	return s.tokenAt(time.Now(), limit)
}

func (s *site) tokenAt(now time.Time, limit uint64) string {
	s.t.Helper()
	jwt, _, err := token.Mint(s.keySeed, s.account, token.Claims{
		IdentifierType: "user", IdentifierID: fmt.Sprintf("u%d", s.n.Add(1)), Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite}, Limit: limit, Expires: now.Add(time.Hour),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return jwt
}

type outcome struct {
	answer  *writer.Answer
	problem *problem.Problem
}

func (s *site) send(r writer.Request) <-chan outcome {
	out := make(chan outcome, 2)
	s.w.Execute(r, func(a *writer.Answer, p *problem.Problem) { out <- outcome{a, p} })
	return out
}

func (s *site) wait(out <-chan outcome) outcome {
	s.t.Helper()
	select {
	case o := <-out:
		return o
	case <-time.After(patience):
		s.t.Fatal("a command was not answered in time")
		return outcome{}
	}
}

func (s *site) do(r writer.Request) outcome {
	s.t.Helper()
	return s.wait(s.send(r))
}

// must does a command that has to succeed.
func (s *site) must(r writer.Request) *writer.Answer {
	s.t.Helper()
	o := s.do(r)
	if o.problem != nil {
		s.t.Fatalf("got %v (%s), want success", o.problem, o.problem.Hint)
	}
	return o.answer
}

// crp is a command with one event; an empty command id lets the writer make one.
func crp(jwt, commandID, id, value string) writer.Request {
	return change(jwt, commandID, aggregate.Change{
		Aggregate: event.AggregateID{Type: "patient", ID: id},
		Events:    []aggregate.NewEvent{{Type: "crp", Fields: []event.Field{{Name: "crp", Value: value, Set: true}}}},
	})
}

func change(jwt, commandID string, changes ...aggregate.Change) writer.Request {
	if commandID == "" {
		commandID = fmt.Sprintf("c-%d", commandIDs.Add(1))
	}
	return writer.Request{Token: jwt, Command: aggregate.Command{ID: commandID, Changes: changes}}
}

var commandIDs atomic.Uint64

func expect(r writer.Request, text string) writer.Request {
	e, err := aggregate.ParseExpected(text)
	if err != nil {
		panic(err)
	}
	r.Command.Changes[0].Expected = e
	return r
}

// verify proves every log of the store, and that no commit id or command stands twice.
func (s *site) verify() {
	names, err := s.store.List(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		report := s.report(name)
		if !report.OK() && !s.t.Failed() {
			s.t.Errorf("log %s: verify found %v", name, report.Failures())
		}
	}
}

func (s *site) report(name string) verify.Report {
	s.t.Helper()
	log, err := s.store.Open(context.Background(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := verify.All(context.Background(), log, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// ended gives a log and its last sequence.
func ended(t testing.TB, store eventlog.Store, name string) (log eventlog.Log, last uint64) {
	t.Helper()
	log, err := store.Open(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, last, err = log.Bounds(context.Background()); err != nil {
		t.Fatal(err)
	}
	return log, last
}

// stored counts, for each command id of the log, its commits; void blocks are left out.
func (s *site) stored(name string) map[string]int {
	s.t.Helper()
	out := make(map[string]int)
	for _, c := range s.commits(name) {
		out[c.CommandID]++
	}
	return out
}

// commits are those of the blocks of a log that count.
func (s *site) commits(name string) (out []*event.Commit) {
	s.t.Helper()
	log, last := ended(s.t, s.store, name)
	reader, err := eventlog.Read(context.Background(), log, event.Chain{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Stop()
	for reader.Chain().Sequence < last {
		f, err := reader.Next(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		if f.Standing == event.Counts {
			out = append(out, f.Commits...)
		}
	}
	return out
}

func (s *site) stateDir(log string) string { return filepath.Join(s.dir, log) }
