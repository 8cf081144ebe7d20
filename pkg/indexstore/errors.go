package indexstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Outcomes of a store's operations; the errors returned wrap them.
var (
	// ErrDoubted: what the folder holds cannot be trusted or read (another key, damage, another identity, another format). Remove the folder and
	// rebuild it from the log.
	ErrDoubted = errors.New("index store is doubted")
	// ErrLocked: another Store, in this process or another one, has the folder open.
	ErrLocked = errors.New("index store is locked")
	// ErrGone: the record was given up, and its place is used otherwise.
	ErrGone = errors.New("record was given up")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("index store is closed")
)

// unreadable words an error of reading a file: one that ends early or is gone is doubted, other errors are the machine's.
func unreadable(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: %w", what, err, ErrDoubted)
	}
	return fmt.Errorf("%s: %w", what, err)
}
