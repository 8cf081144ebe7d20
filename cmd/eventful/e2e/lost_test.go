package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The server's store is changed while it is stopped: a byte, the end, a whole log. What was acknowledged and is gone is named by verify, status and doctor until a person has removed the
// evidence; the log is served on, and nothing hangs.
func TestALostEndIsNamed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, stream string){
		"byte near the end": func(t *testing.T, stream string) { flipAt(t, stream, 60) },
		"end cut":           func(t *testing.T, stream string) { cutBy(t, stream, 300) },
		"log removed":       func(t *testing.T, stream string) { remove(t, stream) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.seed()
			s.stop()
			streams, err := filepath.Glob(filepath.Join(s.dir, "jetstream", "jetstream", "*", "streams", "EVT_*_patient"))
			if err != nil || len(streams) != 1 {
				t.Fatalf("got the streams %v, %v; want that of patient", streams, err)
			}
			kept := filepath.Join(t.TempDir(), "kept")
			if err := os.CopyFS(kept, os.DirFS(streams[0])); err != nil {
				t.Fatal(err)
			}
			spoil(t, streams[0])
			s.start()
			s.must("event:add", "patient/crp", "--id=Z", "--crp=1")
			if got := s.run("aggregate:verify", "--all"); got.status != 7 || !strings.Contains(got.stdout+got.stderr, "patient") {
				t.Errorf("got %+v, want exit status 7 and the log named", got)
			}
			if got := s.must("status"); !strings.Contains(got, "acknowledged events are gone") {
				t.Errorf("got the status %s, want the loss named", got)
			}
			if got := s.run("doctor"); got.status != 1 || !strings.Contains(got.stdout+got.stderr, "patient") {
				t.Errorf("got %+v, want exit status 1 and the log named", got)
			}
			s.stop()
			remove(t, streams[0]) // put back what was there: every test ends with verify
			if err := os.CopyFS(streams[0], os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			s.start()
			evidence, err := filepath.Glob(filepath.Join(s.dir, "state", "patient.lost-*"))
			if err != nil || len(evidence) != 1 {
				t.Fatalf("got the evidence %q, %v; want one folder", evidence, err)
			}
			s.stop()
			remove(t, evidence[0])
			s.start()
		})
	}
}

// The account files of the NATS server are lost: recorded auth keys come back from the system log.
func TestLostAccountsAreRestored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.seed()
	want := s.answers()
	s.stop()
	remove(t, filepath.Join(s.dir, "accounts"))
	s.start()
	if got := s.answers(); len(got) != len(want) {
		t.Errorf("got %d answers, want %d as before", len(got), len(want))
	}
	s.seed()
}

func flipAt(t *testing.T, stream string, fromEnd int) {
	t.Helper()
	change(t, stream, func(b []byte) []byte { b[len(b)-fromEnd] ^= 1; return b })
}

func cutBy(t *testing.T, stream string, bytes int) {
	t.Helper()
	change(t, stream, func(b []byte) []byte { return b[:len(b)-bytes] })
}

// change changes the stream's last block file, and removes JetStream's own index of it.
func change(t *testing.T, stream string, spoil func([]byte) []byte) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(stream, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("got the blocks %v, %v", blocks, err)
	}
	last := blocks[len(blocks)-1]
	b, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, spoil(b), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(stream, "msgs", "index.db")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
