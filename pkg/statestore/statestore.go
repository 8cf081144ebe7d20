// Package statestore is the local, encrypted, rebuildable store under writer state and index, on Badger.
//
// Everything in it is a function of a log, so nothing is flushed to disk for safety and nothing is repaired: a store that cannot be trusted
// is ErrDoubted, and its owner calls Remove, opens anew and replays the log. What a batch wrote is there after kill -9, whole or
// not at all; after a power cut the store is doubted (the operating system may have written a later file and lost an earlier one).
//
// The folder holds `lock` (held while open), `state.json` (format version, whether and how the store was last closed) and `db` (Badger).
// Badger ends the process or passes over what it cannot read in several places, so Open checks every file before Badger sees it.
package statestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Config says where a store is and who may read it.
type Config struct {
	// Dir is the folder; it is made with mode 0700 if it does not exist. One Store at a time.
	Dir string
	// Key encrypts all files (AES-CTR): 16, 24 or 32 bytes, required. A lost key costs a rebuild, nothing else.
	Key []byte
	// Identity names what the store is about: site, log, kind, version of its content's format. A folder of another identity is doubted.
	Identity string
	// CacheBytes bounds the decrypted blocks and table indexes kept in memory; 0 is DefaultCacheBytes. Too small a cache makes reads decrypt anew.
	CacheBytes int64
}

// DefaultCacheBytes is used when Config.CacheBytes is 0.
const DefaultCacheBytes = 32 << 20

// Store is an open store. All methods are safe for concurrent use; Close waits for those under way.
type Store struct {
	db     *badger.DB
	folder *folder
	gc     *collector

	busy   sync.WaitGroup // operations under way
	mu     sync.Mutex     // guards closed, and that nothing joins busy behind it
	closed bool
}

// Open opens the store in a folder or makes a new one. It reads every table once, to check it. ErrDoubted: call Remove and Open again.
// ErrLocked: somebody has it open. Other errors (permission, disk full, too many open files, a wrong Config) concern the machine or the caller; the folder may be sound.
func Open(c Config) (*Store, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	f, err := openFolder(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open state store %s: %w", c.Dir, err)
	}
	s, err := openIn(f, c)
	if err != nil {
		f.release()
		return nil, fmt.Errorf("open state store %s: %w", c.Dir, err)
	}
	return s, nil
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("open state store: no folder given")
	case c.Identity == "":
		return errors.New("open state store: no identity given")
	case len(c.Key) != 16 && len(c.Key) != 24 && len(c.Key) != 32:
		return fmt.Errorf("open state store: key has %d bytes, want 16, 24 or 32", len(c.Key))
	}
	return nil
}

// openIn opens Badger in a locked folder. In order: the mark "open" is written; the files are checked; Badger opens; the identity is compared
// or written; the mark "opened" is written. A crash in between leaves the first mark, and the next Open goes the same way.
func openIn(f *folder, c Config) (*Store, error) {
	if err := f.begin(); err != nil {
		return nil, err
	}
	if err := checkFiles(f.db(), c.Key); err != nil {
		return nil, err
	}
	db, err := openBadger(options(f.db(), c))
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, folder: f}
	if err := errors.Join(s.identify(c.Identity), f.opened()); err != nil {
		_ = guard(db.Close) // the error that counts is the first
		return nil, err
	}
	s.gc = collect(db)
	return s, nil
}

func openBadger(o badger.Options) (db *badger.DB, err error) {
	err = guard(func() (err error) {
		db, err = badger.Open(o)
		return err
	})
	return db, classify(err)
}

// identify compares the store's identity with the one asked for; a store without content gets it.
func (s *Store) identify(want string) error {
	got, err := s.get(metaKey("identity"))
	switch {
	case errors.Is(err, ErrNotFound):
		if n, err := s.count(); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("the store has content but no identity: %w", ErrDoubted))
		}
		return s.commit(&Batch{writes: []write{{key: metaKey("identity"), value: []byte(want)}}})
	case err != nil:
		return err
	case string(got) != want:
		return fmt.Errorf("the store is %q, not %q: %w", got, want, ErrDoubted)
	}
	return nil
}

// closePatience bounds Close: Badger tries for ever to write a table into a folder that is gone.
const closePatience = 10 * time.Second

// Close writes what is in memory to tables and releases the folder; it waits for reads and batches under way. Its time is bounded by
// one table in memory, and by 10 s where Badger cannot write it; no compaction is started. A second call does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.busy.Wait()
	if !first {
		return nil
	}
	s.gc.stop()
	closed := make(chan error, 1)
	go func() { closed <- guard(s.db.Close) }()
	var err error
	select {
	case err = <-closed:
	case <-time.After(closePatience):
		err = fmt.Errorf("badger did not close in %s: %w", closePatience, ErrDoubted)
	}
	if err == nil {
		err = s.folder.end()
	}
	s.folder.release()
	if err != nil {
		return fmt.Errorf("close state store: %w", err)
	}
	return nil
}

// Size is the number of bytes that the store takes on disk; files that are being written count with the blocks they occupy. 0 if the folder cannot be read.
func (s *Store) Size() int64 {
	var total int64
	entries, err := os.ReadDir(s.folder.db())
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(s.folder.db(), e.Name())); err == nil {
			total += occupied(info)
		}
	}
	return total
}

// enter begins an operation: the store cannot close before the matching leave.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.busy.Add(1)
	return nil
}

func (s *Store) leave() { s.busy.Done() }
