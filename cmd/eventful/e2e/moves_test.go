package e2e_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/token"
)

// TestLogsMoveBetweenWriters: the log and the system log go to and fro between two writers, and each of these is killed once, while clients write that expect exact versions, letters go into the inbox, and staged
// commits are under way. No command fails, every letter is stored once, and of every staged commit all or nothing was stored, once.
func TestLogsMoveBetweenWriters(t *testing.T) {
	t.Parallel()
	rounds, kills := 2, 1
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		rounds, kills = 20, 6
	}
	w := newWriters(t, 2, "patient")
	until(t, "both follow", func() bool { return w.sharing().followed(2, 2) })
	x := w.traffic(8, "patient")
	letters := w.letters()
	staged := w.stagers(3)
	x.flows(100, "patient")
	for range kills {
		for range rounds {
			w.must("writer:resign", "patient", "--account="+w.account)
			w.must("writer:resign", event.Reserved, "--account="+w.account)
			x.flows(100, "patient")
		}
		victim := w.leader(event.Reserved)
		victim.kill()
		x.flows(20, "patient")
		victim.start()
		until(t, "both follow again", func() bool { return w.sharing().followed(2, 2) })
	}
	sent, committed := letters(), staged()
	x.end(w.client())
	c := w.client()
	w.inboxIsEmpty(c)
	if refused := w.refusedCommands(c); len(refused) > 0 {
		t.Errorf("got %d letters refused, the first %+v, want none", len(refused), refused[0])
	}
	for id, want := range committed {
		sent[id] = want
	}
	for id, want := range sent {
		state, err := c.Get(context.Background(), event.AggregateID{Type: "patient", ID: id}, client.Latest())
		if err != nil || state.Version != want {
			t.Errorf("%s: got version %d, %v, want %d", id, state.Version, err, want)
		}
	}
	w.verify()
	t.Logf("%d commands were answered, %d aggregates got letters or staged commits", x.count("patient"), len(sent))
}

// letters puts commands into the inbox until the function that it gives is called, which tells the version of each of their aggregates.
func (w *writers) letters() (end func() map[string]event.Version) {
	w.t.Helper()
	var stop atomic.Bool
	var wait sync.WaitGroup
	versions := make(map[string]event.Version)
	c := w.client()
	wait.Go(func() {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for n := 0; !stop.Load(); n++ {
			id := fmt.Sprint("letters-", n%50)
			letter := client.Command{Aggregate: event.AggregateID{Type: "patient", ID: id}, Event: "note", Expected: client.Exactly(versions[id]),
				Fields: client.Fields{"text": fmt.Sprint(n)}, Context: client.Context{CommandID: fmt.Sprint("letter-", n)}}
			if _, err := c.Enqueue(context.Background(), letter); err != nil {
				w.t.Errorf("letter %d: %v", n, err)
				return
			}
			versions[id]++
			<-pace.C
		}
	})
	return func() map[string]event.Version { stop.Store(true); wait.Wait(); return versions }
}

// stagers stage a transaction over two aggregates and commit it, again and again, each as an actor of its own. A commit without an answer is run again.
func (w *writers) stagers(n int) (end func() map[string]event.Version) {
	w.t.Helper()
	var stop atomic.Bool
	var wait sync.WaitGroup
	var mu sync.Mutex // guards versions
	versions := make(map[string]event.Version)
	for i := range n {
		c := w.clientOf(w.mint(token.Claims{IdentifierType: "user", IdentifierID: fmt.Sprint("stager-", i), Limit: 1 << 20}))
		wait.Go(func() {
			for round := 0; !stop.Load(); round++ {
				ids := []string{fmt.Sprint("staged-", i, "-a"), fmt.Sprint("staged-", i, "-b")}
				if err := stageAndCommit(c, ids, event.Version(round)); err != nil {
					w.t.Errorf("stager %d, round %d: %v", i, round, err)
					return
				}
				mu.Lock()
				for _, id := range ids {
					versions[id] = event.Version(round + 1)
				}
				mu.Unlock()
			}
		})
	}
	return func() map[string]event.Version { stop.Store(true); wait.Wait(); return versions }
}

// stageAndCommit adds one event to each aggregate, which must be at the version.
func stageAndCommit(c *client.Client, ids []string, at event.Version) error {
	var commits []client.Commit
	for _, id := range ids {
		commits = append(commits, client.Commit{Aggregate: event.AggregateID{Type: "patient", ID: id}, Expected: client.Exactly(at),
			Events: []client.Event{{Type: "note", Fields: client.Fields{"text": fmt.Sprint(at)}}}})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Apply(ctx, client.Transaction{Commits: commits, Context: client.Context{CommandID: fmt.Sprint("stage-", ids[0], "-", at)}}); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if _, err := c.Commit(ctx, client.Context{CommandID: fmt.Sprint("commit-", ids[0], "-", at)}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
