package statestore

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserve must stay free for a batch to be stored, or runs to be merged: so a full disk is told before a file is written halfway, and other files keep some room.
const reserve = 32 << 20

// freeOn gives the bytes that may still be written on the file system of a folder.
func freeOn(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// Room is nil while so many bytes are free, and as many as Update wants; else the error wraps syscall.ENOSPC.
func (s *Store) Room(least uint64) error {
	least = max(least, reserve)
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("look at the free space of the state store: %w", err)
	}
	if free < least {
		return fmt.Errorf("state store: %d MiB are free and %d MiB must be: %w", free>>20, least>>20, syscall.ENOSPC)
	}
	return nil
}
