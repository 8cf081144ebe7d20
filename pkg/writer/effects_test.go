package writer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// effect is one thing that the writer does to the world. It fails twice over: not persisted, and persisted with the answer lost; and each once with the writer
// going on, and once with the process ending there. Blocks of many commands have TestEveryAppendFailsEachWay; the index, which another process may keep, has TestKilledAnywhere (pkg/projector) and TestKilled (pkg/indexstore).
type effect struct {
	name     string
	arrange  func(*affected)                  // what stands before
	fails    func(*affected) injection        // what is going to fail
	act      func(*affected) *problem.Problem // leads to the side effect
	there    func(*affected) bool             // whether the side effect is persisted; nil: only what can be rebuilt was touched, so the act is stored either way
	indirect bool                             // the answer is about a command that the side effect only serves
	atStop   bool                             // it happens when the writer stops
	again    func(*affected) *problem.Problem // doing it once more; nil: act
	after    func(*affected) error            // what must hold at last
}

// injection makes the side effect fail: from the moment that it is armed, persisted or not, once or with all that follows it.
type injection func(persisted, onwards bool)

// effects is the table of all side effects of the writer.
func effects() []effect {
	return []effect{
		{name: "append of a block", fails: appendOf("patient", 1), act: command("x"), there: storedOnce("x"), after: once("x")},
		{name: "append of a transaction", fails: appendOf("patient", 1), act: transaction("x"), there: storedTwice("x"), after: func(e *affected) error { return e.count("x", 2) }},
		{name: "epoch block", arrange: (*affected).remember, fails: appendOf("patient", 1), act: (*affected).begin, there: twoEpochs("patient"), indirect: true, again: (*affected).beginAgain},
		{name: "epoch block of the system log", arrange: (*affected).remember, fails: appendOf("eventful", 1), act: (*affected).begin, there: twoEpochs("eventful"), indirect: true, again: (*affected).beginAgain},
		{name: "state batch", fails: updateOf("patient"), act: command("x"), after: once("x")},
		{name: "state batch of the system log", fails: updateOf("eventful"), act: (*affected).importRows, after: (*affected).rowsAreThere},
		{name: "state close", fails: closeOf("patient"), act: command("x"), after: once("x"), atStop: true},
		{name: "state close of the system log", fails: closeOf("eventful"), act: (*affected).importRows, after: (*affected).rowsAreThere, atStop: true},
		{name: "rows-done", fails: appendOf("eventful", 1), act: (*affected).importRows, there: (*affected).rowsDone, after: (*affected).rowsAreThere},
		{name: "budget-granted", fails: appendOf("eventful", 1), act: command("x"), there: happened("eventful", "budget-granted"), indirect: true, after: (*affected).spendsAll},
		{name: "budget-returned", arrange: (*affected).spread, fails: appendOf("patient", 1), act: (*affected).ward, there: happened("patient", "budget-returned"), indirect: true, after: (*affected).spendsAll},
		{name: "budget-taken-back", arrange: (*affected).spread, fails: appendOf("eventful", 1), act: (*affected).ward, there: happened("eventful", "budget-taken-back"), indirect: true, after: (*affected).spendsAll},
		{name: "budget-granted behind it", arrange: (*affected).spread, fails: appendOf("eventful", 2), act: (*affected).ward, there: grantedTo("ward", 4), indirect: true, after: (*affected).spendsAll},
		{name: "schema-drafted", fails: appendOf("eventful", 1), act: (*affected).draft, there: (*affected).drafted, after: (*affected).migrates},
		{name: "schema-discarded", arrange: (*affected).drafts, fails: appendOf("eventful", 1), act: (*affected).discard, there: func(e *affected) bool { return !e.drafted() }},
		{name: "creation of a log", arrange: (*affected).drafts, fails: creationOf("ward"), act: (*affected).migrate, there: (*affected).logExists, indirect: true, after: (*affected).migrates},
		{name: "epoch block of a new log", arrange: (*affected).drafts, fails: appendOf("ward", 1), act: (*affected).migrate, there: (*affected).logHasBlocks, indirect: true, after: (*affected).migrates},
		{name: "schema-migrated", arrange: (*affected).drafts, fails: appendOf("eventful", 1), act: (*affected).migrate, there: (*affected).migrated, after: (*affected).migrates},
		{name: "freeze of a log", arrange: (*affected).draftsUnique, fails: appendOf("user", 1), act: (*affected).migrate, there: happened("user", "log-frozen"), indirect: true, after: (*affected).usersGoOn},
		{name: "thaw of a log", arrange: (*affected).draftsDuplicates, fails: appendOf("user", 2), act: (*affected).migrateInVain, there: happened("user", "log-thawed"), indirect: true},
		{name: "block of a barrier", arrange: (*affected).mark, fails: appendOf("patient", 1), act: (*affected).confirmKey, there: twoEpochs("patient"), indirect: true, again: (*affected).confirmKey, after: func(e *affected) error { return wanted(e.keyIsKnown(), "the key") }},
		{name: "key-added", fails: appendOf("eventful", 1), act: (*affected).addKey, there: (*affected).keyIsKnown, again: (*affected).addAnyKey, after: func(e *affected) error { return wanted(e.keyIsKnown(), "the key") }},
		{name: "token-issued", fails: appendOf("eventful", 1), act: (*affected).recordToken, there: happened("eventful", "token-issued")},
		{name: "act of config", fails: appendOf("eventful", 1), act: (*affected).enterConfig, there: happened("eventful", "dek-replaced"), indirect: true, after: (*affected).enteredOnce},
		{name: "token-revoked", fails: appendOf("eventful", 1), act: (*affected).revokeToken, there: happened("eventful", "token-revoked"), after: (*affected).refusesToken},
		{name: "key-revoked", arrange: (*affected).addsKey, fails: appendOf("eventful", 1), act: (*affected).revokeKey, there: happened("eventful", "key-revoked")},
		{name: "key-updated", arrange: (*affected).addsKey, fails: appendOf("eventful", 1), act: (*affected).updateKey, there: happened("eventful", "key-updated")},
		{name: "end of a refreshed token", arrange: (*affected).spread, fails: appendOf("eventful", 1), act: (*affected).refreshToken, there: happened("eventful", "token-revoked"), indirect: true, after: (*affected).leavesFour},
		{name: "hand-back of a refreshed token", arrange: (*affected).spread, fails: appendOf("patient", 2), act: (*affected).refreshToken, there: happened("patient", "budget-returned"), indirect: true, after: (*affected).leavesFour},
		{name: "what a refreshed token hands back", arrange: (*affected).spread, fails: appendOf("eventful", 2), act: (*affected).refreshToken, there: happened("eventful", "budget-taken-back"), indirect: true, after: (*affected).leavesFour},
	}
}

// affected is a site on which one side effect fails.
type affected struct {
	*site
	memory *eventlog.Memory
	jwt    string // with a limit of 10
	key    token.Key
	last   map[string]uint64
	ctx    context.Context // of the acts until the process ends
	leave  func()
	failed func() // closes fired, once
	fired  chan struct{}

	mu     sync.Mutex // guards what follows
	update func(log string, at statestore.Step) error
	create func(name string, create func() error) error
}

func newAffected(t *testing.T) *affected {
	t.Helper()
	e := &affected{memory: eventlog.NewMemory(), fired: make(chan struct{})}
	e.ctx, e.leave = context.WithCancel(t.Context())
	t.Cleanup(e.leave)
	e.failed = sync.OnceFunc(func() { close(e.fired) })
	id, _, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	e.key = token.Key{ID: id, Name: "another", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite}}
	e.site = newSite(t, e.memory)
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	e.cfg.Store = creating{e.memory, e}
	e.cfg = writer.FailingStates(e.cfg, func(log string, at statestore.Step) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.update == nil {
			return nil
		}
		return e.update(log, at)
	})
	e.start()
	e.jwt = e.token(10)
	return e
}

// creating is the store with a Create that can fail.
type creating struct {
	eventlog.Store
	e *affected
}

func (s creating) Create(ctx context.Context, name string) (log eventlog.Log, err error) {
	s.e.mu.Lock()
	fail := s.e.create
	s.e.mu.Unlock()
	if fail == nil {
		return s.Store.Create(ctx, name)
	}
	err = fail(name, func() error { log, err = s.Store.Create(ctx, name); return err })
	return log, err
}

// heal ends all failing.
func (e *affected) heal() {
	e.memory.SetFault(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.update, e.create = nil, nil
}

var errDisk = errors.New("the disk failed, says the test")

// appendOf fails the nth append to a log.
func appendOf(log string, nth int) func(*affected) injection {
	return func(e *affected) injection {
		return func(persisted, onwards bool) {
			n := 0
			e.memory.SetFault(func(name string, _ uint64, _ []byte) eventlog.Fault {
				if name != log {
					return eventlog.None
				}
				n++
				switch {
				case n == nth && persisted:
					e.failed()
					return eventlog.LoseAfter
				case n == nth:
					e.failed()
					return eventlog.LoseBefore
				case n > nth && onwards:
					return eventlog.LoseBefore
				}
				return eventlog.None
			})
		}
	}
}

// updateOf fails the next batch of a log's state.
func updateOf(log string) func(*affected) injection {
	return stateStep(log, statestore.BeforeUpdate, statestore.AfterUpdate)
}

// closeOf fails when a log's state is closed.
func closeOf(log string) func(*affected) injection {
	return stateStep(log, statestore.BeforeClose, statestore.AfterClose)
}

func stateStep(log string, before, after statestore.Step) func(*affected) injection {
	return func(e *affected) injection {
		return func(persisted, onwards bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			hit := false
			e.update = func(name string, at statestore.Step) error {
				switch {
				case name != log:
				case !hit && (persisted && at == after || !persisted && at == before):
					hit = true
					e.failed()
					return errDisk
				case hit && onwards:
					return errDisk
				}
				return nil
			}
		}
	}
}

// creationOf fails the creation of a log.
func creationOf(log string) func(*affected) injection {
	return func(e *affected) injection {
		return func(persisted, onwards bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			hit := false
			e.create = func(name string, create func() error) error {
				if name != log || hit && !onwards {
					return create()
				}
				first := !hit
				hit = true
				e.failed()
				if first && persisted {
					return errors.Join(create(), errDisk)
				}
				return errDisk
			}
		}
	}
}

// Every side effect fails, persisted or not, with the writer going on or ending; then the writer starts again, what it says is what is stored, the act can be done
// again, and all logs verify.
func TestEverySideEffectFailsEachWay(t *testing.T) {
	for _, effect := range effects() {
		for _, persisted := range []bool{false, true} {
			for _, ends := range []bool{true, false} {
				if !ends && !torture() {
					continue // TestTheWriterIsAPlainMap and TestEveryAppendFailsEachWay have writers that go on
				}
				t.Run(fmt.Sprintf("%s, persisted %v, the process ends %v", effect.name, persisted, ends), func(t *testing.T) {
					t.Parallel()
					effect.run(t, persisted, ends)
				})
			}
		}
	}
}

func (x effect) run(t *testing.T, persisted, ends bool) {
	e := newAffected(t)
	if x.arrange != nil {
		x.arrange(e)
	}
	x.fails(e)(persisted, ends)
	told := x.tell(e, ends)
	select {
	case <-e.fired:
	default:
		t.Fatal("the side effect did not happen")
	}
	e.heal()
	e.ctx = t.Context()
	e.restart()
	there := true
	if x.there != nil {
		there = x.there(e)
		if there != persisted && (ends || !x.indirect) {
			t.Errorf("got the side effect there %v behind the restart, want %v", there, persisted)
		}
	}
	x.judge(t, told, there, ends)
	again := x.act
	if x.again != nil {
		again = x.again
	}
	if p := again(e); p != nil {
		t.Errorf("once more: got %v, want success", p)
	}
	if x.there != nil && !x.there(e) && x.again == nil {
		t.Error("the side effect is not there when it was done once more")
	}
	if x.after != nil {
		if err := x.after(e); err != nil {
			t.Error(err)
		}
	}
}

// tell does the act and gives what it was answered. If the process is to end, it does so when the side effect has failed.
func (x effect) tell(e *affected, ends bool) *problem.Problem {
	e.t.Helper()
	answered := make(chan *problem.Problem, 1)
	go func() { answered <- x.act(e) }()
	if x.atStop {
		told := <-answered
		if err := e.stop(); err != nil {
			e.t.Error(err)
		}
		return told
	}
	select {
	case <-e.fired:
	case <-time.After(patience):
		e.t.Fatal("the side effect did not happen")
	}
	if ends {
		if err := e.stop(); err != nil {
			e.t.Error(err)
		}
		e.leave()
	}
	return <-answered
}

// judge holds the answer against what is stored.
func (x effect) judge(t *testing.T, told *problem.Problem, there, ends bool) {
	t.Helper()
	switch {
	case told == nil:
		if !there {
			t.Error("the act was acknowledged and is not stored")
		}
	case told.Code == problem.UnknownOutcome && ends: // that is what it is
	case told.Code != problem.Unavailable:
		t.Errorf("got %v, want success or unavailable", told)
	case there && !x.indirect:
		t.Errorf("got %v of an act that is stored", told)
	}
}

// What the effects do, and how it is seen.

func command(id string) func(*affected) *problem.Problem {
	return func(e *affected) *problem.Problem { return e.tried(crp(e.jwt, id, "A", "1")) }
}

func transaction(id string) func(*affected) *problem.Problem {
	return func(e *affected) *problem.Problem {
		var changes []aggregate.Change
		for _, name := range []string{"A", "B"} {
			changes = append(changes, crp(e.jwt, id, name, "1").Command.Changes...)
		}
		return e.tried(change(e.jwt, id, changes...))
	}
}

// tried gives the problem that a command met.
func (e *affected) tried(r writer.Request) *problem.Problem { return (<-e.send(r)).problem }

func storedOnce(id string) func(*affected) bool {
	return func(e *affected) bool { return e.stored("patient")[id] == 1 }
}

func storedTwice(id string) func(*affected) bool {
	return func(e *affected) bool { return e.stored("patient")[id] == 2 }
}

func (e *affected) count(id string, want int) error {
	if got := e.stored("patient")[id]; got != want {
		return fmt.Errorf("got command %s stored %d times, want %d", id, got, want)
	}
	return nil
}

func once(id string) func(*affected) error {
	return func(e *affected) error { return e.count(id, 1) }
}

func wanted(there bool, what string) error {
	if !there {
		return fmt.Errorf("%s is not there", what)
	}
	return nil
}

// remember stops the writer and notes where the logs end.
func (e *affected) remember() {
	if err := e.stop(); err != nil {
		e.t.Fatal(err)
	}
	e.mark()
}

// mark notes where the logs end.
func (e *affected) mark() {
	e.last = map[string]uint64{}
	for _, log := range []string{"patient", "eventful"} {
		_, e.last[log] = ended(e.t, e.memory, log)
	}
}

// begin starts the writer and waits until it is ready, or told to stop.
func (e *affected) begin() *problem.Problem {
	w, err := writer.New(e.cfg)
	if err != nil {
		return problem.From(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	e.w, e.stop = w, sync.OnceValue(func() error { cancel(); return <-over })
	go func() { over <- w.Run(ctx) }()
	select {
	case <-w.Ready():
		return nil
	case <-ctx.Done():
		return problem.New(problem.UnknownOutcome, "the writer was stopped before it was ready")
	}
}

func (e *affected) beginAgain() *problem.Problem {
	e.restart()
	return nil
}

// twoEpochs reports that besides the epoch block of the restart there is another one behind what was remembered.
func twoEpochs(log string) func(*affected) bool {
	return func(e *affected) bool {
		_, now := ended(e.t, e.memory, log)
		return now > e.last[log]+1
	}
}

const importedFile = "00000000000000000000000000000000000000000000000000000000000000ff"

func (e *affected) importRows() *problem.Problem {
	claims, err := e.w.Authenticate(e.jwt)
	if err != nil {
		return problem.From(err)
	}
	return e.w.RecordImport(e.ctx, claims, writer.ImportState{File: importedFile, Aggregate: "patient", Ranges: "1-5", Rows: 5})
}

func (e *affected) rowsDone() bool {
	s, p := e.w.Import(importedFile, "patient")
	return p == nil && s.Rows == 5 && s.Ranges == "1-5"
}

func (e *affected) rowsAreThere() error { return wanted(e.rowsDone(), "the record of the rows") }

// happened reports that a log holds an event of that type about the token of the test, or about no token.
func happened(log, eventType string) func(*affected) bool {
	return func(e *affected) bool { return e.happenings(log, eventType) > 0 }
}

func (e *affected) happenings(log, eventType string) (n int) {
	for _, c := range e.commits(log) {
		for i := range c.Events {
			if c.Events[i].Type == eventType {
				n++
			}
		}
	}
	return n
}

func grantedTo(_ string, n int) func(*affected) bool {
	return func(e *affected) bool { return e.happenings("eventful", "budget-granted") > n }
}

const wardSchema = `{"aggregate":"ward","events":{"opened":{}}}`

// spread has the ten units of the token granted to two logs, five to the patients of which one is spent, and five to the wards, all spent.
func (e *affected) spread() {
	e.migrateWards()
	e.must(crp(e.jwt, "p", "A", "1"))
	for i := range 5 {
		e.must(change(e.jwt, fmt.Sprint("w", i), opened("W")))
	}
}

func (e *affected) migrateWards() { e.site.migrate(wardSchema) }

func (e *affected) ward() *problem.Problem { return e.tried(change(e.jwt, "more", opened("W"))) }

// spendsAll holds that ten events of the token can be stored, and no more.
func (e *affected) spendsAll() error {
	for i := range 11 {
		o := e.do(crp(e.jwt, fmt.Sprint("spend", i), "A", "1"))
		if o.problem != nil && o.problem.Code == problem.BudgetSpent {
			break
		}
		if o.problem != nil {
			return o.problem
		}
	}
	n := 0
	for _, log := range []string{"patient", "ward"} {
		if log == "ward" && !e.logExists() {
			continue
		}
		for _, c := range e.commits(log) {
			if !event.IsReserved(c.Aggregate.Type) {
				n += len(c.Events)
			}
		}
	}
	if n != 10 {
		return fmt.Errorf("got %d events stored of a budget of 10", n)
	}
	return nil
}

func (e *affected) draft() *problem.Problem {
	_, p := e.w.DraftSchema(e.ctx, e.admin, []byte(wardSchema))
	return p
}

func (e *affected) drafts() {
	if p := e.draft(); p != nil {
		e.t.Fatal(p)
	}
}

func (e *affected) drafted() bool {
	s, p := e.w.Schema("ward")
	return p == nil && s.Draft != nil
}

func (e *affected) discard() *problem.Problem {
	_, p := e.w.DiscardSchema(e.ctx, e.admin, "")
	return p
}

func (e *affected) migrate() *problem.Problem {
	_, p := e.w.Migrate(e.ctx, e.admin, "")
	return p
}

func (e *affected) migrated() bool {
	s, p := e.w.Schema("ward")
	return p == nil && s.Version == 1
}

// migrates holds that the type can be migrated, if it was not yet, and written.
func (e *affected) migrates() error {
	if p := e.migrate(); p != nil {
		return p
	}
	if p := e.tried(change(e.jwt, "", opened("W"))); p != nil {
		return p
	}
	return wanted(e.migrated(), "the type ward")
}

// draftsUnique has a user stored, and a draft that makes his address unique.
func (e *affected) draftsUnique() {
	e.site.migrate(fmt.Sprintf(userSchema, false))
	e.must(change(e.jwt, "", user("u1", "x")))
	if _, p := e.w.DraftSchema(e.ctx, e.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
		e.t.Fatal(p)
	}
}

// draftsDuplicates has two users with the address besides, so that the draft cannot be put into force.
func (e *affected) draftsDuplicates() {
	e.draftsUnique()
	e.must(change(e.jwt, "", user("u2", "x")))
}

// migrateInVain is refused for the duplicates; then the log takes a command again.
func (e *affected) migrateInVain() *problem.Problem {
	if p := e.migrate(); p == nil {
		return problem.New(problem.Internal, "duplicates are in force")
	} else if p.Code != problem.Conflict {
		return p
	}
	return e.tried(change(e.jwt, "", user("u3", "z")))
}

// usersGoOn holds that the address is unique at last, and that the log takes commands.
func (e *affected) usersGoOn() error {
	if p := e.migrate(); p != nil {
		return p
	}
	e.untilTaken(e.jwt, user("u2", "y"))
	if p := e.tried(change(e.jwt, "", user("u3", "x"))); p == nil || p.Code != problem.Conflict {
		return fmt.Errorf("got %v for an address that somebody holds, want conflict", p)
	}
	return nil
}

// confirmKey adds the key, if it is not there, and waits until every log decides under it.
func (e *affected) confirmKey() *problem.Problem {
	if p := e.addAnyKey(); p != nil {
		return p
	}
	return e.w.Confirm(e.ctx, "the key")
}

func (e *affected) logExists() bool {
	names, err := e.memory.List(context.Background())
	return err == nil && slices.Contains(names, "ward")
}

func (e *affected) logHasBlocks() bool {
	if !e.logExists() {
		return false
	}
	_, last := ended(e.t, e.memory, "ward")
	return last > 0
}

func (e *affected) addKey() *problem.Problem { return e.w.AddKey(e.ctx, "operator", e.key) }

// addAnyKey adds the key, which may be there already.
func (e *affected) addAnyKey() *problem.Problem {
	p := e.addKey()
	if p != nil && p.Code == problem.Conflict && strings.Contains(p.Detail, "exists already") {
		return nil
	}
	return p
}

func (e *affected) keyIsKnown() bool {
	return slices.ContainsFunc(e.w.Keys(), func(k token.Key) bool { return k.ID == e.key.ID })
}

func (e *affected) recordToken() *problem.Problem {
	issued, err := e.w.Authenticate(e.jwt)
	if err != nil {
		return problem.From(err)
	}
	return e.w.RecordToken(e.ctx, e.admin, issued, "")
}
