package reencrypt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
)

const configFile = settings.File

// sizeOf is what the files below a folder take, in bytes; 0 if there is no such folder.
func sizeOf(dir string) (total uint64, err error) {
	err = walk(dir, func(_ string, e fs.DirEntry) error {
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			total += uint64(info.Size())
		}
		return err
	})
	return total, err
}

// flushAll makes everything below a folder survive a power cut.
func flushAll(dir string) error {
	return walk(dir, func(path string, _ fs.DirEntry) error { return flush(path) })
}

// walk visits folders and regular files; a folder that is not there is empty.
func walk(dir string, visit func(string, fs.DirEntry) error) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || e.Type().IsRegular() {
			return visit(path, e)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("go through %s: %w", dir, err)
	}
	return nil
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("flush %s: %w", path, err)
	}
	return nil
}

// copyFile replaces a file by a copy that is its owner's alone; a crash leaves what was there, or the copy.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	temp := to + ".new"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		return err
	}
	return flush(filepath.Dir(to))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
