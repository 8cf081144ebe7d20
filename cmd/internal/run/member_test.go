package run_test

import (
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
	if err := os.WriteFile(filepath.Join(dir, "member"), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, _, release, err := run.Join(dir); err != nil || len(other) != 16 || other == id {
		t.Errorf("got %q, %v, want a new id", other, err)
	} else {
		release(false)
	}
}
