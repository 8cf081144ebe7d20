package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// marks writes one event to each of n aggregates in transactions of 100, and gives the hash of the first event.
func (s *site) marks(c *client.Client, n int, text string) (hash string) {
	s.t.Helper()
	for from := 0; from < n; from += 100 {
		var tx client.Transaction
		for i := from; i < from+100; i++ {
			about := event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}
			tx.Commits = append(tx.Commits, client.Commit{Aggregate: about, Events: []client.Event{{Type: "note", Fields: client.Fields{"text": text}}}})
		}
		a, err := c.Transact(context.Background(), tx)
		if err != nil {
			s.t.Fatal(err)
		}
		if from == 0 {
			hash = a.Commits[0].Hashes[0]
		}
	}
	return hash
}

// TestRollbackUnderKills kills the server at any moment of a rollback: started again it goes on by itself, everything is brought back once, and each record stands once.
func TestRollbackUnderKills(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds = 30
	}
	const aggregates = 1500
	random := rand.New(rand.NewPCG(disktest.Seed(t), 9))
	s := newSite(t)
	s.marks(s.client(), aggregates, "good")
	for round := range rounds {
		hash := s.marks(s.client(), aggregates, fmt.Sprint("bad ", round))
		job := s.background("data:rollback", "--type=patient", "--before="+hash)
		pause := time.NewTimer(time.Duration(random.IntN(150)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-job.done:
		}
		was := s.kill()
		job.kill()
		s.again(was)
		if strings.Count(s.must("audit:list", "-o", "json", "EVENTFUL_TOKEN="), `"rollback-asked"`) == round { // it had not come that far
			s.must("data:rollback", "--type=patient", "--before="+hash)
		}
		until(t, "the rollback is done", func() bool {
			return strings.Count(s.must("audit:list", "-o", "json", "EVENTFUL_TOKEN="), `"rollback-done"`) == round+1
		})
		s.broughtBack(aggregates, event.Version(1+2*(round+1)))
	}
	for _, record := range []string{"rollback-asked", "rollback-done"} {
		if n := strings.Count(s.must("audit:list", "-o", "json", "EVENTFUL_TOKEN="), `"`+record+`"`); n != rounds {
			t.Errorf("got %d records %s, want %d", n, record, rounds)
		}
	}
}

// broughtBack holds that every aggregate has its first text again, at a version.
func (s *site) broughtBack(n int, version event.Version) {
	s.t.Helper()
	c := s.client()
	for i := range n {
		state, err := c.Get(context.Background(), event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}, client.Latest())
		if err != nil {
			s.t.Fatal(err)
		}
		if state.Fields["text"] != "good" || state.Version != version || state.RolledBack == "" {
			s.t.Fatalf("patient/%d: got %+v, want what was good, at version %d", i, state, version)
		}
	}
}
