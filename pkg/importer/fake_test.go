package importer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// fakeServer answers out of order and keeps what it stored, as the real one does by command id. It can die at any operation.
type fakeServer struct {
	t       *testing.T
	mu      sync.Mutex // guards what follows
	stored  map[string]*importer.Command
	order   map[event.AggregateID][]uint64 // rows as they were stored
	flying  map[event.AggregateID]bool
	most    int // rows under way at the same time
	ranges  string
	records int
	writes  int                                            // stored and recorded, counted for dieAt
	dieAt   int                                            // the write with which the server dies; 0: never
	lost    bool                                           // that write is stored and its answer lost; else it is not stored
	dead    bool                                           // since then nothing is answered but "unavailable"
	refuse  func(*importer.Command) *problem.Problem       // nil: nothing is refused
	record  func(importer.RowsDone) error                  // nil: recorded
	delay   func(*importer.Command) time.Duration          // nil: random
	onSend  func(c *importer.Command, ctx context.Context) // nil: nothing
}

func newFakeServer(t *testing.T) *fakeServer {
	return &fakeServer{t: t, stored: map[string]*importer.Command{}, order: map[event.AggregateID][]uint64{}, flying: map[event.AggregateID]bool{}}
}

// again is the server after a restart.
func (s *fakeServer) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.dieAt, s.refuse, s.flying = false, 0, nil, map[event.AggregateID]bool{}
}

func (s *fakeServer) Send(ctx context.Context, c *importer.Command, answered func(importer.Answer, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flying[c.Aggregate] {
		s.t.Errorf("row %d of %s was sent while another was under way", c.Row, c.Aggregate)
	}
	s.flying[c.Aggregate] = true
	s.most = max(s.most, len(s.flying))
	delay := time.Duration(rand.N(2000)) * time.Microsecond
	if s.delay != nil {
		delay = s.delay(c)
	}
	if s.onSend != nil {
		s.onSend(c, ctx)
	}
	go func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			answered(s.store(c))
		case <-ctx.Done():
			answered(importer.Answer{}, problem.New(problem.UnknownOutcome, "gave up"))
		}
	}()
}

func (s *fakeServer) store(c *importer.Command) (importer.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, c.Aggregate)
	if s.refuse != nil {
		if p := s.refuse(c); p != nil {
			return importer.Answer{}, p
		}
	}
	if c.DryRun {
		return importer.Answer{}, nil
	}
	if _, twice := s.stored[c.ID]; twice {
		return importer.Answer{Repeated: true}, nil
	}
	if err := s.die(func() {
		s.stored[c.ID] = c
		s.order[c.Aggregate] = append(s.order[c.Aggregate], c.Row)
	}); err != nil {
		return importer.Answer{}, err
	}
	return importer.Answer{}, nil
}

// die does a write, unless the server is dead or dies of it.
func (s *fakeServer) die(write func()) error {
	if s.dead {
		return problem.New(problem.Unavailable, "the server is dead")
	}
	s.writes++
	if s.writes != s.dieAt {
		write()
		return nil
	}
	if s.dead = true; s.lost {
		write()
	}
	return problem.New(problem.UnknownOutcome, "the server died")
}

func (s *fakeServer) RecordRows(_ context.Context, done importer.RowsDone) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record != nil {
		if err := s.record(done); err != nil {
			return err
		}
	}
	return s.die(func() { s.ranges, s.records = done.Ranges, s.records+1 })
}

func (s *fakeServer) RowsDone(_ context.Context, file, aggregate string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(file) != 64 || aggregate != "patient" {
		return "", fmt.Errorf("asked for file %q and type %q", file, aggregate)
	}
	return s.ranges, nil
}

// checkOrder holds that every aggregate's rows were stored in file order.
func (s *fakeServer) checkOrder() {
	s.t.Helper()
	for a, rows := range s.order {
		for i := 1; i < len(rows); i++ {
			if rows[i] <= rows[i-1] {
				s.t.Errorf("rows of %s: stored as %v, want file order", a, rows)
				break
			}
		}
	}
}
