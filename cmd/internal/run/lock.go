package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// lockPatience is how long Lock tries: a command that only looks holds the lock for an instant.
const lockPatience = 300 * time.Millisecond

// Lock is the exclusive right to a data folder. The kernel gives it up when the process ends, however it ends.
type Lock struct{ file *os.File }

// Acquire makes the folder if need be (0700) and locks it. The error is a *problem.Problem: locked, or not writable.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, notWritable(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, notWritable(dir, err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(lockPatience); ; <-tick.C {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	switch {
	case err == nil:
		return &Lock{f}, nil
	case !errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("lock the data folder %s: %w", dir, err)
	default:
		err = lockedBy(dir)
	}
	return nil, errors.Join(err, f.Close())
}

// Release gives the folder up.
func (l *Lock) Release() error { return l.file.Close() }

func lockedBy(dir string) error {
	who := "another process"
	if info, err := readInfo(dir); err == nil {
		who = fmt.Sprintf("the server with process id %d", info.PID)
	}
	return problem.New(problem.Locked, "the data folder %s is in use by %s", dir, who).
		WithHint("`eventful status` shows the server, `eventful stop` ends it")
}

// isLocked looks whether somebody holds the lock, without keeping it.
func isLocked(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, problem.New(problem.Invalid, "the data folder cannot be read: %v", err).
			WithHint("give its owner the right to read, or name another folder with --data-dir")
	}
	defer f.Close()
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look at the lock of %s: %w", dir, err)
	}
	return false, nil
}

func notWritable(dir string, err error) error {
	return problem.New(problem.Invalid, "the data folder %s cannot be written: %v", dir, err).
		WithHint("give its owner the right to write, or name another folder with --data-dir")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
