package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if info, err := run.Find(dir); info != nil || err != nil {
		t.Errorf("got %v, error %v before there is a folder, want nothing", info, err)
	}
	lock, err := run.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Acquire(dir); !errors.Is(err, &problem.Problem{Code: problem.Locked}) {
		t.Errorf("got error %v for the second lock, want locked", err)
	}
	if info, err := run.Find(dir); info == nil || info.PID != 0 || err != nil {
		t.Errorf("got %v, error %v while it is locked, want a server that is starting", info, err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if lock, err = run.Acquire(dir); err != nil {
		t.Fatalf("got error %v behind the release, want the lock", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

// A process id in a stale run.json may be anybody's by now: it is not signalled.
func TestEndSparesStrangers(t *testing.T) {
	dir := t.TempDir()
	lock, err := run.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	stale := []byte(`{"format": 1, "pid": 1, "mark": "not when that process began"}`)
	if err := os.WriteFile(filepath.Join(dir, "run.json"), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run.End(t.Context(), dir, time.Second, true); !errors.Is(err, &problem.Problem{Code: problem.Locked}) {
		t.Errorf("got error %v, want locked", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if err := run.End(t.Context(), dir, time.Second, true); err != nil {
		t.Errorf("got error %v with nobody there, want none", err)
	}
}

func TestNewerRunFile(t *testing.T) {
	dir := t.TempDir()
	lock, err := run.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Release() }()
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(`{"format": 99, "pid": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Find(dir); !errors.Is(err, &problem.Problem{Code: problem.Invalid}) {
		t.Errorf("got error %v, want a refusal of format 99", err)
	}
}
