package projector_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func named(e projector.NamedEvent) string { return fmt.Sprintf("%s/%s@%d", e.Type, e.ID, e.Version) }

// TestFollow: who follows two logs while they are written, through restarts of the projector, gets each event once, those of a log in their order.
func TestFollow(t *testing.T) {
	t.Run("all", func(t *testing.T) { follow(t, nil) })
	t.Run("single aggregates", func(t *testing.T) { follow(t, []event.AggregateID{of("A"), {Type: "ward", ID: "W"}, of("B")}) })
}

func follow(t *testing.T, only []event.AggregateID) {
	h := newHarness(t)
	h.verifyAtEnd()
	const perLog = 600
	a, b := h.log(patient), h.log("ward")
	wards := func(n int) verifytest.Commit {
		return verifytest.Commit{Aggregate: event.AggregateID{Type: "ward", ID: "W"}, Events: []verifytest.Event{{Type: "note", Fields: []event.Field{text("n", fmt.Sprint(n))}}}}
	}
	var writers sync.WaitGroup
	write := func(n int) {
		writers.Go(func() {
			for range n {
				a.Block(one("A", "crp"), one("B", "crp"))
			}
		})
		writers.Go(func() {
			for i := range n {
				b.Block(wards(i), wards(i))
			}
		})
	}
	next := map[string]uint64{}
	cursor, got := "", 0
	for round := range 3 {
		p := h.start()
		<-p.Ready()
		ctx := h.current()
		write(perLog / 6)
		for wanted := (round + 1) * 4 * perLog / 6; got < wanted; {
			page, err := p.Follow(ctx, projector.EventsWanted{Cursor: cursor, Take: 7, Only: only}, false, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				of := e.Type + "/" + e.ID
				if next[of]++; e.Version != next[of] {
					t.Fatalf("got version %d of %s, want %d", e.Version, of, next[of])
				}
			}
			got += len(page.Events)
			if cursor = page.Cursor; cursor == "" {
				t.Fatal("following has no cursor")
			}
		}
		writers.Wait()
		if page, err := p.Follow(ctx, projector.EventsWanted{Cursor: cursor, Only: only}, false, 0); err != nil || len(page.Events) != 0 {
			t.Errorf("got %d events, %v, want no more", len(page.Events), err)
		}
		h.stop()
	}
}

// TestFollowFromNow begins behind what is there, and waits for what comes.
func TestFollowFromNow(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(patient)
	b.Block(one("A", "crp"))
	p := h.start()
	ctx := h.current()
	began, err := p.Follow(ctx, projector.EventsWanted{}, true, time.Minute)
	if err != nil || len(began.Events) != 0 || began.Cursor == "" {
		t.Fatalf("got %+v, %v, want no event and a cursor", began, err)
	}
	got := make(chan projector.Events, 1)
	go func() {
		page, err := p.Follow(ctx, projector.EventsWanted{Cursor: began.Cursor}, false, 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		got <- page
	}()
	b.Block(one("A", "crp"))
	if page := <-got; len(page.Events) != 1 || page.Events[0].Version != 2 {
		t.Errorf("got %+v, want version 2 alone", page.Events)
	}
}

// TestFollowALogThatLostItsEnd is told, and not given other events as if they were the next ones.
func TestFollowALogThatLostItsEnd(t *testing.T) {
	h := newHarness(t)
	b := h.log(patient)
	for range 5 {
		b.Block(one("A", "crp"))
	}
	p := h.start()
	ctx := h.current()
	page, err := p.Follow(ctx, projector.EventsWanted{}, false, 0)
	if err != nil || len(page.Events) != 5 {
		t.Fatalf("got %d events, %v, want 5", len(page.Events), err)
	}
	h.stop()
	messages := verifytest.Messages(t, h.raw[patient])
	h.store, h.logs, h.raw = eventlog.NewMemory(), map[string]*verifytest.Builder{}, map[string]eventlog.Log{}
	h.from = h.store
	other := h.log(patient)
	other.Resume(messages[:3])
	for range 4 {
		other.Block(one("A", "crp"))
	}
	p = h.start()
	ctx = h.current()
	if page, err := p.Follow(ctx, projector.EventsWanted{Cursor: page.Cursor}, false, 0); !errors.Is(err, &problem.Problem{Code: problem.Conflict}) {
		t.Errorf("got %+v, %v, want conflict", page, err)
	}
}

// TestCursors: those of another query, of another key, and changed ones are refused.
func TestCursors(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	fill(h.log(patient), 300, 100)
	p := h.start()
	ctx := h.current()
	types := []string{patient}
	list, err := p.List(ctx, projector.Wanted{Types: types, Filter: `a = nil`, Take: 2})
	if err != nil || list.Cursor == "" {
		t.Fatalf("got %+v, %v, want a page with a cursor", list, err)
	}
	events, err := p.Events(ctx, projector.EventsWanted{Types: types, Take: 2})
	if err != nil || events.Cursor == "" {
		t.Fatalf("got %+v, %v, want a page with a cursor", events, err)
	}
	changed := []byte(list.Cursor)
	changed[len(changed)/2] ^= 1
	for name, want := range map[string]projector.Wanted{
		"another filter": {Types: types, Filter: `a != nil`, Cursor: list.Cursor}, "an order": {Types: types, Filter: `a = nil`, Order: "a", Cursor: list.Cursor},
		"no filter": {Types: types, Cursor: list.Cursor}, "all types": {Cursor: list.Cursor}, "changed": {Types: types, Filter: `a = nil`, Cursor: string(changed)},
		"cut": {Types: types, Filter: `a = nil`, Cursor: list.Cursor[:20]}, "of events": {Types: types, Filter: `a = nil`, Cursor: events.Cursor}, "long": {Types: types, Cursor: strings.Repeat("A", 1<<20)},
	} {
		if _, err := p.List(ctx, want); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("%s: got %v, want malformed", name, err)
		}
	}
	for name, want := range map[string]projector.EventsWanted{"another actor": {Types: types, Actor: "x", Cursor: events.Cursor}, "of a list": {Types: types, Cursor: list.Cursor}, "another event": {Types: types, Event: "crp", Cursor: events.Cursor}} {
		if _, err := p.Events(ctx, want); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("events, %s: got %v, want malformed", name, err)
		}
	}
	if _, err := p.Follow(ctx, projector.EventsWanted{Types: types, Cursor: events.Cursor}, false, 0); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
		t.Errorf("following with the cursor of a list: got %v, want malformed", err)
	}
}

// TestListsWhileWriting: who goes through a list page by page gets each aggregate that is there all the while once, however many are written meanwhile.
func TestListsWhileWriting(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(patient)
	fill(b, 3000, 300)
	p := h.start()
	ctx := h.current()
	seen := map[string]int{}
	for cursor, n := "", 0; ; n++ {
		page, err := p.List(ctx, projector.Wanted{Types: []string{patient}, Take: 7, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Aggregates {
			seen[a.ID]++
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
		at := b.Block(one(fmt.Sprintf("A%04d", n), "crp"), one(fmt.Sprintf("P%06dx", n*6), "crp"), one(fmt.Sprintf("P%06d", n), "crp"))
		if err := p.WaitFor(ctx, at[0]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		if id := fmt.Sprintf("P%06d", i); seen[id] != 1 {
			t.Errorf("%s was listed %d times, want once", id, seen[id])
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was listed %d times", id, n)
		}
	}
}

// flat gives the events of a tree, with how deep they lie.
func flat(n *projector.Traced, depth int) (out []string) {
	for _, e := range n.Events {
		out = append(out, fmt.Sprintf("%d %s", depth, e.ID))
	}
	for _, c := range n.Caused {
		out = append(out, flat(c, depth+1)...)
	}
	return out
}

// TestTrace: trees by command id and by hash, over logs; causes that are missing, that go round, that nobody may see, and too many.
func TestTrace(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	a := h.log(patient)
	caused := func(id, command, by string) verifytest.Commit {
		c := one(id, "crp")
		c.Command, c.Causation = command, by
		return c
	}
	a.Block(caused("root", "c1", ""))
	a.Block(caused("left", "c2", "c1"), caused("right", "c3", "c1"))
	a.Block(caused("leaf", "c4", "c3"), caused("orphan", "c5", "nobody"))
	a.Block(caused("round", "c6", "c7"))
	a.Block(caused("and", "c7", "c6"))
	p := h.start()
	ctx := h.current()
	hash := func(id string) string {
		page, err := p.History(ctx, of(id), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		return page.Events[0].Hash
	}
	elsewhere := verifytest.Commit{Aggregate: event.AggregateID{Type: "ward", ID: "far"}, Events: []verifytest.Event{{Type: "note"}}, Causation: hash("leaf")}
	h.log("ward").Block(elsewhere)
	ctx = h.current()
	whole := []string{"0 root", "1 left", "1 right", "2 leaf", "3 far"}
	for _, id := range []string{"root", "left", "leaf"} {
		got, err := p.Trace(ctx, hash(id), nil)
		if err != nil || !slices.Equal(flat(got.Root, 0), whole) || got.Truncated || got.Hash != hash(id) {
			t.Errorf("%s: got %v, %v, want %v", id, flat(got.Root, 0), err, whole)
		}
	}
	if got, err := p.Trace(ctx, hash("orphan")[:16], nil); err != nil || !got.Root.Missing || got.Root.Cause != "nobody" {
		t.Errorf("orphan: got %+v, %v, want a missing cause", got.Root, err)
	}
	if got, err := p.Trace(ctx, hash("round"), nil); err != nil || !got.Root.Cycle || len(flat(got.Root, 0)) != 2 {
		t.Errorf("a cycle: got %+v, %v, want it named", got.Root, err)
	}
	few := func(a event.AggregateID) bool { return a.ID != "right" && a.ID != "root" }
	if got, err := p.Trace(ctx, hash("leaf"), few); err != nil || !got.Root.Missing || !slices.Equal(flat(got.Root, 0), []string{"0 leaf", "1 far"}) {
		t.Errorf("without rights: got %v, %v, want what lies below alone", flat(got.Root, 0), err)
	}
	if _, err := p.Trace(ctx, hash("right"), few); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("of what may not be read: got %v, want not found", err)
	}
	for range 30 {
		var commits []verifytest.Commit
		for range 50 {
			commits = append(commits, caused("many", "", "c2"))
		}
		a.Block(commits...)
	}
	ctx = h.current()
	if got, err := p.Trace(ctx, hash("root"), nil); err != nil || !got.Truncated {
		t.Errorf("a tree of 1500: got %d events, %v, want it cut", len(flat(got.Root, 0)), err)
	}
}

// TestEventsOfSome: who may read one aggregate gets its events and no others, by whatever way he asks.
func TestEventsOfSome(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	fill(h.log(patient), 1000, 50)
	p := h.start()
	ctx := h.current()
	may := func(a event.AggregateID) bool { return a == of("P000007") }
	check := func(what string, page projector.Events, err error) {
		t.Helper()
		if err != nil || len(page.Events) != 20 {
			t.Errorf("%s: got %d events, %v, want 20", what, len(page.Events), err)
		}
		for _, e := range page.Events {
			if e.ID != "P000007" {
				t.Errorf("%s: got %s", what, named(e))
			}
		}
	}
	all, err := p.Events(ctx, projector.EventsWanted{May: may})
	check("events", all, err)
	all, err = p.Events(ctx, projector.EventsWanted{May: may, Actor: "user:test", Event: "crp", Correlation: "correlation"})
	check("events of an actor", all, err)
	all, err = p.Follow(ctx, projector.EventsWanted{May: may}, false, 0)
	check("following", all, err)
	all, err = p.Follow(ctx, projector.EventsWanted{May: may, Only: []event.AggregateID{of("P000007"), of("nobody")}}, false, 0)
	check("following what is known", all, err)
	list, err := p.List(ctx, projector.Wanted{Types: []string{patient}, Only: []event.AggregateID{of("P000007"), of("nobody")}, Filter: `a = nil`, Order: "-n"})
	if err != nil || len(list.Aggregates) != 1 || list.Aggregates[0].ID != "P000007" || list.Cursor != "" {
		t.Errorf("list: got %+v, %v, want the one", list, err)
	}
	page, err := p.History(ctx, of("P000008"), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.EventByHash(ctx, page.Events[0].Hash, may); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("event of another: got %v, want not found", err)
	}
}
