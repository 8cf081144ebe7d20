package statestore

import "errors"

// Outcomes of a store's operations; the errors returned wrap them.
var (
	// ErrNotFound: the store has no such key.
	ErrNotFound = errors.New("key is not in the state store")
	// ErrDoubted: what the folder holds cannot be trusted or read (another key, damage, another identity, a newer format, a machine that
	// lost power). Remove the folder and rebuild it from the log.
	ErrDoubted = errors.New("state store is doubted")
	// ErrLocked: another Store, in this process or another one, has the folder open.
	ErrLocked = errors.New("state store is locked")
	// ErrTooLarge: a batch is over the limit of one atomic write; nothing of it was stored.
	ErrTooLarge = errors.New("batch is too large for one atomic write")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("state store is closed")
)
