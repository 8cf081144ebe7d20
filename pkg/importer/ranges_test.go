package importer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/eventfuldb/eventful/pkg/importer"
)

func TestRangesMerge(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"7", "7"},
		{"1-500,502-900", "1-500,502-900"},
		{"3,1,2", "1-3"},
		{"5-9,1-4", "1-9"},
		{"1-10,3-4", "1-10"},
		{"1-2,4-5,7-8,2-7", "1-8"},
	} {
		r, err := importer.ParseRanges(c.in)
		if err != nil {
			t.Fatalf("parse %q: %v", c.in, err)
		}
		if got := r.String(); got != c.want {
			t.Errorf("ranges %q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestRangesRefuse(t *testing.T) {
	for _, in := range []string{"0", "-1", "2-1", "a", "1,", ",", "1-2-3", " 1", "+1", "9223372036854775808"} {
		if r, err := importer.ParseRanges(in); err == nil {
			t.Errorf("ranges %q: got %q, want an error", in, r)
		}
	}
}

// TestRangesAgainstModel adds rows in random order and compares with a plain set.
func TestRangesAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		r, model := &importer.Ranges{}, map[uint64]bool{}
		for range random.IntN(120) {
			row := random.Uint64N(100) + 1
			r.Add(row)
			model[row] = true
		}
		if got, want := r.Rows(), uint64(len(model)); got != want {
			t.Fatalf("rows of %s: got %d, want %d", r, got, want)
		}
		for row := uint64(1); row <= 101; row++ {
			if got := r.Contains(row); got != model[row] {
				t.Fatalf("%s contains %d: got %t, want %t", r, row, got, model[row])
			}
		}
		again, err := importer.ParseRanges(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("read %q again: got %q, %v", r, again, err)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	for _, s := range []string{"", "1", "1-500,502-900", "2-1", "9223372036854775807", "1-9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := importer.ParseRanges(s)
		if err != nil {
			return
		}
		if again, err := importer.ParseRanges(r.String()); err != nil || again.String() != r.String() {
			t.Fatalf("ranges %q: %q reads back as %v, %v", s, r, again, err)
		}
	})
}
