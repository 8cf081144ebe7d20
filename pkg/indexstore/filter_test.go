package indexstore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Random batches of entries and of entries without a value, against a plain map, over merges and further openings: what is looked up and scanned is what was stored last,
// and of entries without a value none is left when all runs have become one.
func TestLookups(t *testing.T) {
	c := config(t.TempDir())
	c.Lookups = true
	random := rand.New(rand.NewPCG(5, 6))
	want := map[string]string{}
	for range 4 {
		s, err := indexstore.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			batch := map[string]string{}
			for range random.IntN(80) {
				value := fmt.Sprint(random.Uint64())
				if random.IntN(3) == 0 {
					value = ""
				}
				batch[fmt.Sprintf("key-%03d", random.IntN(300))] = value
			}
			b, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range slices.Sorted(maps.Keys(batch)) {
				if want[k] = batch[k]; batch[k] == "" {
					delete(want, k)
				}
				if err := b.Set([]byte(k), []byte(batch[k])); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Commit(nil); err != nil {
				t.Fatal(err)
			}
		}
		compareLookups(t, s, want)
		closed(t, s)
	}
}

func compareLookups(t *testing.T, s *indexstore.Store, want map[string]string) {
	t.Helper()
	v := view(t, s)
	defer v.Close()
	finder := v.Finder()
	for i := range 310 {
		key := fmt.Sprintf("key-%03d", i)
		if got, _, err := finder.Get([]byte(key)); err != nil || string(got) != want[key] {
			t.Errorf("find %s: got %q, %v, want %q", key, got, err, want[key])
		}
		if got, _, err := v.Get([]byte(key)); err != nil || string(got) != want[key] {
			t.Errorf("%s: got %q, %v, want %q", key, got, err, want[key])
		}
	}
	got := map[string]string{}
	err := v.Scan(nil, nil, func(k, value []byte) bool {
		if len(value) > 0 {
			got[string(k)] = string(value)
		}
		return true
	})
	if d := gocmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("got %v, -want +got\n%s", err, d)
	}
}

// Entries without a value go when the oldest runs are merged.
func TestEmptyEntriesGo(t *testing.T) {
	c := config(t.TempDir())
	c.Lookups = true
	s, err := indexstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		b, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		value := []byte("value")
		if i >= 32 {
			value = nil
		}
		for k := range 100 {
			if err := b.Set(fmt.Appendf(nil, "%d-%03d", i%32, k), value); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(nil); err != nil {
			t.Fatal(err)
		}
		indexstore.AwaitMerges(s) // four by four, so that the last batch makes one run of all
	}
	n := 0
	v := view(t, s)
	if err := v.Scan(nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != 0 {
		t.Errorf("got %d entries, %v, want none", n, err)
	}
	v.Close()
	closed(t, s)
}

// A key that is not there is hardly ever looked for in a page.
func TestFilterLeavesOut(t *testing.T) {
	present, absent := 0, 0
	f := indexstore.NewFilter(10_000)
	for i := range 10_000 {
		f.Add(fmt.Appendf(nil, "h/patient\x00%d", i))
	}
	for i := range 10_000 {
		if f.May(fmt.Appendf(nil, "h/patient\x00%d", i)) {
			present++
		}
		if f.May(fmt.Appendf(nil, "h/visit\x00%d", i)) {
			absent++
		}
	}
	if present != 10_000 || absent > 300 {
		t.Errorf("got %d of 10,000 keys that are there and %d that are not, want all and few", present, absent)
	}
}
