package space

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Usage is how a file system stands for this user.
type Usage struct {
	Free, Total uint64
	Unwritable  error // why nothing can be written there, however much is free; nil: it can
}

// Look asks the system about the file system under a folder, or under the nearest folder above that exists.
func Look(dir string) (u Usage, err error) {
	var s unix.Statfs_t
	for {
		err = unix.Statfs(dir, &s)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return u, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	u.Free, u.Total = uint64(s.Bavail)*uint64(s.Bsize), uint64(s.Blocks)*uint64(s.Bsize)
	if err := unix.Access(dir, unix.W_OK); err != nil {
		u.Unwritable = &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return u, nil
}

// Probe writes a small file into a folder, flushes it and removes it: whether writing works is known only by writing.
func Probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("try to write: %w", err)
	}
	_, err = f.Write(make([]byte, 64<<10))
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("try to write: %w", err)
	}
	return nil
}
