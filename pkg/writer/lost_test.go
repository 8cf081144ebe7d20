package writer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// upTo copies the logs of a store, of one of them only the first messages: a log that lost its end.
func upTo(t testing.TB, from eventlog.Store, name string, messages uint64) *eventlog.Memory {
	t.Helper()
	to := eventlog.NewMemory()
	names, err := from.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		source, err := from.Open(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		target, err := to.Create(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		for i, data := range verifytest.Messages(t, source) {
			if n == name && uint64(i) >= messages {
				break
			}
			if err := target.Append(uint64(i), data).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// A log that ends before what its state has seen is served as it is; the state that shows the loss is kept aside, and the status names it, until a person removes it. A
// second loss keeps the first evidence.
func TestALogThatLostItsEndIsNamed(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(100)
	for range 5 {
		s.must(crp(jwt, "", "A", "1"))
	}
	lose := func(messages uint64) {
		t.Helper()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.store = upTo(t, s.store, "patient", messages)
		s.cfg.Store = s.store
		s.start()
	}
	lose(3)
	s.must(expect(crp(jwt, "", "A", "2"), fmt.Sprint(len(s.commits("patient")))))
	first := s.wantLost(true)
	s.restart()
	if again := s.wantLost(true); again != first {
		t.Errorf("got the evidence %s behind a restart, want %s", again, first)
	}
	lose(4)
	s.must(crp(jwt, "", "A", "3"))
	if again := s.wantLost(true); again != first {
		t.Errorf("got the evidence %s behind a second loss, want the first one, %s", again, first)
	}
	s.stateIsOfTheLog("patient")
	if err := os.RemoveAll(first); err != nil {
		t.Fatal(err)
	}
	s.wantLost(false)
	s.restart()
	s.wantLost(false)
}

// The same when another block stands at the place that the state has seen.
func TestALogWithAnotherEndIsNamed(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	kept := upTo(t, m, "patient", 1000)
	s.start()
	s.must(crp(jwt, "", "A", "2"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	old := s.dir
	s.store, s.dir = kept, t.TempDir()
	s.cfg.Store, s.cfg.Dir = s.store, s.dir
	s.start() // another history behind the first command
	for range 3 {
		s.must(crp(jwt, "", "A", "3"))
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.dir, s.cfg.Dir = old, old
	s.start()
	s.wantLost(true)
	if a := s.must(crp(jwt, "", "A", "4")); a.Commits[0].Version != 5 {
		t.Errorf("got version %d, want 5 as the log has it", a.Commits[0].Version)
	}
	s.stateIsOfTheLog("patient")
}

// wantLost holds what the status says of the log patient, and gives the evidence.
func (s *site) wantLost(want bool) (evidence string) {
	s.t.Helper()
	kept, err := filepath.Glob(s.stateDir("patient") + ".lost-*")
	if err != nil || (len(kept) == 1) != want || len(kept) > 1 {
		s.t.Fatalf("got the evidence %v, %v, want it to be there: %v", kept, err, want)
	}
	if want {
		evidence = kept[0]
	}
	for _, l := range s.w.Status() {
		if l.Log == "patient" && (!l.Serving || l.Shortened != want || !strings.Contains(l.Error, evidence) || !want && l.Error != "") {
			s.t.Errorf("got the status %+v, want it serving, shortened %v, with the evidence %q", l, want, evidence)
		}
	}
	return evidence
}

// A log that somebody found damaged takes no more commands; others do.
func TestACondemnedLogTakesNoCommands(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	s.w.Condemn(t.Context(), "patient", "message 7 is missing")
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	s.must(change(jwt, "", opened("W")))
	for _, l := range s.w.Status() {
		if l.Log == "patient" && (l.Serving || l.Error == "") {
			t.Errorf("got the status %+v, want it not serving, with the reason", l)
		}
	}
	if err := s.w.Stopped(); err != nil {
		t.Errorf("got %v, want nothing while other logs take commands", err)
	}
	for _, log := range []string{"ward", "eventful"} {
		s.w.Condemn(t.Context(), log, "message 3 is missing")
	}
	if err := s.w.Stopped(); !errors.Is(err, writer.ErrDamaged) || !strings.Contains(err.Error(), "log ward: message 3") {
		t.Errorf("got %v, want every log named that is stopped", err)
	}
}

// A log that names a last message which it does not have is damaged, and does not keep the others from being served.
func TestAMissingEndIsDamage(t *testing.T) {
	t.Parallel()
	m := eventlog.NewMemory()
	s := newSite(t, m)
	s.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.stateDir("patient")); err != nil {
		t.Fatal(err)
	}
	log, last := ended(t, m, "patient")
	s.cfg.Store = store{Store: m, other: map[string]eventlog.Log{"patient": verifytest.Without(log, last)}}
	s.start()
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	s.must(change(jwt, "", opened("W")))
}

func (s store) Create(ctx context.Context, name string) (eventlog.Log, error) {
	if l, ok := s.other[name]; ok {
		return l, nil
	}
	return s.Store.Create(ctx, name)
}

func opened(ward string) aggregate.Change {
	return aggregate.Change{Aggregate: event.AggregateID{Type: "ward", ID: ward}, Events: []aggregate.NewEvent{{Type: "opened"}}}
}

// store has other logs in place of some.
type store struct {
	eventlog.Store
	other map[string]eventlog.Log
}
