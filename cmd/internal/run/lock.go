package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// How long a lock that is held is worth waiting for.
const (
	lockPatience  = 300 * time.Millisecond // a command that only looks holds it for an instant
	dyingPatience = 5 * time.Second        // the kernel is ending the holder, and gives the lock up when it has
)

// Lock is the exclusive right to a data folder. The kernel gives it up when the process ends, however it ends. The lock file says who holds it:
// it has the Info of a server, and nothing in it if another command works on the folder.
type Lock struct {
	path string
	file *os.File
}

// Acquire makes the folder if need be (0700) and locks it. It waits a moment, and longer for a server that is dying (5 s). What an earlier server left
// is removed. The error is a *problem.Problem: locked, or not writable.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, notWritable(dir, err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		l, err := try(filepath.Join(dir, lockFile))
		switch {
		case err == nil:
			if err := errors.Join(l.file.Truncate(0), withdraw(dir)); err != nil {
				return nil, errors.Join(notWritable(dir, err), l.file.Close())
			}
			return l, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, notWritable(dir, err)
		}
		if waited := time.Since(began); waited > lockPatience && waited > patienceFor(dir) {
			return nil, lockedBy(dir)
		}
	}
}

// try locks the file, made if need be; EWOULDBLOCK if somebody else has it, or has removed it meanwhile.
func try(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Lock{path, f}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && !l.inPlace() {
		err = unix.EWOULDBLOCK
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// inPlace reports whether the file that is locked is still the one that others find.
func (l *Lock) inPlace() bool {
	mine, err := l.file.Stat()
	if err != nil {
		return false
	}
	found, err := os.Stat(l.path)
	return err == nil && os.SameFile(mine, found)
}

// restore takes the lock anew if its file was removed.
func (l *Lock) restore() error {
	if l.inPlace() {
		return nil
	}
	again, err := try(l.path)
	if err != nil {
		return fmt.Errorf("take the lock anew: %w", err)
	}
	*l, again.file = *again, l.file
	return again.file.Close()
}

// record says in the lock file who holds it. A reader sees the old text or the new one; the blanks keep a longer old one from showing behind it.
func (l *Lock) record(info *Info) error {
	text, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	text = append(text, '\n')
	if old, err := l.file.Stat(); err == nil && old.Size() > int64(len(text)) {
		text = append(text, bytes.Repeat([]byte(" "), int(old.Size())-len(text))...)
	}
	if _, err := l.file.WriteAt(text, 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

// Release gives the folder up. What the file says stays, and counts no more.
func (l *Lock) Release() error { return l.file.Close() }

func lockedBy(dir string) error {
	who := "another process"
	if info, err := holder(dir); err == nil && info.PID != 0 {
		who = fmt.Sprintf("the server with process id %d", info.PID)
	}
	return problem.New(problem.Locked, "the data folder %s is in use by %s", dir, who).
		WithHint("`eventful status` shows the server, `eventful stop` ends it")
}

// patienceFor is how long to wait for the lock of whoever holds it now.
func patienceFor(dir string) time.Duration {
	info, err := holder(dir)
	if err != nil {
		return 0
	}
	return info.patience()
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
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return problem.New(problem.NoSpace, "the data folder %s cannot be written: %v", dir, err).
			WithHint("make room, or move the data folder to a larger disk, and start again: nothing is lost")
	case errors.Is(err, unix.EROFS):
		return problem.New(problem.NoSpace, "the data folder %s cannot be written: %v", dir, err).
			WithHint("mount its file system writable and start again; if the system made it read-only, look into the kernel's log first")
	}
	return problem.New(problem.Invalid, "the data folder %s cannot be written: %v", dir, err).
		WithHint("give its owner the right to write, or name another folder with --data-dir")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
