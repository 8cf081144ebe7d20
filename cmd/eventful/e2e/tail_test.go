package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// TestTailUnderKills: who follows events while the server is killed under load gets each one once, those of an aggregate in their order, and all that the log holds.
func TestTailUnderKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	follower, reader := s.client(), s.client()
	got := make(chan client.Tailed, 1<<16)
	ended := make(chan error, 1)
	go func() {
		var failure error
		for e, err := range follower.Tail(ctx, client.EventsWanted{Type: "ward"}, "", false) {
			if failure = err; err == nil {
				got <- e
			}
		}
		ended <- failure
	}()
	for round := range 2 {
		load := s.write(round)
		until(t, "commands are answered", func() bool { return load.answered() > 100 })
		was := s.kill()
		s.again(was)
		until(t, "commands are answered again", func() bool { return load.answered() > 200 })
		load.stop()
		for _, cmd := range load.sent { // what was under way is decided before the log is counted
			if load.acked[cmd.CommandID] != nil {
				continue
			}
			if _, err := send(ctx, reader, cmd); err != nil {
				t.Fatal(err)
			}
		}
	}
	newest := map[string]event.Version{}
	for a, err := range reader.List(ctx, "ward", client.Latest()) {
		if err != nil {
			t.Fatal(err)
		}
		newest[a.ID] = a.Version
	}
	total := 0
	for _, v := range newest {
		total += int(v)
	}
	seen := map[string]event.Version{}
	for range total {
		select {
		case e := <-got:
			if seen[e.ID]++; e.Version != seen[e.ID] {
				t.Fatalf("got version %d of %s, want %d", e.Version, e.ID, seen[e.ID])
			}
		case err := <-ended:
			t.Fatalf("following ended: %v", err)
		case <-time.After(patience):
			t.Fatalf("got %v, want %v", seen, newest)
		}
	}
	for id, v := range newest {
		if seen[id] != v {
			t.Errorf("%s: got %d events, want %d", id, seen[id], v)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(got) > 0 {
		t.Errorf("%d events more than the log holds", len(got))
	}
}
