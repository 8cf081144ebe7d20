package writer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// readers is a store that counts the single reads of one log, and can hold them up.
type readers struct {
	eventlog.Store
	log string

	mu     sync.Mutex // guards what follows
	shut   chan struct{}
	fail   error
	now    int
	most   int // reads at once
	counts map[uint64]int
}

func (r *readers) Create(ctx context.Context, name string) (eventlog.Log, error) {
	log, err := r.Store.Create(ctx, name)
	if err != nil || name != r.log {
		return log, err
	}
	return counted{log, r}, nil
}

// hold forgets what was counted and holds reads up until the function that it gives is called: with an error they fail then.
func (r *readers) hold() (release func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shut := make(chan struct{})
	r.shut, r.fail, r.most, r.counts = shut, nil, 0, make(map[uint64]int)
	return func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.shut, r.fail = nil, err
		close(shut)
	}
}

// read is how many reads there were since hold, of how many blocks, and how many at once at most.
func (r *readers) read() (reads, blocks, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.counts {
		reads += n
	}
	return reads, len(r.counts), r.most
}

type counted struct {
	eventlog.Log
	readers *readers
}

func (c counted) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	if err := c.readers.enter(ctx, sequence); err != nil {
		return eventlog.Message{}, err
	}
	return c.Log.Get(ctx, sequence)
}

func (r *readers) enter(ctx context.Context, sequence uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		return nil
	}
	r.counts[sequence]++
	r.now++
	r.most = max(r.most, r.now)
	defer func() { r.now-- }()
	if shut := r.shut; shut != nil {
		r.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
		}
		r.mu.Lock()
	}
	return r.fail
}

// waves sends 20 times 30 commands, each wave behind the answers of the one before, so they lie in 20 blocks or more.
func waves(s *site, jwt string) (first []*writer.Answer) {
	for wave := range 20 {
		var out []<-chan outcome
		for i := range 30 {
			out = append(out, s.send(numbered(jwt, 30*wave+i)))
		}
		for _, one := range out {
			first = append(first, s.wait(one).answer)
		}
	}
	return first
}

func numbered(jwt string, n int) writer.Request {
	return crp(jwt, fmt.Sprintf("row-%d", n), fmt.Sprintf("P%d", n%30), fmt.Sprint(n))
}

// repeatAll sends all commands again; when it returns the engine has taken them in hand.
func repeatAll(s *site, jwt string, n int) (out []<-chan outcome) {
	for i := range n {
		out = append(out, s.send(numbered(jwt, i)))
	}
	s.must(crp(jwt, "", "behind", "1"))
	return out
}

// An import that goes on behind a crash repeats thousands of commands at once. Their blocks are read once each and few at a time, however many commands lie in them;
// and while the log cannot be read, no command waits for the time-outs of the others.
func TestRepeatsAtOnceReadEachBlockOnce(t *testing.T) {
	r := &readers{Store: eventlog.NewMemory(), log: "patient"}
	s := newSite(t, r)
	jwt := s.token(1000)
	first := waves(s, jwt)
	s.restart()

	release := r.hold()
	out := repeatAll(s, jwt, len(first))
	release(eventlog.ErrUnavailable)
	for _, one := range out {
		wantCode(t, s.wait(one), problem.Unavailable)
	}
	if reads, _, _ := r.read(); reads > 2*writer.RepeatReaders {
		t.Errorf("a log that cannot be read was read %d times for %d commands", reads, len(first))
	}

	release = r.hold()
	out = repeatAll(s, jwt, len(first))
	release(nil)
	for i, one := range out {
		o := s.wait(one)
		if o.problem != nil || !o.answer.Repeated || o.answer.Commits[0].Position != first[i].Commits[0].Position {
			t.Fatalf("command %d: got %+v, %v, want the first answer %+v", i, o.answer, o.problem, first[i])
		}
	}
	reads, blocks, most := r.read()
	if reads != blocks || blocks < 20 || most > writer.RepeatReaders {
		t.Errorf("%d commands were answered with %d reads of %d blocks, %d at once; want one read of each, %d at once", len(first), reads, blocks, most, writer.RepeatReaders)
	}
}

// Many conflicts at once read few blocks at once, and each is told what came in between.
func TestConflictsAtOnceReadFewBlocks(t *testing.T) {
	const conflicts = 200
	r := &readers{Store: eventlog.NewMemory(), log: "patient"}
	s := newSite(t, r)
	jwt := s.token(1000)
	s.must(crp(jwt, "", "A", "1"))
	s.must(crp(jwt, "", "A", "2"))
	release := r.hold()
	var out []<-chan outcome
	for range conflicts {
		out = append(out, s.send(expect(crp(jwt, "", "A", "9"), "1")))
	}
	s.must(crp(jwt, "", "B", "1")) // the engine has taken them in hand
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		if _, _, most := r.read(); most >= writer.MaxTellers {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the conflicts do not read the log")
		}
	}
	release(nil)
	for _, one := range out {
		o := s.wait(one)
		wantCode(t, o, problem.Conflict)
		if len(o.problem.Between) != 1 {
			t.Fatalf("got %+v, want what came in between", o.problem)
		}
	}
	if _, _, most := r.read(); most > writer.MaxTellers {
		t.Errorf("%d conflicts led to %d reads at once, want %d", conflicts, most, writer.MaxTellers)
	}
}

// The conflicts of one transaction read each block once, or a large transaction would be answered later than its sender waits.
func TestConflictsOfATransactionReadEachBlockOnce(t *testing.T) {
	r := &readers{Store: eventlog.NewMemory(), log: "patient"}
	s := newSite(t, r)
	jwt := s.token(1000)
	var changes []aggregate.Change
	for i := range 50 {
		changes = append(changes, aggregate.Change{
			Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprint("p", i)}, Events: []aggregate.NewEvent{{Type: "crp"}},
		})
	}
	for range 3 {
		s.must(change(jwt, "", changes...))
	}
	r.hold()(nil)
	stale := slices.Clone(changes)
	for i := range stale {
		stale[i].Expected = aggregate.Exactly(1)
	}
	o := s.do(change(jwt, "", stale...))
	wantCode(t, o, problem.Conflict)
	for _, p := range o.problem.Problems {
		if len(p.Between) != 2 || p.Between[0].Version != 2 || p.Between[1].Version != 3 {
			t.Fatalf("got %+v, want versions 2 and 3 in between", p)
		}
	}
	if reads, blocks, _ := r.read(); len(o.problem.Problems) != len(changes) || reads != blocks || blocks != 2 {
		t.Errorf("%d conflicts were told with %d reads of %d blocks, want %d with one read of each of 2", len(o.problem.Problems), reads, blocks, len(changes))
	}
}
