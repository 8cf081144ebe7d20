package writer_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// lives folds what a log holds of aggregates, up to a commit; those that ended, or never were, are left out.
func lives(commits []*event.Commit) map[event.AggregateID]map[string]string {
	states := make(map[event.AggregateID]aggregate.State)
	for _, c := range commits {
		if event.IsReserved(c.Aggregate.Type) {
			continue
		}
		for i := range c.Events {
			deletes := c.Events[i].Type == "gone" || aggregate.EndsByRollback(&c.Events[i])
			states[c.Aggregate] = aggregate.Fold(states[c.Aggregate], c.Events[i], deletes)
		}
	}
	out := make(map[event.AggregateID]map[string]string)
	for a, s := range states {
		if !s.Deleted {
			out[a] = s.Fields
		}
	}
	return out
}

func (s *sealing) gone(id string) {
	s.t.Helper()
	s.must(change(s.jwt, "", aggregate.Change{Aggregate: personID(id), Events: []aggregate.NewEvent{{Type: "gone"}}}))
}

// rollBack waits for a rollback to its end.
func (s *sealing) rollBack(want writer.RollbackWanted) (*writer.Rollback, *problem.Problem) {
	s.t.Helper()
	want.Command = fmt.Sprintf("rollback-%d", s.n.Add(1))
	for {
		r, p := s.w.Rollback(s.t.Context(), s.admin, want)
		if p != nil || r.Done {
			return r, p
		}
	}
}

func (s *sealing) mustRollBack(want writer.RollbackWanted) *writer.Rollback {
	s.t.Helper()
	r, p := s.rollBack(want)
	if p != nil {
		s.t.Fatalf("roll back %+v: got %v (%s)", want, p, p.Hint)
	}
	return r
}

func beforeEvent(c *event.Commit) writer.RollbackWanted {
	hash := c.Leaf(0).String()
	return writer.RollbackWanted{Scope: writer.Scope{Type: "person"}, Hash: hash, Asked: hash}
}

// The case of the MapleDB log, three rollbacks in a row, and a rollback of a rollback.
func TestRollback(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, true))
	s.must(change(s.jwt, "", person("T", "ward", "1")))
	s.must(change(s.jwt, "", person("M", "ward", "1", "email", "m@example.org")))
	s.must(change(s.jwt, "", person("M", "ward", "2")))
	s.gone("M")
	before := s.commits("person")
	deleted := before[len(before)-1]
	dry := s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person"}, Hash: deleted.Leaf(0).String(), DryRun: true})
	if dry.Aggregates != 1 || !dry.DryRun || dry.ID != "" || len(s.commits("person")) != len(before) || dry.Logs[0].Changes[0].Becomes != 2 {
		t.Errorf("dry run: got %+v, %d commits, want one aggregate and %d commits as before", dry, len(s.commits("person")), len(before))
	}
	r := s.mustRollBack(beforeEvent(deleted))
	after := s.commits("person")
	if len(after) != len(before)+3 || after[len(before)].Events[0].Type != "rollback-begin" || after[len(after)-1].Events[0].Type != "rollback-end" {
		t.Fatalf("got %d commits behind %d, want begin, one aggregate, end", len(after), len(before))
	}
	for i := range before {
		if after[i].Leaf(0) != before[i].Leaf(0) {
			t.Errorf("commit %d is not what it was", i)
		}
	}
	want := map[event.AggregateID]map[string]string{personID("T"): {"ward": "1"}, personID("M"): {"ward": "2", "email": "m@example.org"}}
	if diff := cmp.Diff(want, lives(after)); diff != "" {
		t.Errorf("behind the rollback (-want +got):\n%s", diff)
	}
	back := after[len(before)+1]
	if back.Correlation != r.ID || back.Causation != before[2].Leaf(0).String() || r.Aggregates != 1 || r.Events != 1 {
		t.Errorf("got correlation %s and causation %s, want %s and the event that came back; %+v", back.Correlation, back.Causation, r.ID, r)
	}
	wantCode(t, s.do(change(s.jwt, "", person("X", "email", "m@example.org"))), problem.Conflict) // its unique value is held again
	// a rollback of the rollback, and of that
	s.mustRollBack(beforeEvent(after[len(before)]))
	if _, alive := lives(s.commits("person"))[personID("M")]; alive {
		t.Error("behind a rollback of the rollback M is alive")
	}
	s.must(change(s.jwt, "free", person("X", "email", "m@example.org")))
	s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "X"}, Before: time.Unix(0, 0)})
	s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "M"}, To: 1})
	if diff := cmp.Diff(map[string]string{"ward": "1", "email": "m@example.org"}, lives(s.commits("person"))[personID("M")]); diff != "" {
		t.Errorf("M as version 1 (-want +got):\n%s", diff)
	}
	if again := s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "M"}, To: 1}); again.Aggregates != 0 || again.ID != "" {
		t.Errorf("once more: got %+v, want nothing", again)
	}
	s.must(change(s.jwt, "", person("M", "ward", "3")))
	s.stateIsOfTheLog("person", "eventful")
	s.restart()
	s.must(expect(change(s.jwt, "", person("M", "ward", "4")), fmt.Sprint(s.version("M"))))
}

func (s *sealing) version(id string) (v event.Version) {
	for _, c := range s.people(id) {
		v = c.Last()
	}
	return v
}

// Random commands, transactions and rollbacks: behind each one of the type every aggregate is as the log had it before the cut, and nothing is gone.
func TestRollbackIsThePast(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, true))
			for range 12 {
				for range 1 + random.IntN(8) {
					s.anything(random)
				}
				s.rollAnything(random)
			}
			s.stateIsOfTheLog("person", "eventful")
		})
	}
}

func (s *sealing) anything(random *rand.Rand) {
	some := func() aggregate.Change {
		c := person(fmt.Sprint(random.IntN(6)), "ward", fmt.Sprint(random.IntN(3)), "email", []string{"-", "a@x", "b@x", "c@x"}[random.IntN(4)])
		if random.IntN(4) == 0 {
			c.Events = append(c.Events, aggregate.NewEvent{Type: "gone"})
		}
		return c
	}
	changes := []aggregate.Change{some()}
	if second := some(); random.IntN(3) == 0 && second.Aggregate != changes[0].Aggregate {
		changes = append(changes, second)
	}
	if o := s.do(change(s.jwt, "", changes...)); o.problem != nil && o.problem.Code != problem.Conflict {
		s.t.Fatalf("got %v", o.problem)
	}
}

// rollAnything rolls back to before a random event: by its hash, or by its time.
func (s *sealing) rollAnything(random *rand.Rand) {
	s.t.Helper()
	before := s.commits("person")
	if len(before) == 0 {
		return
	}
	at := random.IntN(len(before))
	want := beforeEvent(before[at])
	if cut := at - int(before[at].Transaction.Index); random.IntN(2) == 0 {
		want.Hash, want.Before = "", time.Unix(0, int64(before[at].Time))
		for at = cut; at > 0 && before[at-1].Time == before[cut].Time; at-- {
		}
	} else {
		at = cut
	}
	if random.IntN(3) == 0 {
		s.rollOne(random, before)
		return
	}
	r := s.mustRollBack(want)
	after := s.commits("person")
	if diff := cmp.Diff(lives(before[:at]), lives(after)); diff != "" {
		s.t.Fatalf("to before commit %d of %d (-want +got):\n%s", at, len(before), diff)
	}
	if r.ID == "" && len(after) != len(before) {
		s.t.Fatalf("nothing was rolled back, and %d commits became %d", len(before), len(after))
	}
}

// rollOne rolls one aggregate back to a version; a unique value that another one holds meanwhile forbids it, and then nothing is stored.
func (s *sealing) rollOne(random *rand.Rand, before []*event.Commit) {
	s.t.Helper()
	a := before[random.IntN(len(before))].Aggregate
	if event.IsReserved(a.Type) {
		return
	}
	var own []*event.Commit
	for _, c := range before {
		if c.Aggregate == a {
			own = append(own, c)
		}
	}
	n := 1 + random.IntN(len(own))
	then, now := lives(own[:n])[a], lives(before)
	_, p := s.rollBack(writer.RollbackWanted{Scope: writer.Scope{Type: a.Type, ID: a.ID}, To: own[n-1].Last()})
	after := lives(s.commits("person"))
	if p != nil {
		if p.Code != problem.Conflict || !holds(now, a, then["email"]) || !cmp.Equal(now, after) {
			s.t.Fatalf("got %v (%s); email %q, %v", p, p.Hint, then["email"], now)
		}
		return
	}
	if holds(now, a, then["email"]) && then != nil {
		s.t.Fatalf("%s and another one hold %q", a, then["email"])
	}
	if now = maps.Clone(now); then == nil {
		delete(now, a)
	} else {
		now[a] = then
	}
	if diff := cmp.Diff(now, after); diff != "" {
		s.t.Fatalf("%s to version %d (-want +got):\n%s", a, own[n-1].Last(), diff)
	}
}

func holds(all map[event.AggregateID]map[string]string, but event.AggregateID, email string) bool {
	for a, fields := range all {
		if a != but && email != "" && fields["email"] == email {
			return true
		}
	}
	return false
}

// Each append of a rollback fails, not stored and stored with the answer lost, and the process ends there. The next one goes on by itself: each record
// stands once, each aggregate is brought back once.
func TestRollbackFailsEachWay(t *testing.T) {
	t.Parallel()
	const people = 600
	type step struct {
		log string
		nth int
	}
	steps := []step{{"eventful", 1}, {"person", 1}, {"person", 2}, {"person", 3}, {"person", 4}, {"person", 5}, {"eventful", 2}}
	for _, step := range steps {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %d, stored %v", step.log, step.nth, persisted), func(t *testing.T) {
				m := eventlog.NewMemory()
				s := newSealing(t, m, fmt.Sprintf(personSchema, false, false, false))
				mark := s.people600(people)
				n := 0
				m.SetFault(func(name string, _ uint64, data []byte) eventlog.Fault {
					b, err := event.DecodeHeader(data)
					if err != nil || name != step.log || len(b.Records) == 0 {
						return eventlog.None
					}
					if n++; n < step.nth {
						return eventlog.None
					} else if n == step.nth && persisted {
						return eventlog.LoseAfter
					}
					return eventlog.LoseBefore
				})
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				want := beforeEvent(mark)
				want.Command = "the one"
				_, _ = s.w.Rollback(ctx, s.admin, want)
				if err := s.stop(); err != nil {
					t.Fatal(err)
				}
				m.SetFault(nil)
				s.start()
				for done := false; !done; {
					r, p := s.w.Rollback(t.Context(), s.admin, want)
					if p != nil {
						t.Fatal(p)
					}
					done = r.Done && r.Aggregates == people
				}
				s.rolledOnce(people)
				s.stateIsOfTheLog("person", "eventful")
			})
		}
	}
}

// people600 gives every one of n aggregates a first state, and then another one; it gives the first commit of the second.
func (s *sealing) people600(n int) (mark *event.Commit) {
	s.t.Helper()
	for _, ward := range []string{"good", "bad"} {
		for from := 0; from < n; from += 100 {
			var changes []aggregate.Change
			for i := from; i < from+100; i++ {
				changes = append(changes, person(fmt.Sprint(i), "ward", ward))
			}
			s.must(change(s.jwt, "", changes...))
		}
	}
	return s.commits("person")[n]
}

func (s *sealing) rolledOnce(people int) {
	s.t.Helper()
	counts := map[string]int{}
	for _, log := range []string{"person", "eventful"} {
		for _, c := range s.commits(log) {
			if aggregate.IsRollback(&c.Events[0]) || c.Aggregate.Type == schema.SystemRollback || c.Aggregate.Type == schema.SystemRollbackLog {
				counts[c.Events[0].Type]++
			}
		}
	}
	want := map[string]int{"rollback-asked": 1, "rollback-begin": 1, aggregate.EventRolledBack: people, "rollback-end": 1, "rollback-done": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		s.t.Errorf("records (-want +got):\n%s", diff)
	}
	for a, fields := range lives(s.commits("person")) {
		if fields["ward"] != "good" {
			s.t.Errorf("%s: got %v, want what was good", a, fields)
		}
	}
}

// While a rollback is under way commands about it are refused and stored nowhere, others go on; so are migrations and another rollback.
func TestCommandsWaitForARollback(t *testing.T) {
	t.Parallel()
	m := eventlog.NewMemory()
	s := newSealing(t, m, fmt.Sprintf(personSchema, false, false, false))
	mark := s.people600(100)
	m.SetFault(func(name string, _ uint64, data []byte) eventlog.Fault {
		if b, err := event.DecodeHeader(data); err == nil && name == "person" && len(b.Records) > 0 {
			return eventlog.LoseBefore
		}
		return eventlog.None
	})
	want := beforeEvent(mark)
	want.Command = "held up"
	r, p := s.w.Rollback(t.Context(), s.admin, want)
	if p != nil || r.Done {
		t.Fatalf("got %+v, %v; want it to go on", r, p)
	}
	deadline := time.Now().Add(patience)
	for o := s.do(change(s.jwt, "", person("7", "ward", "new"))); o.problem == nil || o.problem.Code != problem.Unavailable || o.problem.Hint == ""; {
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want it refused", o.problem)
		}
	}
	s.must(crp(s.jwt, "", "A", "1.0"))
	other := beforeEvent(mark)
	if _, p := s.w.Rollback(t.Context(), s.admin, writer.RollbackWanted{Scope: writer.Scope{Type: "patient"}, Before: time.Unix(0, 0)}); p == nil || p.Code != problem.Conflict {
		t.Errorf("another rollback (%v): got %v, want a conflict", other.Scope, p)
	}
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(personSchema, false, false, true))); p != nil {
		t.Fatal(p)
	}
	if _, p := s.w.Migrate(t.Context(), s.admin, "person"); p == nil {
		t.Error("a migration went beside a rollback")
	}
	m.SetFault(nil)
	for r = (&writer.Rollback{}); !r.Done; {
		if r, p = s.w.Rollback(t.Context(), s.admin, want); p != nil {
			t.Fatal(p)
		}
	}
	s.rolledOnce(100)
	s.must(change(s.jwt, "", person("7", "ward", "new")))
}

// A rollback that would give two aggregates one unique value is refused with all of them, and nothing is stored; if both are rolled back it passes.
func TestRollbackKeepsValuesUnique(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, true))
	for i := range 3 {
		s.must(change(s.jwt, "", person(fmt.Sprint(i), "email", fmt.Sprint(i, "@x"))))
	}
	mark := s.must(change(s.jwt, "", person("0", "email", "other@x"), person("1", "email", "0@x"), person("2", "email", "1@x")))
	before := s.commits("person")
	for _, id := range []string{"0", "1"} {
		_, p := s.rollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: id}, To: 1})
		if p == nil || p.Code != problem.Conflict || p.Field != "email" {
			t.Errorf("got %v, want a conflict about email", p)
		}
	}
	if now := s.commits("person"); len(now) != len(before) || len(s.recordsOf(schema.SystemRollback)) > 0 {
		t.Errorf("got %d commits, want %d as before, and no record", len(now), len(before))
	}
	hash := mark.Commits[2].Hashes[0]
	s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person"}, Hash: hash, Position: mark.Commits[2].Position, Asked: hash})
	if diff := cmp.Diff(lives(before[:3]), lives(s.commits("person"))); diff != "" {
		t.Errorf("all rolled back (-want +got):\n%s", diff)
	}
	wantCode(t, s.do(change(s.jwt, "", person("9", "email", "1@x"))), problem.Conflict)
	s.must(change(s.jwt, "", person("9", "email", "other@x")))
	s.stateIsOfTheLog("person", "eventful")
}

func (s *sealing) recordsOf(typ string) (out []*event.Commit) {
	for _, c := range s.commits("eventful") {
		if c.Aggregate.Type == typ {
			out = append(out, c)
		}
	}
	return out
}

// Sealed values come back as they were stored; what was forgotten stays forgotten; what was stored in plain text is sealed if its field is encrypted now.
func TestRollbackOfEncryptedValues(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, false, false))
	s.must(change(s.jwt, "", person("A", "name", "Ada", "email", "a@x")))
	s.must(change(s.jwt, "", person("A", "name", "Eve", "email", "e@x")))
	s.migrate(fmt.Sprintf(personSchema, true, true, true))
	s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "A"}, To: 1})
	all := s.people("A")
	back := all[len(all)-1]
	if name, sealed := s.field(back, "name"); name != "Ada" || !sealed {
		t.Errorf("got the name %q, sealed %v", name, sealed)
	}
	if email, sealed := s.field(back, "email"); email != "a@x" || !sealed {
		t.Errorf("got the address %q, sealed %v; want it sealed now", email, sealed)
	}
	wantCode(t, s.do(change(s.jwt, "", person("B", "email", "a@x"))), problem.Conflict)
	s.forget("A")
	s.must(change(s.jwt, "", person("A", "name", "New", "ward", "7")))
	r := s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "A"}, To: 1, DryRun: true})
	if lost := r.Logs[0].Changes[0].Lost; len(lost) != 1 || lost[0] != "name" {
		t.Errorf("lost: got %v, want the name", lost)
	}
	s.mustRollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "A"}, To: 1})
	state := lives(s.commits("person"))[personID("A")]
	if _, there := state["name"]; there || state["ward"] != "" {
		t.Errorf("got %v, want no name and no ward", state)
	}
	s.stateIsOfTheLog("person", "eventful")
}

// The log changes hands while a rollback is under way, and calls are lost.
func TestRollbackAcrossMembers(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(fmt.Sprintf(personSchema, false, false, false))
	c.lead("a", "eventful")
	c.lead("b", "person")
	c.boss.w = c.members["a"].w
	s := &sealing{site: c.boss}
	s.jwt = s.token(1 << 20)
	for _, ward := range []string{"good", "bad"} {
		for from := range 4 {
			var changes []aggregate.Change
			for i := range 100 {
				changes = append(changes, person(fmt.Sprint(from*100+i), "ward", ward))
			}
			c.keepAsking("person", change(s.jwt, "", changes...))
		}
	}
	var losing atomic.Int64
	c.lines.setLose(func(_, _, verb string) bool { return losing.Add(1)%3 != 0 && verb == "rollback" })
	want := beforeEvent(s.commits("person")[400])
	want.Command = "moving"
	moved := make(chan struct{})
	go func() { defer close(moved); c.lead("a", "person"); c.lead("b", "person") }()
	for done := false; !done; {
		r, p := s.w.Rollback(t.Context(), s.admin, want)
		if p != nil && p.Code != problem.Unavailable && p.Code != problem.UnknownOutcome {
			t.Fatal(p)
		}
		done = p == nil && r.Done
	}
	<-moved
	c.lines.setLose(nil)
	s.rolledOnce(400)
}

func TestRollbackRefusals(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, false))
	s.must(change(s.jwt, "", person("A", "ward", "1")))
	here := s.people("A")[0].Leaf(0).String()
	scope := writer.Scope{Type: "person", ID: "A"}
	for name, c := range map[string]struct {
		want writer.RollbackWanted
		code problem.Code
	}{
		"unknown type":      {writer.RollbackWanted{Scope: writer.Scope{Type: "nothing"}, Before: time.Unix(0, 0)}, problem.NotFound},
		"unknown aggregate": {writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "B"}, To: 1}, problem.NotFound},
		"beyond the head":   {writer.RollbackWanted{Scope: scope, To: 2}, problem.NotFound},
		"unknown hash":      {writer.RollbackWanted{Scope: scope, Hash: fmt.Sprintf("%064x", 7)}, problem.NotFound},
		"wrong position":    {writer.RollbackWanted{Scope: scope, Hash: here, Position: fmt.Sprintf("person/1/0/%032x", 5)}, problem.NotFound},
		"no position":       {writer.RollbackWanted{Scope: scope, Hash: here, Position: "x"}, problem.Malformed},
	} {
		if _, p := s.rollBack(c.want); p == nil || p.Code != c.code {
			t.Errorf("%s: got %v, want %s", name, p, c.code)
		}
	}
	if got := s.mustRollBack(writer.RollbackWanted{Scope: scope, Before: time.Now().Add(-time.Nanosecond)}); got.ID != "" {
		t.Errorf("nothing behind the cut: got %+v", got)
	}
	if len(s.recordsOf(schema.SystemRollback)) > 0 {
		t.Error("a refused rollback was recorded")
	}
}

// Aggregates whose values are too large to be held together are brought back some at a time, each in a block of its own.
func TestRollbackOfLargeValues(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, false))
	const people = 20
	var mark *event.Commit
	for _, what := range []string{"good", "bad "} {
		for i := range people {
			s.must(change(s.jwt, "", person(fmt.Sprint(i), "ward", what+strings.Repeat("x", 900_000))))
		}
		if mark == nil {
			s.must(change(s.jwt, "", person("later", "ward", "1")))
			all := s.commits("person")
			mark = all[len(all)-1]
		}
	}
	r := s.mustRollBack(beforeEvent(mark))
	if r.Aggregates != people+1 || r.Events != people+1 {
		t.Errorf("got %+v, want %d aggregates", r, people+1)
	}
	now := lives(s.commits("person"))
	for i := range people {
		if got := now[personID(fmt.Sprint(i))]["ward"]; !strings.HasPrefix(got, "good") || len(got) != 900_004 {
			t.Errorf("person %d: got %.10s with %d bytes", i, got, len(got))
		}
	}
	if _, there := now[personID("later")]; there {
		t.Error("who came later is still there")
	}
}
