package run_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// A folder of states has one process at a time, and keeps its id.
func TestMembership(t *testing.T) {
	dir := t.TempDir()
	id, fresh, release, err := run.Join(dir)
	if err != nil || len(id) != 16 || !fresh {
		t.Fatalf("got %q, %v, %v", id, fresh, err)
	}
	release(true) // others were seen
	again, fresh, release, err := run.Join(dir)
	if err != nil || again != id || fresh {
		t.Errorf("got %q, %v, %v, want %q, and that somebody may hold a lease of before", again, fresh, err, id)
	}
	release(false)
	if _, fresh, release, err = run.Join(dir); err != nil || !fresh {
		t.Errorf("got %v, %v, want that nobody may", fresh, err)
	}
	release(false)
	for _, damaged := range []string{"", "cut", id[:15] + "\xb1", id[:15] + ".", id + "00", id[:8] + "\n" + id[9:]} {
		if err := os.WriteFile(filepath.Join(dir, ".member"), []byte(damaged+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		other, _, release, err := run.Join(dir)
		if err != nil {
			t.Fatalf("%q: %v", damaged, err)
		}
		release(false)
		kept, _, release, err := run.Join(dir)
		if err != nil {
			t.Fatalf("%q: %v", damaged, err)
		}
		release(false)
		if _, notHex := hex.DecodeString(other); notHex != nil || len(other) != 16 || other == id || kept != other {
			t.Errorf("%q: got %q, then %q, want a new id, and then the same", damaged, other, kept)
		}
	}
}
