package writer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func (s *site) tier(id string, archive bool) *writer.TierRecord {
	s.t.Helper()
	r, p := s.w.MoveTier(s.t.Context(), s.admin, writer.Tier{Type: "patient", ID: id, Archive: archive, Comment: "says the test"})
	if p != nil {
		s.t.Fatalf("got %v (%s)", p, p.Hint)
	}
	return r
}

// moves are the records of an aggregate's tier: in its log, and in the system log.
func (s *site) moves(id string) (records, acts []*event.Commit) {
	s.t.Helper()
	for log, into := range map[string]*[]*event.Commit{"patient": &records, "eventful": &acts} {
		for _, c := range s.commits(log) {
			about := c.Aggregate.Type == schema.SystemTier || c.Aggregate.Type == schema.SystemTierAct
			if about && c.Aggregate.ID == schema.ForgottenID(event.AggregateID{Type: "patient", ID: id}) {
				*into = append(*into, c)
			}
		}
	}
	return records, acts
}

func TestAnArchivedAggregateIsLocked(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt := s.token(1000)
	s.must(crp(jwt, "first", "A", "1"))
	s.must(crp(jwt, "", "B", "1"))
	if r := s.tier("A", true); !r.Archived || r.Repeated || r.Aggregate != "patient/A" || r.Actor != s.admin.Actor() {
		t.Errorf("got %+v", r)
	}
	for range 2 {
		wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Locked)
		dry := crp(jwt, "", "A", "2")
		dry.Command.DryRun = true
		wantCode(t, s.do(dry), problem.Locked)
		both := crp(jwt, "", "B", "2")
		both.Command.Changes = append(both.Command.Changes, crp(jwt, "", "A", "2").Command.Changes...)
		wantCode(t, s.do(both), problem.Locked)
		if again := s.must(crp(jwt, "first", "A", "1")); !again.Repeated {
			t.Error("what was stored before is told as new")
		}
		s.must(crp(jwt, "", "B", "3"))
		s.restart()
	}
	if r := s.tier("A", true); !r.Repeated {
		t.Errorf("archived twice: got %+v", r)
	}
	s.stateIsOfTheLog("patient", "eventful")
	if r := s.tier("A", false); r.Archived || r.Repeated {
		t.Errorf("restored: got %+v", r)
	}
	if a := s.must(expect(crp(jwt, "", "A", "2"), "1")); a.Commits[0].Version != 2 {
		t.Errorf("it came back at version %d, want 2", a.Commits[0].Version)
	}
	records, acts := s.moves("A")
	if len(records) != 2 || len(acts) != 2 {
		t.Errorf("got %d records and %d acts, want 2 and 2", len(records), len(acts))
	}
	s.stateIsOfTheLog("patient", "eventful")
}

func TestWhatCannotBeMoved(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.must(crp(s.token(10), "", "A", "1"))
	for _, test := range []struct {
		of   writer.Tier
		want problem.Code
	}{
		{writer.Tier{Type: "patient", ID: "nobody", Archive: true}, problem.NotFound},
		{writer.Tier{Type: "nothing", ID: "A", Archive: true}, problem.NotFound},
		{writer.Tier{Type: "eventful-schema", ID: "patient", Archive: true}, problem.NotFound},
		{writer.Tier{Type: "patient", ID: "A"}, problem.Conflict},
	} {
		_, p := s.w.MoveTier(t.Context(), s.admin, test.of)
		wantCode(t, outcome{problem: p}, test.want)
	}
}

// eachStepFails has the record of each side effect fail in each way, not stored and stored with the answer lost, while try is made of aggregate A, which has one event. Behind a restart, again is
// called: the same call goes on.
func eachStepFails(t *testing.T, steps []string, try func(context.Context, *site), again func(t *testing.T, s *site, jwt string)) {
	t.Helper()
	for _, step := range steps {
		for _, fault := range []eventlog.Fault{eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay} {
			t.Run(fmt.Sprintf("%s, %s", step, fault), func(t *testing.T) {
				t.Parallel()
				m := eventlog.NewMemory()
				s := newSite(t, m)
				jwt := s.token(10)
				s.must(crp(jwt, "", "A", "1"))
				failed := false
				m.SetFault(func(_ string, _ uint64, data []byte) eventlog.Fault {
					if failed || !strings.Contains(string(data), step) {
						return eventlog.None
					}
					failed = true
					return fault
				})
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				try(ctx, s) // what it leaves is what counts
				m.SetFault(nil)
				m.Release("patient")
				m.Release("eventful")
				s.restart()
				again(t, s, jwt)
				if records, acts := s.moves("A"); len(records) != 1 || len(acts) != 1 {
					t.Errorf("got %d records and %d acts, want each once", len(records), len(acts))
				}
				s.stateIsOfTheLog("patient", "eventful")
			})
		}
	}
}

func TestMovingATierFailsEachWay(t *testing.T) {
	eachStepFails(t, []string{"aggregate-archived", "tier-changed"}, func(ctx context.Context, s *site) {
		_, _ = s.w.MoveTier(ctx, s.admin, writer.Tier{Type: "patient", ID: "A", Archive: true})
	}, func(t *testing.T, s *site, jwt string) {
		s.tier("A", true)
		wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Locked)
	})
}

// A rollback that is about an archived aggregate is refused, names it, and stores nothing; restored, it passes.
func TestARollbackLeavesArchivedAggregatesAlone(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, true))
	s.must(change(s.jwt, "", person("A", "ward", "1")))
	s.must(change(s.jwt, "", person("A", "ward", "2")))
	s.must(change(s.jwt, "", person("B", "ward", "2")))
	second := s.commits("person")[1]
	tier := writer.Tier{Type: "person", ID: "A", Archive: true}
	if _, p := s.w.MoveTier(t.Context(), s.admin, tier); p != nil {
		t.Fatal(p)
	}
	before := len(s.commits("person"))
	if _, p := s.rollBack(beforeEvent(second)); p == nil || !strings.Contains(fmt.Sprint(p.Detail, p.Problems), "person/A is archived") {
		t.Errorf("got %v, want it refused for person/A", p)
	}
	if _, p := s.rollBack(writer.RollbackWanted{Scope: writer.Scope{Type: "person", ID: "A"}, To: 1}); p == nil || p.Code != problem.Locked {
		t.Errorf("of that one: got %v, want it locked", p)
	}
	for _, c := range s.commits("person")[before:] {
		if !event.IsReserved(c.Aggregate.Type) {
			t.Errorf("got a commit of %s", c.Aggregate)
		}
	}
	tier.Archive = false
	if _, p := s.w.MoveTier(t.Context(), s.admin, tier); p != nil {
		t.Fatal(p)
	}
	s.mustRollBack(beforeEvent(second))
	if got := lives(s.commits("person")); got[personID("A")]["ward"] != "1" || got[personID("B")] != nil {
		t.Errorf("got %v, want A as it was and B gone", got)
	}
	s.stateIsOfTheLog("person", "eventful")
}
