package writer_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/linear"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Concurrent commands on few aggregates, while appends fail in every way: what the senders were told has an order.
func TestConcurrentCommandsHaveAnOrder(t *testing.T) {
	rounds := 5
	if torture() {
		rounds = 100
	}
	base := seed(t)
	for round := range rounds {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) { concurrentCommands(t, base+uint64(round)) })
	}
}

func concurrentCommands(t *testing.T, seed uint64) {
	const senders, each = 8, 50
	m := eventlog.NewMemory()
	s := newSite(t, m)
	jwt := s.token(1 << 40)
	s.must(crp(jwt, "", "warm", "1"))
	failing := rand.New(rand.NewPCG(seed, 0)) // used under the store's mutex
	m.SetFault(func(log string, _ uint64, _ []byte) eventlog.Fault {
		if log != "patient" || failing.IntN(10) > 0 {
			return eventlog.None
		}
		return []eventlog.Fault{eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay}[failing.IntN(4)]
	})
	h := linear.New()
	var group sync.WaitGroup
	var done atomic.Int64
	for i := range senders {
		group.Go(func() {
			sender := &sender{site: s, history: h, client: i, jwt: jwt, random: rand.New(rand.NewPCG(seed, uint64(i+1))), known: map[string]uint64{}}
			for range each {
				sender.step()
				if done.Add(1)%16 == 0 {
					m.Release("patient")
				}
			}
		})
	}
	group.Wait()
	m.SetFault(nil)
	m.Release("patient")
	waitServing(t, s)
	s.final(h)
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

// final notes what the log holds of each aggregate.
func (s *site) final(h *linear.History) {
	held := map[string][]string{}
	for _, c := range s.commits("patient") {
		for range c.Events {
			held[c.Aggregate.ID] = append(held[c.Aggregate.ID], c.CommandID)
		}
	}
	for _, id := range contended {
		h.Final(id, held[id])
	}
}

// contended are the aggregates that all senders write.
var contended = []string{"A", "B", "C"}

// sender sends one command after the other and notes what it is told.
type sender struct {
	*site
	history *linear.History
	client  int
	jwt     string
	random  *rand.Rand
	known   map[string]uint64 // the newest version it knows of each aggregate
	n       int
}

// step reads, repeats, or sends a new command until it is decided.
func (s *sender) step() {
	id := contended[s.random.IntN(len(contended))]
	if s.random.IntN(8) == 0 {
		s.read(id)
		return
	}
	s.n++
	expected := int64(linear.Any)
	if s.random.IntN(3) == 0 {
		expected = int64(s.known[id])
	}
	command := fmt.Sprintf("s%d-%d", s.client, s.n)
	for times := 1 + s.random.IntN(2); times > 0; {
		if s.command(id, command, expected).Kind == linear.Refused {
			s.serving()
			continue
		}
		times--
	}
}

// serving waits until the log takes commands.
func (s *sender) serving() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		for _, l := range s.w.Status() {
			if l.Log == "patient" && l.Serving {
				return
			}
		}
	}
	s.t.Error("the log was not served again")
}

func (s *sender) command(id, command string, expected int64) linear.Outcome {
	r := crp(s.jwt, command, id, "1")
	if expected != linear.Any {
		r = expect(r, strconv.FormatInt(expected, 10))
	}
	ended := s.history.Command(s.client, id, command, expected)
	o := <-s.send(r)
	told := s.outcomeOf(o)
	ended(told)
	if told.Kind == linear.Stored || told.Kind == linear.Conflict {
		s.known[id] = told.Version
	}
	return told
}

func (s *sender) outcomeOf(o outcome) linear.Outcome {
	switch {
	case o.problem == nil:
		return linear.Outcome{Kind: linear.Stored, Version: uint64(o.answer.Commits[0].Version), Repeated: o.answer.Repeated}
	case o.problem.Code == problem.Conflict:
		actual, err := strconv.ParseUint(o.problem.Actual, 10, 64)
		if err != nil {
			s.t.Error(err)
		}
		return linear.Outcome{Kind: linear.Conflict, Version: actual}
	case o.problem.Code != problem.Unavailable:
		s.t.Errorf("got %v, want stored, a conflict, or unavailable", o.problem)
	}
	return linear.Outcome{Kind: linear.Refused}
}

// read asks a dry run for the version that it would write.
func (s *sender) read(id string) {
	dry := crp(s.jwt, "dry", id, "1")
	dry.Command.DryRun = true
	for {
		ended := s.history.Read(s.client, id)
		if o := <-s.send(dry); o.problem == nil {
			ended(uint64(o.answer.Commits[0].FirstVersion-1), "")
			return
		}
		s.serving()
	}
}
