package main_test

import (
	"os/exec"
	"testing"
)

// The texts of the table stand in the code, and two promises that are quickly tried are noticed when they are broken. `make mutate` tries all.
func TestMutants(t *testing.T) {
	for _, args := range [][]string{{"-list"}, {"-only=void-epoch,sync-setting"}} {
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
