package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

func snapshot(at uint64) eventlog.Snapshot {
	return eventlog.Snapshot{Log: "patient", Kind: "writer/1", Mark: []byte("mark"), Sequence: at}
}

// put keeps a state with n entries.
func put(t *testing.T, a *archive.Archive, at uint64, n, size int) eventlog.KeptSnapshot {
	t.Helper()
	k, err := a.PutSnapshot(t.Context(), snapshot(at), func(put func(key, value []byte) error) error {
		for i := range n {
			if err := put(fmt.Appendf(nil, "%08d", i), bytes.Repeat([]byte{byte(i), canary[i%len(canary)]}, size)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t *testing.T, a *archive.Archive, k eventlog.KeptSnapshot) (got eventlog.Snapshot, entries int, err error) {
	t.Helper()
	err = a.ReadSnapshot(t.Context(), "patient", k, func(s eventlog.Snapshot) error { got = s; return nil }, func(key, value []byte) error {
		if string(key) != fmt.Sprintf("%08d", entries) || len(value) == 0 || value[0] != byte(entries) {
			t.Errorf("entry %d: got %q = %.10q", entries, key, value)
		}
		entries++
		return nil
	})
	return got, entries, err
}

func TestSnapshotsComeBack(t *testing.T) {
	for _, n := range []int{0, 1, 3000} {
		cfg := archive.Config{Objects: folder(t), Key: key()}
		k := put(t, open(t, cfg), 77, n, 2000)
		got, entries, err := read(t, open(t, cfg), k)
		if d := cmp.Diff(snapshot(77), got); d != "" || entries != n || err != nil {
			t.Errorf("got %d of %d entries, %v, -want +got\n%s", entries, n, err, d)
		}
	}
}

func TestSnapshotsAreListedOnceRecorded(t *testing.T) {
	cfg := archive.Config{Objects: folder(t), Key: key()}
	a := open(t, cfg)
	var want []eventlog.KeptSnapshot
	for at := range uint64(4) {
		k := put(t, a, at+1, 3, 10)
		if at == 3 { // nothing names the last one
			break
		}
		k.Record = fmt.Sprintf("patient/%d/0/00000000000000000000000000000001", at+2)
		if err := a.Recorded(t.Context(), "patient", k); err != nil {
			t.Fatal(err)
		}
		want = append([]eventlog.KeptSnapshot{k}, want...)
	}
	got, err := open(t, cfg).ListSnapshots(t.Context(), "patient")
	if d := cmp.Diff(want[:2], got); d != "" || err != nil {
		t.Errorf("%v, -want +got\n%s", err, d)
	}
	if _, _, err := read(t, a, want[2]); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("the oldest: got %v, want it removed", err)
	}
}

func TestEveryChangedByteOfASnapshotIsFound(t *testing.T) {
	place := folder(t)
	cfg := archive.Config{Objects: place, Key: key()}
	k := put(t, open(t, cfg), 77, 20, 5)
	files, err := filepath.Glob(filepath.Join(place.String(), "*", "*", "states", "*", "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("got files %q, %v, want a part and an index", files, err)
	}
	for _, path := range files {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(good, []byte(canary[:8])) {
			t.Errorf("%s holds plain text", path)
		}
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x10
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := read(t, open(t, cfg), k); !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrNewer) {
				t.Fatalf("%s, byte %d: got %v, want ErrDamaged", filepath.Base(path), i, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, n, err := read(t, open(t, cfg), k); n != 20 || err != nil {
		t.Errorf("got %d, %v, want 20", n, err)
	}
}
