package projector_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// model is what an index must say, as plain maps.
type model struct {
	states map[string][]modelState // by id, of each version
	events []modelEvent            // in the order of the log

	archived map[string]string // comments by id
}

type modelState struct {
	fields  map[string]string
	deleted bool
	time    time.Time
}

type modelEvent struct {
	id, event, actor string
	version          int
	time             time.Time
}

const modelDefinition = `{"aggregate":"patient","log":"patient","events":{"set":{"fields":["a","b","n"]},"end":{"deletes":true,"fields":["a"]}},"fields":{"n":{"type":"integer"}}}`

// random makes an event of one aggregate, and says what it comes to.
func (m *model) random(r *rand.Rand, id string) verifytest.Event {
	e := verifytest.Event{Type: "set", SchemaDigest: schema.Digest([]byte(modelDefinition)), SchemaVersion: 1}
	if r.IntN(8) == 0 {
		e.Type = "end"
	}
	next := modelState{fields: map[string]string{}, deleted: e.Type == "end"}
	if versions := m.states[id]; len(versions) > 0 && !versions[len(versions)-1].deleted {
		next.fields = maps.Clone(versions[len(versions)-1].fields)
	}
	for _, name := range []string{"a", "b", "n"} {
		switch r.IntN(6) {
		case 0:
			e.Fields = append(e.Fields, event.Field{Name: name})
			delete(next.fields, name)
		case 1, 2:
			value := strconv.Itoa(r.IntN(5))
			if name == "b" && r.IntN(3) == 0 {
				value = fmt.Sprintf("%0200d", r.IntN(3)) // longer than a state keeps
			}
			e.Fields = append(e.Fields, text(name, value))
			next.fields[name] = value
		}
	}
	m.states[id] = append(m.states[id], next)
	return e
}

// block appends a block of random commits.
func (m *model) block(r *rand.Rand, b *verifytest.Builder, ids int) {
	var commits []verifytest.Commit
	seen := map[string]bool{}
	var told []modelEvent
	for range 1 + r.IntN(6) {
		id := fmt.Sprintf("P%02d", r.IntN(ids))
		if _, locked := m.archived[id]; seen[id] || locked {
			continue
		}
		seen[id] = true
		c := verifytest.Commit{Aggregate: of(id), Actor: fmt.Sprintf("user:%d", r.IntN(3))}
		for range 1 + r.IntN(3) {
			c.Events = append(c.Events, m.random(r, id))
			told = append(told, modelEvent{id: id, event: c.Events[len(c.Events)-1].Type, actor: c.Actor, version: len(m.states[id])})
		}
		commits = append(commits, c)
	}
	if len(commits) == 0 {
		return
	}
	at := b.Block(commits...)
	stored := time.Unix(0, int64(verifytest.Start)).Add(time.Duration(at[0].Sequence) * time.Second).UTC()
	for _, e := range told {
		e.time = stored
		m.states[e.id][e.version-1].time = stored
		m.events = append(m.events, e)
	}
}

// TestTheIndexIsAPlainMap: random events against maps, through flushes, restarts and a rebuild: states at every version and time, filtered and sorted lists with their pages, events by what they name.
func TestTheIndexIsAPlainMap(t *testing.T) {
	r := rand.New(rand.NewPCG(disktest.SteadySeed(t, 20261122), 6))
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	b := h.log(patient)
	m := &model{states: map[string][]modelState{}}
	for round := range 8 {
		p := h.start()
		for range 30 {
			m.block(r, b, 25)
		}
		ctx := h.current()
		m.checkStates(t, ctx, p)
		m.checkLists(t, ctx, p)
		m.checkEvents(t, ctx, p)
		h.stop() // which flushes
		if round == 4 {
			if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
				t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
			}
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func (m *model) checkStates(t *testing.T, ctx context.Context, p *projector.Projector) {
	for id, versions := range m.states {
		for i, want := range versions {
			got, err := p.Get(ctx, of(id), projector.When{Version: event.Version(i + 1)})
			if err != nil || !maps.Equal(got.Fields, want.fields) || got.Deleted != want.deleted {
				t.Errorf("%s at %d: got %v, deleted %v, %v, want %v, %v", id, i+1, got.Fields, got.Deleted, err, want.fields, want.deleted)
			}
			last := i
			for last+1 < len(versions) && !versions[last+1].time.After(want.time) {
				last++
			}
			if got, err := p.Get(ctx, of(id), projector.When{At: want.time}); err != nil || got.Version != uint64(last+1) {
				t.Errorf("%s at %s: got version %d, %v, want %d", id, want.time, got.Version, err, last+1)
			}
		}
		replayed, err := p.Replay(ctx, of(id), 1, 1000)
		if err != nil || len(replayed.Steps) != len(versions) || replayed.Agrees == nil || !*replayed.Agrees {
			t.Errorf("replay of %s: got %d steps, %v, want %d that agree", id, len(replayed.Steps), err, len(versions))
		}
		for i, s := range replayed.Steps {
			if !maps.Equal(s.Fields, versions[i].fields) {
				t.Errorf("replay of %s, step %d: got %v, want %v", id, i+1, s.Fields, versions[i].fields)
			}
		}
	}
}

// listed gives all ids of a list, a few on a page.
func listed(t *testing.T, ctx context.Context, p *projector.Projector, want projector.Wanted) (ids []string) {
	t.Helper()
	want.Types, want.Take = []string{patient}, 3
	for {
		page, err := p.List(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Aggregates {
			ids = append(ids, a.ID)
		}
		if want.Cursor = page.Cursor; want.Cursor == "" {
			return ids
		}
	}
}

func (m *model) checkLists(t *testing.T, ctx context.Context, p *projector.Projector) {
	long := fmt.Sprintf("%0200d", 1)
	number := func(s modelState) (int, bool) {
		n, err := strconv.Atoi(s.fields["n"])
		return n, err == nil
	}
	for condition, is := range map[string]func(modelState) bool{
		`a = "1"`:                      func(s modelState) bool { return s.fields["a"] == "1" },
		`a = 1 and n = 02`:             func(s modelState) bool { n, ok := number(s); return s.fields["a"] == "1" && ok && n == 2 },
		`n in [1, 2.0, 3e0]`:           func(s modelState) bool { n, ok := number(s); return ok && n >= 1 && n <= 3 },
		`n > 2 or a = nil`:             func(s modelState) bool { n, ok := number(s); _, set := s.fields["a"]; return ok && n > 2 || !set },
		`b = "` + long + `"`:           func(s modelState) bool { return s.fields["b"] == long },
		`b startsWith "000"`:           func(s modelState) bool { return len(s.fields["b"]) == 200 },
		`not $deleted and a != "1"`:    func(s modelState) bool { return !s.deleted && s.fields["a"] != "1" },
		`$version >= 5 and a in ["0"]`: nil,
	} {
		var want, cold []string
		for id, versions := range m.states {
			last := versions[len(versions)-1]
			if _, archived := m.archived[id]; archived && is != nil && is(last) {
				cold = append(cold, id)
			} else if archived {
				continue
			} else if is == nil && len(versions) >= 5 && last.fields["a"] == "0" || is != nil && is(last) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		slices.Sort(cold)
		if got := listed(t, ctx, p, projector.Wanted{Filter: condition, Archived: true}); is != nil && !slices.Equal(got, cold) {
			t.Errorf("%s, archived: got %v, want %v", condition, got, cold)
		}
		if got := listed(t, ctx, p, projector.Wanted{Filter: condition}); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", condition, got, want)
		}
		slices.SortFunc(want, func(x, y string) int {
			a, b := m.states[x][len(m.states[x])-1], m.states[y][len(m.states[y])-1]
			n, isSet := number(a)
			k, alsoSet := number(b)
			switch {
			case isSet && alsoSet:
				return cmp.Or(cmp.Compare(k, n), cmp.Compare(x, y))
			case isSet:
				return -1
			case alsoSet:
				return 1
			}
			return cmp.Compare(x, y)
		})
		if got := listed(t, ctx, p, projector.Wanted{Filter: condition, Order: "-n"}); !slices.Equal(got, want) {
			t.Errorf("%s by -n: got %v, want %v", condition, got, want)
		}
	}
}

func (m *model) checkEvents(t *testing.T, ctx context.Context, p *projector.Projector) {
	middle := m.events[len(m.events)/2].time
	for _, want := range []projector.EventsWanted{
		{}, {Actor: "user:1"}, {Event: "end"}, {Actor: "user:2", Event: "set"}, {Since: middle}, {Until: middle}, {Correlation: "correlation", Since: middle, Event: "end"},
		{Correlation: "none"}, {Aggregate: of("P03")}, {Aggregate: of("P07"), Since: middle, Event: "set"}, {Aggregate: of("nobody")}, {Only: []event.AggregateID{of("P03"), of("P04"), of("none"), of("P21")}, Actor: "user:1"},
		{Since: middle, Until: middle.Add(5 * time.Second)},
	} {
		var expected []string
		for _, e := range m.events {
			if (want.Actor == "" || want.Actor == e.actor) && (want.Event == "" || want.Event == e.event) && !e.time.Before(want.Since) && (want.Until.IsZero() || e.time.Before(want.Until)) &&
				(want.Aggregate.ID == "" || want.Aggregate.ID == e.id) && (want.Only == nil || slices.Contains(want.Only, of(e.id))) && want.Correlation != "none" {
				expected = append(expected, fmt.Sprintf("%s/%d", e.id, e.version))
			}
		}
		var got []string
		want.Take = 7
		for {
			page, err := p.Events(ctx, want)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				got = append(got, fmt.Sprintf("%s/%d", e.ID, e.Version))
			}
			if want.Cursor = page.Cursor; want.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, expected) {
			t.Errorf("%+v: got %d events, want %d:\n%v\n%v", want, len(got), len(expected), got, expected)
		}
	}
}

// TestRebuildBeside: while an index is rebuilt queries are answered and blocks come; behind it the content is that of one that was built at once.
func TestRebuildBeside(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	b := h.log(patient)
	fill(b, 6_000, 150)
	p := h.start()
	h.current()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // under the race detector it takes long
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Rebuild(ctx, patient, nil) }()
	blocks, asked := 0, 0
	for ended := false; !ended; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
			at := b.Block(one("P000001", "crp", text("crp", fmt.Sprint(blocks))))[0]
			if blocks++; p.WaitFor(ctx, at) != nil {
				t.Fatal("the index does not follow while it is rebuilt")
			}
			got, err := p.Get(ctx, of("P000001"), projector.When{})
			if asked++; err != nil || got.Fields["crp"] != fmt.Sprint(blocks-1) {
				t.Fatalf("got %v, %v, want crp %d", got.Fields, err, blocks-1)
			}
		}
	}
	if blocks == 0 {
		t.Error("nothing came while the index was rebuilt")
	}
	at := b.Block(one("P000001", "crp", text("crp", "last")))[0]
	if err := p.WaitFor(ctx, at); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(h.dir, patient+".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no folder that is left", err)
	}
	if err := p.Rebuild(ctx, "nobody", nil); err == nil {
		t.Error("the index of a log that is not there was rebuilt")
	}
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}
