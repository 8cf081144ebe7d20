package archive_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// FuzzSegment: whatever lies there as a segment, reading ends with an error or with what was archived; it never panics, and takes no memory that a changed length asks for.
func FuzzSegment(f *testing.F) {
	f.Add(0, []byte{0}, uint16(0))
	f.Add(1000, []byte{0xff, 0xff, 0xff, 0xff}, uint16(7))
	f.Add(-60, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(0))
	f.Fuzz(func(t *testing.T, at int, change []byte, cut uint16) {
		x := newFixture(t, 20)
		x.cfg.Plain = true // what a digest does not cover first would else hide behind the cipher
		if err := extend(t.Context(), open(t, x.cfg), x.log, 20); err != nil {
			t.Fatal(err)
		}
		path := segments(t, x)[0]
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		if at = at % len(bad); at < 0 {
			at = -at
		}
		copy(bad[at:], change)
		bad = bad[:len(bad)-int(cut)%len(bad)]
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		a := open(t, x.cfg)
		for sequence := uint64(1); sequence <= 20; sequence++ {
			m, err := a.Get(t.Context(), "patient", sequence)
			if want, _ := x.log.Get(t.Context(), sequence); err == nil && !bytes.Equal(m.Data, want.Data) {
				t.Fatalf("sequence %d: got other bytes than were archived", sequence)
			}
		}
	})
}

// FuzzSnapshotIndex: whatever lies there as the index of a state, reading it ends.
func FuzzSnapshotIndex(f *testing.F) {
	f.Add([]byte("EVW\x01"))
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, index []byte) {
		place := folder(t)
		cfg := archive.Config{Objects: place, Key: key()}
		k := put(t, open(t, cfg), 77, 3, 5)
		files, err := filepath.Glob(filepath.Join(place.String(), "*", "*", "states", "*", "index"))
		if err != nil || len(files) != 1 {
			t.Fatalf("got %q, %v", files, err)
		}
		if err := os.WriteFile(files[0], index, 0o600); err != nil {
			t.Fatal(err)
		}
		err = open(t, cfg).ReadSnapshot(context.Background(), "patient", k, func(eventlog.Snapshot) error { return nil }, func([]byte, []byte) error { return nil })
		if err == nil {
			t.Error("got no error for an index that the log does not name")
		}
	})
}

// FuzzManifest: a manifest is never trusted, and never leads to other bytes than were archived.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"v":1,"site":"test-site","log":"patient","segments":[{"first":1,"last":20,"bytes":1,"digest":"00"}],"states":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x := newFixture(t, 20)
		if err := extend(t.Context(), open(t, x.cfg), x.log, 20); err != nil {
			t.Fatal(err)
		}
		if err := x.objects.Replace(t.Context(), "test-site/patient/manifest.json", text); err != nil {
			t.Fatal(err)
		}
		m, err := open(t, x.cfg).Get(t.Context(), "patient", 7)
		if want, _ := x.log.Get(t.Context(), 7); err == nil && !bytes.Equal(m.Data, want.Data) {
			t.Error("got other bytes than were archived")
		}
	})
}
