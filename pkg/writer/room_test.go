package writer_test

import (
	"sync/atomic"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Without room commands and acts are refused, and cost and leave nothing; with room again all goes on.
func TestWithoutRoomNothingIsWritten(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	var full atomic.Pointer[problem.Problem]
	s.cfg.Room = full.Load
	s.restart()
	jwt := s.token(2)
	s.must(crp(jwt, "first", "A", "1"))
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(`{"aggregate":"bed","events":{"made":{}}}`)); p != nil {
		t.Fatal(p)
	}
	_, patients := ended(t, s.store, "patient")
	_, system := ended(t, s.store, "eventful")

	full.Store(problem.New(problem.NoSpace, "the disk is full"))
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.NoSpace)
	wantCode(t, s.do(crp("", "", "A", "2")), problem.Unauthenticated)
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(`{"aggregate":"ward","events":{"made":{}}}`)); p == nil || p.Code != problem.NoSpace {
		t.Errorf("draft: got %v, want no_space", p)
	}
	if _, p := s.w.Migrate(t.Context(), s.admin, ""); p == nil || p.Code != problem.NoSpace {
		t.Errorf("migrate: got %v, want no_space", p)
	}
	if names, err := s.store.List(t.Context()); err != nil || len(names) != 2 {
		t.Errorf("got logs %v, error %v, want no third one", names, err)
	}
	if _, last := ended(t, s.store, "patient"); last != patients {
		t.Errorf("got %d messages in the log, want %d as before", last, patients)
	}
	if _, last := ended(t, s.store, "eventful"); last != system {
		t.Errorf("got %d messages in the system log, want %d as before", last, system)
	}

	full.Store(nil)
	if a := s.must(crp(jwt, "", "A", "2")); a.Commits[0].Version != 2 {
		t.Errorf("got %+v, want version 2", a)
	}
	wantCode(t, s.do(crp(jwt, "", "A", "3")), problem.BudgetSpent)
	if _, p := s.w.Migrate(t.Context(), s.admin, ""); p != nil {
		t.Error(p)
	}
}
