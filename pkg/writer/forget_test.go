package writer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// removedOnce is what a caller removes besides the key.
func removedOnce(context.Context) (writer.Removed, *problem.Problem) {
	return writer.Removed{Staged: 1, Refused: 2, Letters: 3}, nil
}

func (s *sealing) forget(id string) *writer.Certificate {
	s.t.Helper()
	c, p := s.w.Forget(context.Background(), s.admin, personID(id), removedOnce)
	if p != nil {
		s.t.Fatalf("forget %s: got %v (%s)", id, p, p.Hint)
	}
	return c
}

// records are the acts of forgetting about one person: in the log person and in the system log.
func (s *sealing) records(id string) (forgotten, done []*event.Commit) {
	s.t.Helper()
	for log, into := range map[string]*[]*event.Commit{"person": &forgotten, "eventful": &done} {
		for _, c := range s.commits(log) {
			if c.Aggregate.ID == schema.ForgottenID(personID(id)) {
				*into = append(*into, c)
			}
		}
	}
	return forgotten, done
}

func TestForgetting(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, true))
	s.must(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org")))
	s.must(change(s.jwt, "", person("B", "name", "Bob", "email", "b@example.org")))
	first := s.people("A")[0]
	cert := s.forget("A")
	if cert.KeyCommitment != fmt.Sprintf("%x", first.KeyCommitment) || cert.Aggregate != "person/A" || cert.Repeated || cert.Letters != 3 {
		t.Errorf("got %+v, want a certificate about the key %x", cert, first.KeyCommitment)
	}
	forgotten, done := s.records("A")
	if len(forgotten) != 1 || len(done) != 1 || forgotten[0].Leaf(0).String() != cert.Forgotten.Hash || done[0].Leaf(0).String() != cert.Done.Hash || cert.Done.Actor != done[0].Actor {
		t.Fatalf("got %d and %d records, certificate %+v", len(forgotten), len(done), cert)
	}
	if name, sealed := s.field(first, "name"); name != "" || !sealed || len(s.bucket.Values()) != 1 {
		t.Errorf("got the name %q, %d keys; want none that opens, and Bob's key", name, len(s.bucket.Values()))
	}
	if name, _ := s.field(s.people("B")[0], "name"); name != "Bob" {
		t.Errorf("Bob's name: got %q", name)
	}
	again := s.forget("A")
	if want := *cert; true {
		want.Repeated = true
		if diff := cmp.Diff(&want, again, cmpopts.IgnoreUnexported(writer.Record{})); diff != "" {
			t.Errorf("the certificate shown again (-want +got):\n%s", diff)
		}
	}
	s.must(change(s.jwt, "", person("C", "email", "a@example.org"))) // it is free
	wantCode(t, s.do(change(s.jwt, "", person("A", "email", "a@example.org"))), problem.Conflict)
	s.must(change(s.jwt, "", person("A", "name", "Augusta")))
	fresh := s.people("A")[1]
	if name, sealed := s.field(fresh, "name"); name != "Augusta" || !sealed || string(fresh.KeyCommitment) == string(first.KeyCommitment) {
		t.Errorf("written again: got %q, sealed %v, under the old key %v", name, sealed, string(fresh.KeyCommitment) == string(first.KeyCommitment))
	}
	s.stateIsOfTheLog("person", "eventful")
	second := s.forget("A")
	if second.KeyCommitment != fmt.Sprintf("%x", fresh.KeyCommitment) || second.Repeated {
		t.Errorf("forgotten once more: got %+v", second)
	}
	s.again()
	if third := s.forget("A"); third.Done.Hash != second.Done.Hash || !third.Repeated {
		t.Errorf("behind a restart: got %+v, want %+v", third, second)
	}
	_, p := s.w.Forget(t.Context(), s.admin, personID("nobody"), removedOnce)
	wantCode(t, outcome{problem: p}, problem.NotFound)
	_, p = s.w.Forget(t.Context(), s.admin, event.AggregateID{Type: "nothing", ID: "A"}, removedOnce)
	wantCode(t, outcome{problem: p}, problem.NotFound)
	_, p = s.w.Forget(t.Context(), s.admin, event.AggregateID{Type: schema.SystemSchema, ID: "person"}, removedOnce)
	wantCode(t, outcome{problem: p}, problem.NotFound)
}

// Each step of forgetting fails, not done and done with the answer lost, and the process ends there. The next one goes on: at the end each act stands once.
func TestForgettingFailsEachWay(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"data-forgotten", "erase", "remove", "forget-done"} {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %v", step, persisted), func(t *testing.T) {
				m := eventlog.NewMemory()
				s := newSealing(t, m, fmt.Sprintf(personSchema, true, true, true))
				s.must(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org")))
				old := s.people("A")[0].KeyCommitment
				removals := 0
				s.failForgetting(m, step, persisted, &removals)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				cert, p := s.w.Forget(ctx, s.admin, personID("A"), func(ctx context.Context) (writer.Removed, *problem.Problem) {
					if removals++; step == "remove" && removals == 1 {
						return writer.Removed{}, problem.New(problem.Unavailable, "it failed, says the test")
					}
					return removedOnce(ctx)
				})
				if p == nil && cert.Repeated {
					t.Errorf("got %+v", cert)
				}
				m.SetFault(nil)
				s.bucket.Fail = nil
				s.again()
				final := s.forget("A")
				forgotten, done := s.records("A")
				if len(forgotten) != 1 || len(done) != 1 || len(s.bucket.Values()) != 0 || final.KeyCommitment != fmt.Sprintf("%x", old) {
					t.Errorf("got %d and %d records, %d keys, %+v; want each act once and no key", len(forgotten), len(done), len(s.bucket.Values()), final)
				}
				s.must(change(s.jwt, "", person("B", "email", "a@example.org")))
				s.must(change(s.jwt, "", person("A", "name", "Augusta")))
				if fresh := s.people("A")[1].KeyCommitment; string(fresh) == string(old) {
					t.Error("written again under the key that was forgotten")
				}
				s.stateIsOfTheLog("person", "eventful")
			})
		}
	}
}

// Of an aggregate without a key the record and the removal fail, not done and done with the answer lost, and the process ends there. What is removed is on record before; the next call goes on.
func TestRemovingUnstoredFailsEachWay(t *testing.T) {
	for _, step := range []string{"unstored-removed", "remove"} {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %v", step, persisted), func(t *testing.T) {
				m := eventlog.NewMemory()
				s := newSealing(t, m, fmt.Sprintf(personSchema, true, true, true))
				s.failForgetting(m, map[string]string{"unstored-removed": "forget-done"}[step], persisted, nil)
				left := writer.Removed{Staged: 1}
				onRecord := func() (n int) { _, done := s.records("A"); return len(done) }
				remove := func(fails bool) func(context.Context) (writer.Removed, *problem.Problem) {
					return func(context.Context) (was writer.Removed, _ *problem.Problem) {
						if onRecord() == 0 {
							t.Error("removed before it was on record")
						}
						if !fails || persisted {
							was, left = left, writer.Removed{}
						}
						if fails {
							return writer.Removed{}, problem.New(problem.Unavailable, "it failed, says the test")
						}
						return was, nil
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if c, p := s.w.RemoveUnstored(ctx, s.admin, personID("A"), left, remove(step == "remove")); p == nil {
					t.Errorf("got %+v, want that it failed", c)
				}
				m.SetFault(nil)
				s.again()
				if before := onRecord(); (before == 1) != (persisted || step == "remove") {
					t.Errorf("got %d records behind the failure", before)
				}
				if left != (writer.Removed{}) { // else there is nothing to forget, and nobody calls
					c, p := s.w.RemoveUnstored(t.Context(), s.admin, personID("A"), left, remove(false))
					if p != nil || c.Staged != 1 || c.Done.Hash == "" || c.KeyCommitment != "" {
						t.Errorf("again: got %+v, %v", c, p)
					}
				}
				if left != (writer.Removed{}) || onRecord() == 0 {
					t.Errorf("left %+v, %d records; want nothing left, and a record", left, onRecord())
				}
				s.stateIsOfTheLog("eventful")
			})
		}
	}
}

// failForgetting makes one step fail, and all appends behind it: the process ends there.
func (s *sealing) failForgetting(m *eventlog.Memory, step string, persisted bool, removals *int) {
	if step == "erase" {
		s.bucket.Fail = func(what string, before bool) error {
			if what == "erase" && before != persisted {
				return errors.Join(eventlog.ErrUnavailable, errDisk)
			}
			return nil
		}
		return
	}
	log, known := map[string]string{"data-forgotten": "person", "forget-done": "eventful"}[step]
	if !known {
		return
	}
	first := true
	m.SetFault(func(name string, _ uint64, _ []byte) eventlog.Fault {
		switch {
		case name != log:
			return eventlog.None
		case first && persisted:
			first = false
			return eventlog.LoseAfter
		}
		first = false
		return eventlog.LoseBefore
	})
}

// Behind step 1 the key is of no use even while it is there: the next command gets another one.
func TestBetweenForgettingAndErasing(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	s.must(change(s.jwt, "", person("A", "name", "Ada")))
	old := s.people("A")[0].KeyCommitment
	s.bucket.Fail = func(what string, _ bool) error {
		if what == "erase" {
			return eventlog.ErrUnavailable
		}
		return nil
	}
	_, p := s.w.Forget(t.Context(), s.admin, personID("A"), removedOnce)
	wantCode(t, outcome{problem: p}, problem.Unavailable)
	wantCode(t, s.do(change(s.jwt, "x", person("A", "name", "Augusta"))), problem.Unavailable)
	s.must(change(s.jwt, "", person("A", "ward", "7")))
	s.bucket.Fail = nil
	s.must(change(s.jwt, "x", person("A", "name", "Augusta")))
	all := s.people("A")
	if fresh := all[2].KeyCommitment; len(all) != 3 || len(fresh) != 32 || string(fresh) == string(old) {
		t.Errorf("got %d commits, the last under %x; want another key than %x", len(all), fresh, old)
	}
	if name, _ := s.field(all[0], "name"); name != "" {
		t.Errorf("the forgotten name is readable: %q", name)
	}
}

// Commands and forgetting at once: behind the record that a key is forgotten nothing is sealed under it, and each key is certified once.
func TestForgettingWhileCommandsCome(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	var running sync.WaitGroup
	ids := []string{"A", "B"}
	for _, id := range ids {
		for worker := range 3 {
			running.Go(func() {
				for i := range 60 {
					if o := <-s.send(change(s.jwt, fmt.Sprintf("%s-%d-%d", id, worker, i), person(id, "name", "Ada"))); o.problem != nil && o.problem.Code != problem.Unavailable {
						t.Errorf("got %v", o.problem)
					}
				}
			})
			running.Go(func() {
				for range 6 {
					if _, p := s.w.Forget(t.Context(), s.admin, personID(id), removedOnce); p != nil && p.Code != problem.NotFound {
						t.Errorf("forget: got %v", p)
					}
				}
			})
		}
	}
	running.Wait()
	dead, certified := map[string]bool{}, map[string]int{}
	for _, c := range s.commits("person") {
		if c.Aggregate.Type == schema.SystemForgotten {
			dead[commitmentOf(t, c)] = true
		} else if key := fmt.Sprintf("%x", c.KeyCommitment); dead[key] {
			t.Errorf("%s version %d is sealed under a key that was forgotten before", c.Aggregate, c.First)
		}
	}
	for _, id := range ids {
		s.forget(id)
		_, done := s.records(id)
		for _, c := range done {
			certified[commitmentOf(t, c)]++
		}
	}
	for key, n := range certified {
		if n != 1 {
			t.Errorf("key %s was certified %d times", key, n)
		}
	}
	if len(s.bucket.Values()) != 0 || len(certified) < 2 {
		t.Errorf("got %d keys left, %d certified", len(s.bucket.Values()), len(certified))
	}
	s.stateIsOfTheLog("person", "eventful")
}

func commitmentOf(t *testing.T, c *event.Commit) string {
	t.Helper()
	fields, err := event.DecodePayload(c.Events[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f.Name == "commitment" {
			return f.Value
		}
	}
	t.Fatalf("no commitment in %v", fields)
	return ""
}

// The log is written by another process than the system log, and changes hands: the key is forgotten all the same, and its new owner knows.
func TestForgettingAcrossMembers(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(fmt.Sprintf(personSchema, true, true, false))
	c.lead("a", "eventful")
	c.lead("b", "person")
	c.boss.w = c.members["a"].w
	jwt := c.boss.token(1 << 20)
	c.keepAsking("person", change(jwt, "", person("A", "name", "Ada")))
	forget := func() *writer.Certificate {
		t.Helper()
		cert, p := c.boss.w.Forget(t.Context(), c.boss.admin, personID("A"), removedOnce)
		if p != nil {
			t.Fatalf("got %v (%s)", p, p.Hint)
		}
		return cert
	}
	losing := 0
	c.lines.setLose(func(_, _, verb string) bool { losing++; return verb == "forget" && losing%3 != 0 })
	first := forget()
	c.lines.setLose(nil)
	if again := forget(); !again.Repeated || again.KeyCommitment != first.KeyCommitment || len(c.bucket.Values()) != 0 {
		t.Errorf("got %+v behind %+v, %d keys", again, first, len(c.bucket.Values()))
	}
	c.keepAsking("person", change(jwt, "", person("A", "name", "Augusta")))
	c.lead("a", "person")
	c.keepAsking("person", change(jwt, "", person("A", "name", "King")))
	second := forget()
	c.keepAsking("person", change(jwt, "", person("A", "name", "Byron")))
	keys := map[string]int{}
	for _, commit := range c.boss.commits("person") {
		if commit.Aggregate == personID("A") {
			keys[fmt.Sprintf("%x", commit.KeyCommitment)]++
		}
	}
	if len(keys) != 3 || keys[first.KeyCommitment] != 1 || keys[second.KeyCommitment] != 2 {
		t.Errorf("got commits by key %v, want 1 under %s, 2 under %s, and 1 under another", keys, first.KeyCommitment, second.KeyCommitment)
	}
}

// A log changes hands while commands wait for the keys of new aggregates: each gets one answer.
func TestHandOverWhileKeysAreMade(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(fmt.Sprintf(personSchema, true, true, false))
	jwt := c.boss.token(1 << 30)
	c.bucket.Fail = func(string, bool) error { // a key takes a while, as on a disk
		<-time.After(2 * time.Millisecond)
		return nil
	}
	const senders, enough = 8, 8
	var running sync.WaitGroup
	var sent, moves atomic.Int64
	for i := range senders {
		running.Go(func() {
			for n := 0; moves.Load() < enough && !t.Failed(); n++ {
				out := make(chan outcome, 4)
				c.send("person", change(jwt, fmt.Sprintf("k-%d-%d", i, n), person(fmt.Sprintf("p-%d-%d", i, n), "name", "Ada")), out)
				select {
				case o := <-out:
					if o.problem != nil {
						t.Errorf("k-%d-%d: got %v", i, n, o.problem)
					}
				case <-time.After(patience):
					t.Errorf("k-%d-%d: no answer", i, n)
				}
				sent.Add(1)
			}
		})
	}
	for moves.Load() < enough && !t.Failed() {
		before := sent.Load()
		c.handOver("person")
		moves.Add(1)
		c.until("commands go on", func() bool { return sent.Load() > before || t.Failed() })
	}
	running.Wait()
	if stored := c.boss.stored("person"); len(stored) != int(sent.Load()) {
		t.Errorf("got %d commands stored, want %d", len(stored), sent.Load())
	}
}
