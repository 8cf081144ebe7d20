package writer_test

import (
	"context"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func (s *site) cool(id string, version uint64) *writer.TierRecord {
	s.t.Helper()
	r, p := s.w.Cool(s.t.Context(), "patient", s.adminToken(), writer.Tier{Type: "patient", ID: id, Version: version})
	if p != nil {
		s.t.Fatalf("got %v (%s)", p, p.Hint)
	}
	return r
}

// TestEventsAreCooled: that events of an aggregate leave the hot tier is recorded once for each version, in its log and in the audit, and locks nothing.
func TestEventsAreCooled(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	for i, want := range []bool{false, true} {
		if r := s.cool("A", 1); r.Repeated != want || r.Archived || r.Hash == "" || r.Aggregate != "patient/A" {
			t.Errorf("time %d: got %+v, want repeated %v", i, r, want)
		}
	}
	_, p := s.w.MoveTier(t.Context(), s.admin, writer.Tier{Type: "patient", ID: "A"})
	wantCode(t, outcome{problem: p}, problem.Conflict) // it is not archived
	s.must(expect(crp(jwt, "", "A", "2"), "1"))
	s.restart()
	if r := s.cool("A", 2); r.Repeated {
		t.Errorf("written since: got %+v, want a record", r)
	}
	s.tier("A", true)
	if r := s.cool("A", 2); !r.Archived || r.Hash != "" {
		t.Errorf("archived: got %+v, want no record", r)
	}
	wantCode(t, s.do(crp(jwt, "", "A", "3")), problem.Locked)
	s.restart()
	wantCode(t, s.do(crp(jwt, "", "A", "3")), problem.Locked)
	s.tier("A", false)
	if r := s.cool("A", 2); r.Repeated {
		t.Errorf("restored: got %+v, want a record", r)
	}
	if r := s.tier("A", false); !r.Repeated {
		t.Errorf("restored again: got %+v, want the record of the first time", r)
	}
	if records, acts := s.moves("A"); len(records) != 5 || len(acts) != 5 {
		t.Errorf("got %d records and %d acts, want 5 of each", len(records), len(acts))
	}
	s.stateIsOfTheLog("patient", "eventful")
}

func TestWhatCannotBeCooled(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	s.must(crp(jwt, "", "A", "2"))
	for _, test := range []struct {
		name  string
		asker string
		of    writer.Tier
		want  problem.Code
	}{
		{"nobody", s.adminToken(), writer.Tier{Type: "patient", ID: "nobody", Version: 1}, problem.NotFound},
		{"written meanwhile", s.adminToken(), writer.Tier{Type: "patient", ID: "A", Version: 1}, problem.Conflict},
		{"ahead of it", s.adminToken(), writer.Tier{Type: "patient", ID: "A", Version: 3}, problem.Conflict},
		{"reserved", s.adminToken(), writer.Tier{Type: "eventful-budget", ID: "A", Version: 1}, problem.Malformed},
		{"no version", s.adminToken(), writer.Tier{Type: "patient", ID: "A"}, problem.Malformed},
		{"a policy", "", writer.Tier{Type: "patient", ID: "A", Version: 2}, problem.Malformed},
		{"a token that may write", jwt, writer.Tier{Type: "patient", ID: "A", Version: 2}, problem.Forbidden},
	} {
		_, p := s.w.Cool(t.Context(), "patient", test.asker, test.of)
		if p == nil || p.Code != test.want {
			t.Errorf("%s: got %v, want %s", test.name, p, test.want)
		}
	}
	if records, acts := s.moves("A"); len(records)+len(acts) != 0 {
		t.Errorf("got %d records and %d acts, want none", len(records), len(acts))
	}
}

func TestCoolingFailsEachWay(t *testing.T) {
	eachStepFails(t, []string{"events-cooled", "tier-changed"}, func(ctx context.Context, s *site) {
		_, _ = s.w.Cool(ctx, "patient", s.adminToken(), writer.Tier{Type: "patient", ID: "A", Version: 1})
	}, func(t *testing.T, s *site, jwt string) {
		s.cool("A", 1)
		s.must(crp(jwt, "", "A", "2"))
	})
}
