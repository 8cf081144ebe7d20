package writer_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Every append fails once in each way while commands are under way. An acknowledged command is in the log exactly once; one that was refused as
// unavailable is not in it, and sent again with the same id it is stored once.
func TestEveryAppendFailsEachWay(t *testing.T) {
	for _, fault := range []eventlog.Fault{eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			m := eventlog.NewMemory()
			s := newSite(t, m)
			jwt := s.token(10_000)
			s.must(crp(jwt, "", "warm", "0"))
			var appends atomic.Uint64
			m.SetFault(func(log string, _ uint64, _ []byte) eventlog.Fault {
				if log == "patient" && appends.Add(1)%5 == 3 {
					return fault
				}
				return eventlog.None
			})
			const n = 200
			acknowledged := make(map[string]bool)
			pending := make(map[string]<-chan outcome)
			for i := range n {
				id := fmt.Sprint("c", i)
				pending[id] = s.send(crp(jwt, id, fmt.Sprint("p", i%7), fmt.Sprint(i)))
				if i%10 == 9 {
					m.Release("patient")
					collect(t, s, jwt, pending, acknowledged)
				}
			}
			m.SetFault(nil)
			m.Release("patient")
			collect(t, s, jwt, pending, acknowledged)
			waitServing(t, s) // answers come a moment before the log takes commands again
			s.must(crp(jwt, "", "warm", "1"))
			m.Release("patient")
			stored := s.stored("patient")
			for i := range n {
				if id := fmt.Sprint("c", i); !acknowledged[id] || stored[id] != 1 {
					t.Errorf("command %s: acknowledged %v, stored %d times; want once", id, acknowledged[id], stored[id])
				}
			}
		})
	}
}

// collect waits for the answers, sending what was not stored again until it is.
func collect(t *testing.T, s *site, jwt string, pending map[string]<-chan outcome, acknowledged map[string]bool) {
	t.Helper()
	for id, out := range pending {
		for deadline := time.Now().Add(patience); ; runtime.Gosched() {
			o := s.wait(out)
			if o.problem == nil {
				acknowledged[id] = true
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("command %s was not taken within %s: %v", id, patience, o.problem)
			}
			wantCode(t, o, problem.Unavailable)
			var i int
			if _, err := fmt.Sscanf(id, "c%d", &i); err != nil {
				t.Fatal(err)
			}
			out = s.send(crp(jwt, id, fmt.Sprint("p", i%7), fmt.Sprint(i)))
		}
		delete(pending, id)
	}
}

// A rival that takes the log over ends the first writer, which stores nothing more and says so.
func TestARivalFencesTheWriter(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	first, stopFirst := s.w, s.stop
	s.dir = t.TempDir()
	s.cfg.Dir = s.dir
	s.start() // a second writer on the same logs
	s.must(crp(jwt, "", "A", "2"))
	out := make(chan outcome, 1)
	first.Execute(crp(jwt, "", "A", "3"), func(a *writer.Answer, p *problem.Problem) { out <- outcome{a, p} })
	wantCode(t, s.wait(out), problem.Unavailable)
	if err := stopFirst(); err != nil && !errors.Is(err, writer.ErrFenced) {
		t.Errorf("got %v, want nil or that the writer was fenced", err)
	}
	if a := s.must(crp(jwt, "", "A", "4")); a.Commits[0].Version != 3 {
		t.Errorf("got version %d, want 3: the fenced writer stored something", a.Commits[0].Version)
	}
}

// A log with a message that does not decode takes no more writes; others go on.
func TestDamageStopsWriting(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	s.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log, last := ended(t, m, "patient")
	if err := log.Append(last, []byte("no block")).Err(); err != nil {
		t.Fatal(err)
	}
	s.start()
	wantCode(t, s.do(crp(jwt, "", "A", "2")), problem.Damaged)
	if report := s.report("patient"); report.OK() {
		t.Error("verify did not find the damage")
	}
	// The test ends with verify: cut the damage's log out of it by replacing the message with a block that is void.
	b := event.Block{Header: event.Header{ID: event.ID16{1}, Previous: event.ID16{9}, Time: 1}}
	if err := m.Tamper("patient", last+1, b.Encode()); err != nil {
		t.Fatal(err)
	}
}

// A block that does not continue the one before is void: it is skipped, and writing goes on behind it.
func TestVoidBlocksAreSkipped(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(100)
	s.must(crp(jwt, "", "A", "1"))
	log, last := ended(t, m, "patient")
	void := event.Block{Header: event.Header{ID: event.ID16{1}, Previous: event.ID16{9}, Epoch: 99, Time: 1}}
	if err := log.Append(last, void.Encode()).Err(); err != nil {
		t.Fatal(err)
	}
	o := s.do(crp(jwt, "again", "A", "2"))
	if o.problem != nil {
		wantCode(t, o, problem.Unavailable)
		waitServing(t, s)
		s.must(crp(jwt, "again", "A", "2"))
	}
	if a := s.must(expect(crp(jwt, "", "A", "3"), "2")); a.Commits[0].Version != 3 {
		t.Errorf("got version %d, want 3", a.Commits[0].Version)
	}
	if n := len(s.report("patient").Void); n != 1 {
		t.Errorf("got %d void stretches, want 1", n)
	}
}

// waitServing sends dry runs until the log takes commands again.
func waitServing(t *testing.T, s *site) {
	t.Helper()
	dry := crp(s.token(1), "", "dry", "1")
	dry.Command.DryRun = true
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		if o := s.do(dry); o.problem == nil {
			return
		}
	}
	t.Fatal("the log did not take commands again")
}

// A newer format is refused by name.
func TestANewerFormatIsRefused(t *testing.T) {
	m := eventlog.NewMemory()
	s := newSite(t, m)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log, last := ended(t, m, "patient")
	if err := log.Append(last, []byte("EVB\x02 from the future")).Err(); err != nil {
		t.Fatal(err)
	}
	w, err := writer.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, event.ErrNewerFormat) {
		t.Errorf("got %v, want %v", err, event.ErrNewerFormat)
	}
	void := event.Block{Header: event.Header{ID: event.ID16{1}, Previous: event.ID16{9}, Time: 1}}
	if err := m.Tamper("patient", last+1, void.Encode()); err != nil {
		t.Fatal(err)
	}
}
