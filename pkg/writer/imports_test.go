package writer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// importer is somebody with a token that may write a type, or one aggregate of it.
func (s *site) importer(aggregateType string, only ...event.AggregateID) *token.Claims {
	s.t.Helper()
	jwt, _, err := token.Mint(s.keySeed, s.account, token.Claims{
		IdentifierType: "user", IdentifierID: "importer", Aggregates: []string{aggregateType}, Actions: []token.Action{token.ActionWrite}, AggregateIDs: only, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := s.w.Authenticate(jwt)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestRowsAreRecordedByWhoMayWriteThemAll: nobody makes another's import leave out rows: not with a token for one aggregate, not by another type.
func TestRowsAreRecordedByWhoMayWriteThemAll(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	file := strings.Repeat("a", 64)
	record := func(c *token.Claims, aggregateType, ranges string, rows uint64) problem.Code {
		if p := s.w.RecordImport(t.Context(), c, writer.ImportState{File: file, Aggregate: aggregateType, Ranges: ranges, Rows: rows}); p != nil {
			return p.Code
		}
		return ""
	}
	patients, beds := s.importer("patient"), s.importer("bed")
	one := s.importer("patient", event.AggregateID{Type: "patient", ID: "Z"})
	for _, c := range []struct {
		name      string
		by        *token.Claims
		kind      string
		ranges    string
		rows      uint64
		want      problem.Code
		ofPatient string // recorded behind it
	}{
		{"of one aggregate", one, "patient", "1-3", 3, problem.Forbidden, ""},
		{"of another type", beds, "patient", "1-3", 3, problem.Forbidden, ""},
		{"into another type", beds, "bed", "1-3", 3, "", ""},
		{"fewer rows than it says", patients, "patient", "1-3", 9, problem.Malformed, ""},
		{"more rows than it says", patients, "patient", "1-18446744073709551615", 1, problem.Malformed, ""},
		{"above the bound", patients, "patient", "1000000000001", 1, problem.Malformed, ""},
		{"descending", patients, "patient", "4-3", 2, problem.Malformed, ""},
		{"not in order", patients, "patient", "7,1-3", 4, problem.Malformed, ""},
		{"overlapping", patients, "patient", "1-3,3-4", 5, problem.Malformed, ""},
		{"as it should be", patients, "patient", "1-3,7", 4, "", "1-3,7"},
		{"again", patients, "patient", "1-3,7", 4, "", "1-3,7"},
		{"without a row that was done", patients, "patient", "1-3,8-99", 95, problem.Conflict, "1-3,7"},
		{"none", patients, "patient", "", 0, problem.Conflict, "1-3,7"},
		{"more", patients, "patient", "1-7", 7, "", "1-7"},
	} {
		if got := record(c.by, c.kind, c.ranges, c.rows); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if now, p := s.w.ImportOf(patients, file, "patient"); p != nil || now.Ranges != c.ofPatient {
			t.Errorf("behind %s: got %q, %v, want %q", c.name, now.Ranges, p, c.ofPatient)
		}
	}
	for _, c := range []*token.Claims{one, beds} {
		if state, p := s.w.ImportOf(c, file, "patient"); p == nil || p.Code != problem.Forbidden || state.Rows != 0 {
			t.Errorf("asked by %v %v: got %+v, %v, want forbidden", c.Aggregates, c.AggregateIDs, state, p)
		}
	}
	s.restart()
	if now, p := s.w.ImportOf(patients, file, "patient"); p != nil || now.Ranges != "1-7" {
		t.Errorf("behind a restart: got %q, %v, want 1-7", now.Ranges, p)
	}
}
