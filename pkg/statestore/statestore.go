// Package statestore is the local, encrypted, rebuildable store under the state of a writer: keys and values, on package indexstore.
//
// Everything in it is a function of a log, so nothing is flushed to disk for safety and nothing is repaired: a store that cannot be trusted
// is ErrDoubted, and its owner calls Remove, opens anew and replays the log. What a batch wrote is there after kill -9, whole or
// not at all; after a power cut the store is at the place of an earlier batch, or doubted.
//
// A batch becomes one sorted run of files that are sealed and checked whenever they are read (package indexstore); runs are merged in the background. There is no
// journal and no table in memory: small batches are dear, so the owner collects.
package statestore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Config says where a store is and who may read it.
type Config struct {
	// Dir is the folder; it is made with mode 0700 if it does not exist. One Store at a time.
	Dir string
	// Key seals all files: 16, 24 or 32 bytes, required. A lost key costs a rebuild, nothing else.
	Key []byte
	// Identity names what the store is about: site, log, kind, version of its content's format. A folder of another identity is doubted.
	Identity string
	// CacheBytes bounds the opened pages kept in memory; 0 is DefaultCacheBytes. Too small a cache makes reads open pages anew.
	CacheBytes int64
	// Fail, in tests, is asked at each step of changing what is on disk; its error becomes that of the operation. Nil otherwise.
	Fail func(Step) error
}

// DefaultCacheBytes is used when Config.CacheBytes is 0.
const DefaultCacheBytes = 32 << 20

// Store is an open store. All methods are safe for concurrent use; Close waits for those under way.
type Store struct {
	runs    *indexstore.Store
	dir     string
	failing func(Step) error
	free    func(dir string) (uint64, error)
	writing sync.Mutex // one batch is written at a time, and none behind Close
}

// Open opens the store in a folder or makes a new one. ErrDoubted: call Remove and Open again.
// ErrLocked: somebody has it open. Other errors (permission, disk full, too many open files, a wrong Config) concern the machine or the caller; the folder may be sound.
func Open(c Config) (*Store, error) {
	if c.CacheBytes <= 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	s := &Store{dir: c.Dir, failing: c.Fail, free: freeOn}
	var err error
	s.runs, err = indexstore.Open(indexstore.Config{
		Dir: c.Dir, Key: c.Key, Identity: c.Identity, CacheBytes: int(c.CacheBytes), Lookups: true, Room: func() error { return s.Room(0) },
	})
	if err != nil {
		return nil, fmt.Errorf("open state store: %w", err)
	}
	return s, nil
}

// Close flushes the files and releases the folder; it waits for reads and batches under way, and gives up a merge. A second call does nothing.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.fail(BeforeClose)
	if err = errors.Join(err, s.runs.Close(), s.fail(AfterClose)); err != nil {
		return fmt.Errorf("close state store: %w", err)
	}
	return nil
}

// Size is the number of bytes that the store takes on disk.
func (s *Store) Size() int64 { return s.runs.Size() }

// Remove deletes the store in a folder, also one of an earlier format; a folder that does not exist is no error. ErrLocked if it is open. A folder with other content than a
// store's is left alone.
func Remove(dir string) error {
	if err := indexstore.Remove(dir); err != nil {
		return fmt.Errorf("remove state store: %w", err)
	}
	return nil
}
