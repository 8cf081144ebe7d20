package main_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// readCode opens what the mutants are made of. `go test` repeats its last answer while the files that a test itself has opened are as they were, and it does not see those of a
// program that the test starts.
func readCode(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		_, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The texts of the table stand in the code, and a promise that is quickly tried is noticed when it is broken. `make mutate` tries all.
func TestMutants(t *testing.T) {
	readCode(t)
	for _, args := range [][]string{{"-list"}, {"-only=void-epoch"}} {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "."}, args...)...)
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("mutate %v: got %v, want that each mutant is noticed", args, err)
		}
	}
}

func TestAnUnknownMutantIsRefused(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "run", ".", "-only=nothing").CombinedOutput()
	if err == nil {
		t.Errorf("got success and %s, want that an unknown mutant is refused", out)
	}
}
