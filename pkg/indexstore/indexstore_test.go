package indexstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = []byte("0123456789abcdef0123456789abcdef")

func config(dir string) indexstore.Config {
	return indexstore.Config{Dir: dir, Key: key, Identity: "test-site/patient/index/1", CacheBytes: 64 << 10}
}

func open(t testing.TB, dir string) *indexstore.Store {
	t.Helper()
	s, err := indexstore.Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func closed(t testing.TB, s *indexstore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// write stores entries whose values lead to records, in one batch.
func write(t testing.TB, s *indexstore.Store, note string, entries map[string]string) {
	t.Helper()
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		at, err := b.Record([]byte(entries[k]))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Set([]byte(k), at.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit([]byte(note)); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, s *indexstore.Store) *indexstore.View {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// record reads what a value leads to.
func record(v *indexstore.View, value []byte) (string, error) {
	at, rest, err := indexstore.ParseLocation(value)
	if err != nil || len(rest) > 0 {
		return "", errors.Join(err, fmt.Errorf("%d bytes left over", len(rest)))
	}
	raw, err := v.Record(at)
	return string(raw), err
}

// content is everything in a store: records by key.
func content(s *indexstore.Store) (map[string]string, error) {
	v, err := s.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	out := map[string]string{}
	last := ""
	var failure error
	err = v.Scan(nil, nil, func(k, value []byte) bool {
		if string(k) <= last {
			failure = fmt.Errorf("key %q behind %q", k, last)
		}
		last = string(k)
		var text string
		if text, failure = record(v, value); failure != nil {
			return false
		}
		out[last] = text
		return true
	})
	return out, errors.Join(err, failure)
}

func wantContent(t testing.TB, s *indexstore.Store, want map[string]string) {
	t.Helper()
	got, err := content(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("content: diff (-want +got):\n%.2000s", diff)
	}
}

// TestAgainstAMap writes random batches, with keys that come again, and holds every way to read against a map, through merges and reopenings.
func TestAgainstAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	s := open(t, dir)
	want := map[string]string{}
	for round := range 60 {
		batch := map[string]string{}
		for range random.IntN(300) {
			k := fmt.Sprintf("%c%0*d", 'a'+random.IntN(3), 1+random.IntN(4), random.IntN(2000))
			batch[k] = strings.Repeat(fmt.Sprintf("%s in round %d,", k, round), random.IntN(12))
		}
		note := fmt.Sprint(round)
		write(t, s, note, batch)
		maps.Copy(want, batch)
		if round%20 == 7 {
			closed(t, s)
			s = open(t, dir)
		}
		if got := string(s.Note()); got != note {
			t.Fatalf("note: got %q, want %q", got, note)
		}
		compareReads(t, s, want, random)
		compareFinder(t, s, want, random)
	}
	wantContent(t, s, want)
}

func compareReads(t *testing.T, s *indexstore.Store, want map[string]string, random *rand.Rand) {
	t.Helper()
	v := view(t, s)
	defer v.Close()
	keys := slices.Sorted(maps.Keys(want))
	for range 30 {
		k := fmt.Sprintf("%c%d", 'a'+random.IntN(4), random.IntN(2000))
		if len(keys) > 0 && random.IntN(2) == 0 {
			k = keys[random.IntN(len(keys))]
		}
		value, found, err := v.Get([]byte(k))
		text, there := want[k]
		if err != nil || found != there {
			t.Fatalf("get %s: got %t, %v, want %t", k, found, err, there)
		}
		if got, err := record(v, value); there && (err != nil || got != text) {
			t.Fatalf("record of %s: got %q, %v, want %q", k, got, err, text)
		}
		i, exact := slices.BinarySearch(keys, k)
		if !exact {
			i--
		}
		wanted := ""
		if i >= 0 && keys[i][0] == k[0] {
			wanted = keys[i]
		}
		if at, _, found, err := v.Floor([]byte(k[:1]), []byte(k)); err != nil || found != (wanted != "") || found && string(at) != wanted {
			t.Fatalf("floor of %s: got %q, %t, %v, want %q", k, at, found, err, wanted)
		}
		var scanned []string
		err = v.Scan([]byte(k[:1]), []byte(k), func(key, _ []byte) bool {
			scanned = append(scanned, string(key))
			return len(scanned) < 20
		})
		rest := keys[max(i, 0):]
		rest = slices.DeleteFunc(slices.Clone(rest), func(other string) bool { return other < k || other[0] != k[0] })
		if diff := gocmp.Diff(rest[:min(20, len(rest))], scanned, gocmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); err != nil || diff != "" {
			t.Fatalf("scan from %s: %v, diff (-want +got):\n%s", k, err, diff)
		}
	}
}

// TestMergesBound: the number of runs that a read looks into grows with the logarithm of the batches.
func TestMergesBound(t *testing.T) {
	s := open(t, t.TempDir())
	want := map[string]string{}
	for i := range 200 {
		batch := map[string]string{fmt.Sprintf("k%03d", i): "x", "same": fmt.Sprint(i)}
		write(t, s, "", batch)
		maps.Copy(want, batch)
	}
	closed(t, s)
	if runs := s.Runs(); runs > 40 {
		t.Errorf("after 200 batches: got %d runs, want at most 40", runs)
	}
}

// TestViewsStay: a view goes on showing what it showed, while batches and merges pass it, and Close waits for it.
func TestViewsStay(t *testing.T) {
	s := open(t, t.TempDir())
	write(t, s, "", map[string]string{"a": "old", "b": "old"})
	v := view(t, s)
	for i := range 50 {
		write(t, s, "", map[string]string{"a": fmt.Sprint(i)})
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Close() }()
	value, found, err := v.Get([]byte("a"))
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if got, err := record(v, value); err != nil || got != "old" {
		t.Errorf("got %q, %v, want what was there when the view was taken", got, err)
	}
	select {
	case err := <-ended:
		t.Errorf("close did not wait for the view: %v", err)
	default:
	}
	v.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := s.View(); !errors.Is(err, indexstore.ErrClosed) {
		t.Errorf("view of a closed store: got %v, want ErrClosed", err)
	}
	if _, err := s.Begin(); !errors.Is(err, indexstore.ErrClosed) {
		t.Errorf("batch of a closed store: got %v, want ErrClosed", err)
	}
}

// TestReadersBesideWriter reads all the while batches are stored; each reader sees whole batches, and never an earlier state than before.
func TestReadersBesideWriter(t *testing.T) {
	s := open(t, t.TempDir())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := content(s)
				if err != nil {
					t.Error(err)
					return
				}
				n := len(got["left"])
				if len(got["right"]) != n || n < last {
					t.Errorf("got %d and %d, before %d: a part of a batch, or an earlier one", n, len(got["right"]), last)
				}
				last = n
			}
		})
	}
	for i := range 100 {
		write(t, s, "", map[string]string{"left": strings.Repeat("x", i), fmt.Sprint("m", i): "y", "right": strings.Repeat("x", i)})
	}
	close(stop)
	readers.Wait()
}

// copyDir copies a folder as it is, which is what a killed process leaves.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	files, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(f)), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestKilled: whenever the process is killed, the batches committed by then are there, and nothing else.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, "one", map[string]string{"a": "1"})
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.Record(bytes.Repeat([]byte("x"), 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		if err := b.Set(fmt.Appendf(nil, "b%06d", i), at.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	middle := copyDir(t, dir)
	b.Abandon()
	for name, dir := range map[string]string{"killed in a batch": middle, "killed behind one that was given up": copyDir(t, dir)} {
		s := open(t, dir)
		wantContent(t, s, map[string]string{"a": "1"})
		if got := string(s.Note()); got != "one" {
			t.Errorf("%s: note: got %q, want one", name, got)
		}
		write(t, s, "two", map[string]string{"b": "2"})
		closed(t, s)
		wantContent(t, open(t, dir), map[string]string{"a": "1", "b": "2"})
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 5 {
			t.Errorf("%s: got files %v, want lock, manifest, two runs and one file of records", name, files)
		}
	}
}

func TestOrderIsHeld(t *testing.T) {
	s := open(t, t.TempDir())
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abandon()
	if err := b.Set([]byte("b"), nil); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"a", "b"} {
		if err := b.Set([]byte(k), nil); err == nil {
			t.Errorf("key %s behind b: got nil, want an error", k)
		}
	}
}

// TestLargeEntries holds that keys, values and records may be larger than a page.
func TestLargeEntries(t *testing.T) {
	s := open(t, t.TempDir())
	large := bytes.Repeat([]byte("large"), 10_000)
	for _, k := range []string{"a", "b"} {
		b, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Set([]byte(k), large), b.Set(append([]byte(k), large...), []byte("v")), b.Commit(nil)); err != nil {
			t.Fatal(err)
		}
	}
	v := view(t, s)
	defer v.Close()
	value, _, err := v.Get([]byte("a"))
	if err != nil || !bytes.Equal(value, large) {
		t.Errorf("got %d bytes, %v, want %d", len(value), err, len(large))
	}
	if value, _, err := v.Get(append([]byte("b"), large...)); err != nil || string(value) != "v" {
		t.Errorf("got %q, %v, want v", value, err)
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, b.TempDir())
	const batches, each = 60, 2000
	for i := range batches {
		batch := map[string]string{}
		for k := range each {
			batch[fmt.Sprintf("aggregate-%07d", k*batches+i)] = "record"
		}
		write(b, s, "", batch)
	}
	v := view(b, s)
	defer v.Close()
	b.ReportAllocs()
	for n := 0; b.Loop(); n = (n + 7919) % (batches * each) {
		if _, found, err := v.Get(fmt.Appendf(nil, "aggregate-%07d", n)); err != nil || !found {
			b.Fatal(found, err)
		}
	}
	b.ReportMetric(float64(s.Runs()), "runs")
}
