package statestore

import (
	"errors"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Outcomes of a store's operations; the errors returned wrap them.
var (
	// ErrNotFound: the store has no such key.
	ErrNotFound = errors.New("key is not in the state store")
	// ErrDoubted: what the folder holds cannot be trusted or read (another key, damage, another identity, another format). Remove the folder and
	// rebuild it from the log.
	ErrDoubted = indexstore.ErrDoubted
	// ErrLocked: another Store, in this process or another one, has the folder open.
	ErrLocked = indexstore.ErrLocked
	// ErrClosed: the store was closed.
	ErrClosed = indexstore.ErrClosed
)
