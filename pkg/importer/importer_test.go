package importer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const mappingText = `
id: id
event: { column: event, values: { X: x, Y: y-z } }
fields: { n: n }
token: who
`

// rows makes a CSV file of n rows over the given number of patients; two groups write in turn.
func rows(t testing.TB, n, patients int) *importer.File {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,event,n,who\n")
	for i := range n {
		fmt.Fprintf(&b, "P%d,%s,%d,%s\n", i*7%patients, []string{"X", "Y"}[i%2], i+1, []string{"A", "B"}[i%2])
	}
	return open(t, importer.CSV, b.String())
}

func config(t testing.TB, s *fakeServer, f *importer.File) (importer.Config, *[]importer.Reject) {
	t.Helper()
	m, err := importer.ParseMapping([]byte(mappingText))
	if err != nil {
		t.Fatal(err)
	}
	rejects := &[]importer.Reject{}
	return importer.Config{
		Server: s, File: f, Mapping: m, Aggregate: "patient", Tokens: map[string]string{"A": "token-a", "B": "token-b"},
		Rejected: func(r importer.Reject) error { *rejects = append(*rejects, r); return nil },
	}, rejects
}

// timeless takes out of a summary what no test can know.
func timeless(s importer.Summary) importer.Summary {
	s.File, s.Aggregate, s.Seconds, s.PerSecond = "", "", 0, 0
	return s
}

func TestRunStoresEveryRowInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 9000, 97)
		cfg, rejects := config(t, s, f)
		got, err := importer.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(importer.Summary{Total: 9000, Stored: 9000}, timeless(got)); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
		if len(*rejects) != 0 || s.ranges != "1-9000" || s.records < 2 {
			t.Errorf("got %d rejects, ranges %q in %d records, want none, 1-9000 in at least 2", len(*rejects), s.ranges, s.records)
		}
		if s.most < 50 {
			t.Errorf("got at most %d rows under way, want many", s.most)
		}
		s.checkOrder()
		c := s.stored[importer.CommandID(f.Digest, 2)]
		want := &importer.Command{
			ID: "import-" + f.Digest[:32] + "-2", Row: 2, Line: 3, Aggregate: event.AggregateID{Type: "patient", ID: "P7"}, Event: "y-z",
			Fields: []event.Field{{Name: "n", Value: "2", Set: true}}, Token: "token-b",
		}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("row 2 (-want +got):\n%s", diff)
		}
	})
}

func TestRunAgainStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 500, 10)
		cfg, _ := config(t, s, f)
		for range 2 {
			if _, err := importer.Run(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		records := s.records
		got, err := importer.Run(t.Context(), cfg)
		if diff := cmp.Diff(importer.Summary{Total: 500, Skipped: 500}, timeless(got)); err != nil || diff != "" {
			t.Errorf("error %v, summary (-want +got):\n%s", err, diff)
		}
		if len(s.stored) != 500 || s.records != records {
			t.Errorf("got %d rows stored and %d new records, want 500 and none", len(s.stored), s.records-records)
		}
	})
}

// TestRunResumesAfterEveryKill lets the server die at each of its writes, with that write stored and not, and imports again: every row is stored once.
func TestRunResumesAfterEveryKill(t *testing.T) {
	const n = 40
	for _, lost := range []bool{false, true} {
		for at := 1; at <= n+1; at++ {
			synctest.Test(t, func(t *testing.T) {
				s, f := newFakeServer(t), rows(t, n, 6)
				s.dieAt, s.lost = at, lost
				cfg, _ := config(t, s, f)
				cfg.RecordEvery, cfg.RecordAfter = 7, 3*time.Millisecond
				first, err := importer.Run(t.Context(), cfg)
				if p := problem.From(err); p.ExitStatus() != 6 {
					t.Fatalf("killed at %d: got %v, want exit status 6", at, err)
				}
				if first.Stored+first.Left != n {
					t.Fatalf("killed at %d: got %+v, want stored and left to be all rows", at, first)
				}
				s.again()
				second, err := importer.Run(t.Context(), cfg)
				if err != nil {
					t.Fatalf("killed at %d, again: %v", at, err)
				}
				if second.Left != 0 || second.Skipped+second.Stored+second.Repeated != n || len(s.stored) != n || s.ranges != "1-40" {
					t.Errorf("killed at %d, again: got %+v, %d stored, ranges %q", at, second, len(s.stored), s.ranges)
				}
				s.checkOrder()
			})
		}
	}
}

func TestRejectedRowsStopNothingAndAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		f := open(t, importer.CSV, "id,event,n,who\nP,X,1,A\nP,X,2,A,extra\nP,nothing,3,A\nP,X,4,A\n,X,5,A\nP,X,\"6\n\",B\nQ,\"a\"b,7,A\nP,Y,8,B\n")
		s.refuse = func(c *importer.Command) *problem.Problem {
			if c.Row == 4 {
				one, two := problem.New(problem.Invalid, "n is odd"), problem.New(problem.Invalid, "m is missing")
				return problem.Join([]*problem.Problem{one, two})
			}
			return nil
		}
		cfg, rejects := config(t, s, f)
		got, err := importer.Run(t.Context(), cfg)
		if diff := cmp.Diff(importer.Summary{Total: 8, Stored: 3, Rejected: 5}, timeless(got)); err != nil || diff != "" {
			t.Errorf("error %v, summary (-want +got):\n%s", err, diff)
		}
		if s.ranges != "1,6,8" {
			t.Errorf("ranges: got %q, want 1,6,8", s.ranges)
		}
		s.checkOrder()
		lines := map[uint64]importer.Reject{}
		for _, r := range *rejects {
			lines[r.Line] = r
		}
		for line, want := range map[uint64]string{3: "5 cells, the header has 4", 4: `"nothing" is no event`, 5: "2 checks failed", 6: `column "id"`, 9: "line 9, column"} {
			if r := lines[line]; !strings.Contains(r.Reason, want) || r.Code == "" {
				t.Errorf("reject of line %d: got %+v, want %q", line, r, want)
			}
		}
		if got := lines[5].Checks; len(got) != 2 {
			t.Errorf("checks of line 5: got %q, want 2", got)
		}
		s.again()
		second, err := importer.Run(t.Context(), cfg)
		if diff := cmp.Diff(importer.Summary{Total: 8, Skipped: 3, Stored: 1, Rejected: 4}, timeless(second)); err != nil || diff != "" {
			t.Errorf("second run: error %v, summary (-want +got):\n%s", err, diff)
		}
	})
}

func TestSpentTokenStopsAtItsRow(t *testing.T) {
	for _, code := range []problem.Code{problem.BudgetSpent, problem.Unauthenticated, problem.Forbidden} {
		synctest.Test(t, func(t *testing.T) {
			s, f := newFakeServer(t), rows(t, 300, 11)
			s.refuse = func(c *importer.Command) *problem.Problem {
				if c.Token == "token-b" && c.Row >= 100 {
					return problem.New(code, "no more")
				}
				return nil
			}
			cfg, _ := config(t, s, f)
			cfg.Window = 1
			got, err := importer.Run(t.Context(), cfg)
			if p := problem.From(err); p.ExitStatus() != 5 || !strings.Contains(p.Detail, "row 100 (line 101)") || p.Hint == "" {
				t.Errorf("%s: got %v, want exit status 5 at row 100 with a hint", code, err)
			}
			if s.ranges != "1-99" || got.Stored != 99 || got.Left != 201 {
				t.Errorf("%s: got ranges %q and %+v, want 1-99 and 201 left", code, s.ranges, got)
			}
			s.again()
			if got, err = importer.Run(t.Context(), cfg); err != nil || got.Skipped != 99 || got.Stored != 201 {
				t.Errorf("%s, with a new token: got %+v, %v", code, got, err)
			}
			s.checkOrder()
		})
	}
}

// TestStoppedEarlyStillCountsWhatWasSkipped: rows of an earlier run behind the one at which a run stops are neither stored nor left.
func TestStoppedEarlyStillCountsWhatWasSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 300, 11)
		s.ranges = "201-300"
		s.refuse = func(*importer.Command) *problem.Problem { return problem.New(problem.BudgetSpent, "no more") }
		cfg, _ := config(t, s, f)
		cfg.Window = 1
		if got, err := importer.Run(t.Context(), cfg); err == nil || got.Skipped != 100 || got.Left != 200 {
			t.Errorf("got %+v, %v, want 100 skipped and 200 left", got, err)
		}
	})
}

// TestSpentTokenWithManyUnderWay: of the rows that are refused together, the first in the file is named, and none of its aggregate's later rows is stored.
func TestSpentTokenWithManyUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 2000, 50)
		s.refuse = func(c *importer.Command) *problem.Problem {
			if c.Token == "token-b" && len(s.stored) > 300 {
				return problem.New(problem.BudgetSpent, "spent")
			}
			return nil
		}
		cfg, _ := config(t, s, f)
		if _, err := importer.Run(t.Context(), cfg); problem.From(err).ExitStatus() != 5 {
			t.Errorf("got %v, want exit status 5", err)
		}
		s.again()
		if got, err := importer.Run(t.Context(), cfg); err != nil || len(s.stored) != 2000 || got.Repeated != 0 {
			t.Errorf("again: got %+v, %v, %d stored", got, err, len(s.stored))
		}
		s.checkOrder()
	})
}

func TestMissingTokenStopsAtItsRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		f := open(t, importer.CSV, "id,event,n,who\nP,X,1,A\nP,X,2,A\nP,X,3,C\nP,X,4,A\n")
		cfg, _ := config(t, s, f)
		_, err := importer.Run(t.Context(), cfg)
		if p := problem.From(err); p.Code != problem.Unauthenticated || !strings.Contains(p.Detail, "row 3 (line 4)") {
			t.Errorf("got %v, want unauthenticated at row 3", err)
		}
		if s.ranges != "1-2" {
			t.Errorf("ranges: got %q, want 1-2", s.ranges)
		}
	})
}

func TestInterruptRecordsWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 5000, 40)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.onSend = func(c *importer.Command, _ context.Context) {
			if c.Row == 700 {
				cancel()
			}
		}
		cfg, _ := config(t, s, f)
		got, err := importer.Run(ctx, cfg)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		done, _ := importer.ParseRanges(s.ranges)
		if got.Stored == 0 || got.Left == 0 || done.Rows() != got.Stored || uint64(len(s.stored)) != got.Stored {
			t.Errorf("got %+v, %d stored, %d recorded, want them equal", got, len(s.stored), done.Rows())
		}
	})
}

// TestInterruptDoesNotWaitForEver gives up on answers that do not come, after the grace.
func TestInterruptDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 10, 10)
		s.delay = func(*importer.Command) time.Duration { return time.Hour }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cfg, _ := config(t, s, f)
		began := time.Now()
		if _, err := importer.Run(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		if got := time.Since(began); got != 11*time.Second {
			t.Errorf("got %s, want 1 s and the grace of 10 s", got)
		}
	})
}

func TestDryRunStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 100, 9)
		s.refuse = func(c *importer.Command) *problem.Problem {
			if c.ID != "" || !c.DryRun {
				t.Errorf("row %d: got command id %q and dry run %t", c.Row, c.ID, c.DryRun)
			}
			if c.Row%10 == 0 {
				return problem.New(problem.Invalid, "no")
			}
			return nil
		}
		cfg, rejects := config(t, s, f)
		cfg.DryRun = true
		got, err := importer.Run(t.Context(), cfg)
		if diff := cmp.Diff(importer.Summary{Total: 100, Stored: 90, Rejected: 10, DryRun: true}, timeless(got)); err != nil || diff != "" {
			t.Errorf("error %v, summary (-want +got):\n%s", err, diff)
		}
		if len(*rejects) != 10 || len(s.stored) != 0 || s.records != 0 {
			t.Errorf("got %d rejects, %d stored, %d records", len(*rejects), len(s.stored), s.records)
		}
	})
}

func TestRecordThatFailsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 200, 9)
		s.record = func(importer.RowsDone) error { return problem.New(problem.Forbidden, "may not") }
		cfg, _ := config(t, s, f)
		got, err := importer.Run(t.Context(), cfg)
		if problem.From(err).Code != problem.Forbidden || got.Unrecorded != got.Stored || got.Stored == 0 {
			t.Errorf("got %+v, %v, want forbidden and every stored row unrecorded", got, err)
		}
		s.record = nil
		if got, err = importer.Run(t.Context(), cfg); err != nil || got.Repeated == 0 || len(s.stored) != 200 || s.ranges != "1-200" {
			t.Errorf("again: got %+v, %v", got, err)
		}
	})
}

func TestWindowBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 300, 300)
		cfg, _ := config(t, s, f)
		cfg.Window = 16
		if _, err := importer.Run(t.Context(), cfg); err != nil || s.most > 16 {
			t.Errorf("got %d rows under way, %v, want at most 16", s.most, err)
		}
		s, cfg.Window, cfg.WindowBytes = newFakeServer(t), 0, 1
		if cfg.Server = s; true {
			if _, err := importer.Run(t.Context(), cfg); err != nil || s.most > 1 {
				t.Errorf("got %d rows under way, %v, want 1", s.most, err)
			}
		}
	})
}

func TestFileThatChangesIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeServer(t), rows(t, 20, 4)
		text, err := os.ReadFile(f.Path)
		if err == nil {
			err = os.WriteFile(f.Path, append(text, "P0,X,21,A\n"...), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := config(t, s, f)
		if _, err := importer.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "was changed while it was imported") {
			t.Errorf("got %v, want that the file changed", err)
		}
	})
}
