package projector_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestHistoryPages(t *testing.T) {
	_, p, ctx := wardUp(t)
	var versions []uint64
	from := event.Version(2)
	for pages := 0; from != 0; pages++ {
		page, err := p.History(ctx, of("A"), from, 2)
		if err != nil || pages > 2 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, e := range page.Events {
			versions = append(versions, e.Version)
		}
		from = next(t, page.Cursor)
	}
	if diff := cmp.Diff([]uint64{2, 3, 4, 5}, versions); diff != "" {
		t.Errorf("diff (-want +got):\n%s", diff)
	}
}

func next(t *testing.T, cursor string) event.Version {
	t.Helper()
	if cursor == "" {
		return 0
	}
	v, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return event.Version(v)
}

// TestPagesFit holds that pages of large events stay below the size of an answer, and lose nothing.
func TestPagesFit(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	value := strings.Repeat("a\"<\x01", 10_000)
	for range 20 {
		h.log(patient).Block(one("A", "crp", text("note", value)))
	}
	p := h.start()
	ctx := h.current()
	seen := 0
	for from := event.Version(1); from != 0; {
		page, err := p.History(ctx, of("A"), from, 0)
		if err != nil {
			t.Fatal(err)
		}
		if raw, _ := json.Marshal(page); len(raw) > 520<<10 {
			t.Errorf("history from %d: got %d bytes, want at most 520 KiB", from, len(raw))
		}
		seen += len(page.Events)
		from = next(t, page.Cursor)
	}
	commits, pages := 0, 0
	for from := event.Version(1); from != 0; pages++ {
		page, err := p.Export(ctx, of("A"), from)
		if err != nil {
			t.Fatal(err)
		}
		if raw, _ := json.Marshal(page); len(raw) > 520<<10 {
			t.Errorf("export from %d: got %d bytes, want at most 520 KiB", from, len(raw))
		}
		commits += len(page.Commits)
		from = next(t, page.Cursor)
	}
	if seen != 20 || commits != 20 || pages < 2 {
		t.Errorf("got %d events, %d commits on %d pages, want 20 of each on several", seen, commits, pages)
	}
}

func TestExport(t *testing.T) {
	_, p, ctx := wardUp(t)
	got, err := p.Export(ctx, of("A"), 0)
	if err != nil {
		t.Fatal(err)
	}
	position, version, root, err := p.Newest(ctx, of("A"))
	if err != nil || got.Version != uint64(version) || got.Root != root.String() || got.Commits[2].Position != position.String() || got.Cursor != "" {
		t.Errorf("got %+v, want version %d, root %s, last at %s (%v)", got, version, root, position, err)
	}
	var tree event.Tree
	for _, e := range got.Commits {
		c, err := event.DecodeCommit(e.Commit)
		if err != nil {
			t.Fatal(err)
		}
		for i, leaf := range c.Leaves() {
			tree = tree.Append(leaf)
			if e.Leaves[i] != leaf.String() {
				t.Errorf("version %d: got leaf %s, want %s", int(c.First)+i, e.Leaves[i], leaf)
			}
		}
		if tree.Root() != c.Root {
			t.Errorf("commit at version %d: got root %s, want %s", c.First, c.Root, tree.Root())
		}
	}
	if from, err := p.Export(ctx, of("A"), 3); err != nil || len(from.Commits) != 2 {
		t.Errorf("export from 3: got %+v, %v, want the two commits that hold versions 2 to 5", from, err)
	}
}

func TestList(t *testing.T) {
	h := newHarness(t)
	migrate(h.log(event.Reserved), definition)
	fill(h.log(patient), 200, 25)
	h.log("bed").Block(verifytest.Commit{Aggregate: verifytest.Aggregate("bed", "=/*>"), Events: []verifytest.Event{{Type: "moved"}}},
		verifytest.Commit{Aggregate: verifytest.Aggregate("chair", "P000003"), Events: []verifytest.Event{{Type: "moved"}}})
	p := h.start()
	ctx := h.current()
	list := func(types []string, take int) (names []string) {
		for cursor, pages := "", 0; ; pages++ {
			page, err := p.List(ctx, projector.Wanted{Types: types, Cursor: cursor, Take: take})
			if err != nil || pages > 100 {
				t.Fatalf("page %d: %v", pages, err)
			}
			for _, a := range page.Aggregates {
				names = append(names, a.Type+"/"+a.ID)
			}
			if cursor = page.Cursor; cursor == "" {
				return names
			}
		}
	}
	want := []string{"bed/=/*>", "chair/P000003"}
	for i := range 25 {
		want = append(want, fmt.Sprintf("patient/P%06d", i))
	}
	for _, take := range []int{1, 2, 9, 27, 1000} {
		if diff := cmp.Diff(want, list(nil, take)); diff != "" {
			t.Errorf("take %d: diff (-want +got):\n%s", take, diff)
		}
	}
	if diff := cmp.Diff(want[1:], list([]string{"patient", "chair", "ghost"}, 4)); diff != "" {
		t.Errorf("two types: diff (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eventful-schema/patient"}, list([]string{"eventful-schema"}, 4)); diff != "" {
		t.Errorf("system type: diff (-want +got):\n%s", diff)
	}
	found, err := p.Resolve(ctx, "P000003")
	if diff := cmp.Diff(projector.Candidates{Candidates: []string{"chair/P000003", "patient/P000003"}}, found); err != nil || diff != "" {
		t.Errorf("resolve: %v, diff (-want +got):\n%s", err, diff)
	}
}

func TestEventByPrefix(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	const events = 3000
	fill(h.log(patient), events, events) // enough for two hashes with the same four digits
	p := h.start()
	ctx := h.current()
	byPrefix := map[string][]string{}
	for i := range events {
		page, err := p.History(ctx, of(fmt.Sprintf("P%06d", i)), 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		hash := page.Events[0].Hash
		byPrefix[hash[:4]] = append(byPrefix[hash[:4]], hash)
	}
	ambiguous, unique := 0, 0
	for prefix, hashes := range byPrefix {
		got, err := p.EventByHash(ctx, prefix, anybody)
		if len(hashes) == 1 {
			if unique++; unique < 50 && (err != nil || got.Hash != hashes[0]) {
				t.Errorf("prefix %s: got %+v, %v, want %s", prefix, got, err, hashes[0])
			}
			continue
		}
		ambiguous++
		var found *problem.Problem
		if !errors.As(err, &found) || found.Code != problem.Malformed || len(found.Problems) != len(hashes) {
			t.Errorf("prefix %s of %d hashes: got %v, want malformed with the candidates", prefix, len(hashes), err)
		}
		for _, h := range hashes {
			for _, digits := range []int{15, 16} {
				if got, err := p.EventByHash(ctx, strings.ToUpper(h[:digits]), anybody); err != nil || got.Hash != h {
					t.Errorf("prefix %s: got %+v, %v, want %s", h[:digits], got, err, h)
				}
			}
		}
	}
	if ambiguous == 0 || unique == 0 {
		t.Errorf("got %d ambiguous and %d unique prefixes, want some of each", ambiguous, unique)
	}
}

func TestHeld(t *testing.T) {
	h := newHarness(t)
	h.limit = 10
	fill(h.log(patient), 1000, 100) // ten events of each
	p := h.start()
	ctx := h.current()
	for i := range 20 {
		for range 2 {
			if got, err := p.History(ctx, of(fmt.Sprintf("P%06d", i)), 1, 0); err != nil || len(got.Events) != 10 {
				t.Fatalf("got %+v, %v, want ten events", got, err)
			}
		}
		if held, limit := p.Held(); held != 10 || limit != 10 {
			t.Errorf("got %d held of %d, want 10 of 10", held, limit)
		}
	}
}

// BenchmarkHistory reads aggregates of 20 events that lie spread over the log, with an answer's JSON.
func BenchmarkHistory(b *testing.B) {
	for _, held := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			h := newHarness(b)
			h.limit = held
			value := strings.Repeat("x", 180)
			for n := 0; n < 40_000; n += 100 {
				commits := make([]verifytest.Commit, 100)
				for i := range commits {
					commits[i] = one(fmt.Sprintf("P%06d", (n+i)%2000), "changed", text("amount", "1234.50"), text("owner", "somebody with a name"), text("text", value))
				}
				h.log(patient).Block(commits...)
			}
			p := h.start()
			ctx := h.current()
			var buffer []byte
			b.ReportAllocs()
			began := processor(b)
			for n := 0; b.Loop(); n = (n + 1) % 200 {
				page, err := p.History(ctx, of(fmt.Sprintf("P%06d", n)), 1, 0)
				if err != nil || len(page.Events) != 20 {
					b.Fatal(len(page.Events), err)
				}
				buffer = page.AppendJSON(buffer[:0])
			}
			b.ReportMetric(float64(processor(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// TestBackwards: a history from its end on, page by page, whatever is skipped; large events make small pages.
func TestBackwards(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(patient)
	for range 25 {
		b.Block(one("A", "crp", text("note", strings.Repeat("x", 100_000))))
	}
	p := h.start()
	ctx := h.current()
	for skip := range uint64(27) {
		var got []uint64
		before, left := event.Version(0), skip
		for {
			page, err := p.Backwards(ctx, of("A"), before, left, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				got = append(got, e.Version)
			}
			if page.Cursor == "" {
				break
			}
			before, left = next(t, page.Cursor), 0
		}
		for i, v := range got {
			if want := 25 - skip - uint64(i); v != want {
				t.Fatalf("behind %d: got %v, want %d at %d", skip, got, want, i)
			}
		}
		if want := 25 - min(skip, 25); uint64(len(got)) != want {
			t.Errorf("behind %d: got %d events, want %d", skip, len(got), want)
		}
	}
}
