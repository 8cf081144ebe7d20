package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// golden is an archive of format 1: 12 blocks of a log in several segments, and a state of 3 entries; encrypted under key(), and not.
const golden = "testdata/v1"

// TestVersion1Opens: what version 1 wrote is read for ever. EVENTFUL_GOLDEN=1 writes it, once.
func TestVersion1Opens(t *testing.T) {
	for _, kind := range []string{"sealed", "plain"} {
		f := newFixture(t, 12)
		want := verifytest.Messages(t, f.log) // the builder makes the same blocks on every run
		dir, err := filepath.Abs(filepath.Join(golden, kind))
		if err != nil {
			t.Fatal(err)
		}
		place, err := archive.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		cfg := archive.Config{Objects: place, Key: key(), Plain: kind == "plain", SegmentBytes: 700}
		if os.Getenv("EVENTFUL_GOLDEN") == "1" {
			a := open(t, cfg)
			if err := extend(t.Context(), a, f.log, 12); err != nil {
				t.Fatal(err)
			}
			k := put(t, a, 12, 3, 5)
			k.Cut, k.Record = 12, "patient/13/0/00000000000000000000000000000001"
			if err := a.Recorded(t.Context(), "patient", k); err != nil {
				t.Fatal(err)
			}
		}
		a := open(t, cfg)
		if last, err := a.Last(t.Context(), "patient"); last != 12 || err != nil {
			t.Fatalf("%s: got %d, %v, want 12", kind, last, err)
		}
		if all, err := a.Segments(t.Context(), "patient"); len(all) < 2 || err != nil {
			t.Errorf("%s: got %d segments, %v, want several", kind, len(all), err)
		}
		for i := range want {
			if m, err := a.Get(t.Context(), "patient", uint64(i+1)); err != nil || !bytes.Equal(m.Data, want[i]) {
				t.Fatalf("%s, message %d: got %.20q, %v", kind, i+1, m.Data, err)
			}
		}
		kept, err := a.ListSnapshots(t.Context(), "patient")
		if err != nil || len(kept) != 1 {
			t.Fatalf("%s: got %d states, %v, want 1", kind, len(kept), err)
		}
		if about, n, err := read(t, a, kept[0]); n != 3 || about.Kind != "writer/1" || err != nil {
			t.Errorf("%s: got %d entries of %+v, %v", kind, n, about, err)
		}
	}
}
