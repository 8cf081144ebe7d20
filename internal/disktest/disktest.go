// Package disktest gives a test file systems of its own: small ones that it fills, and images on which it cuts the power.
//
// Mounting needs rights. Alone runs the test in a process with a mount namespace of its own, and where the user is not root with a user namespace; where
// the machine allows neither the test is skipped, with the reason, or fails if the environment says that it must run. What was mounted goes with the process.
package disktest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// CannotRun skips the test with a reason, or fails it if the variable named by required is 1.
func CannotRun(t *testing.T, required, format string, args ...any) {
	t.Helper()
	if os.Getenv(required) == "1" {
		t.Fatalf(required+"=1, and this cannot be tested here: "+format, args...)
	}
	t.Skipf("cannot be tested here: "+format, args...)
}

// SteadySeed is Seed in torture, or where EVENTFUL_SEED names one; else the test always does the same.
func SteadySeed(t *testing.T, usual uint64) uint64 {
	t.Helper()
	if os.Getenv("EVENTFUL_TORTURE") == "" && os.Getenv("EVENTFUL_SEED") == "" {
		return usual
	}
	return Seed(t)
}

// Seed gives the seed of a test that has chance in it: that of EVENTFUL_SEED, else a new one. The test prints it, so that a run can be repeated.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("EVENTFUL_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("EVENTFUL_SEED: %v", err)
		}
		seed = given
	}
	t.Logf("EVENTFUL_SEED=%d", seed)
	return seed
}
