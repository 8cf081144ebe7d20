package writer_test

import (
	"context"
	"os"
	"testing"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// upTo copies the logs of a store, of one of them only the first messages: a log that lost its end.
func upTo(t *testing.T, from eventlog.Store, name string, messages uint64) *eventlog.Memory {
	t.Helper()
	to := eventlog.NewMemory()
	names, err := from.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		source, err := from.Open(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		target, err := to.Create(t.Context(), n)
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

// A log that ends before what this process knows to be on disk takes no commands: its versions would be used again. The state stays as evidence, and once it is
// removed on purpose the log is served as it is.
func TestALogThatLostItsEndIsNotServed(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(100)
	for range 5 {
		s.must(crp(jwt, "", "A", "1"))
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.store = upTo(t, m, "patient", 3)
	s.cfg.Store = s.store
	s.start()
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	told := false
	for _, l := range s.w.Status() {
		told = told || l.Log == "patient" && !l.Serving && l.Shortened && l.Error != ""
	}
	if !told {
		t.Errorf("got the status %+v, want the log named as shortened", s.w.Status())
	}
	s.restart()
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.stateDir("patient")); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.must(crp(jwt, "", "A", "2"))
}

// A log that somebody found damaged takes no more commands; others do.
func TestACondemnedLogTakesNoCommands(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	s.w.Condemn("patient", "message 7 is missing")
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	s.must(change(jwt, "", opened("W")))
	for _, l := range s.w.Status() {
		if l.Log == "patient" && (l.Serving || l.Error == "") {
			t.Errorf("got the status %+v, want it not serving, with the reason", l)
		}
	}
}

// A log that names a last message which it does not have is damaged, and does not keep the others from being served.
func TestAMissingEndIsDamage(t *testing.T) {
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
