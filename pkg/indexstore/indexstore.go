// Package indexstore is the local, encrypted, rebuildable store under the index of a log: records as they come, and sorted runs that find them.
//
// An index is a function of its log, so the store has no journal: what is not in it yet is in its owner's memory, and after a crash in the
// log. The owner fills one Batch at a time with some MiB of records and, in ascending order of keys, the entries that lead to them. Commit writes
// the entries as one run (a file of sorted pages) and replaces the manifest, which names all files and the place in the log: a batch is there
// whole or not at all, also after kill -9. Of entries with one key the one committed last counts. Runs of one size are merged in the
// background; records are written once, and moved only away from those that were given up.
//
// Everything is sealed with AES-256-GCM under a key for each file, and checked whenever it is read: what was changed, cut, lost in a power cut or
// belongs to another store is ErrDoubted. Nothing is flushed to disk before Close; nothing is repaired: the owner calls Remove, opens
// anew and replays the log.
//
// The folder holds `lock` (held while open), `manifest`, `*.run` and `*.records`.
package indexstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says where a store is and who may read it.
type Config struct {
	// Dir is the folder; it is made with mode 0700 if it does not exist. One Store at a time.
	Dir string
	// Key seals all files: 16, 24 or 32 bytes, required. A lost key costs a rebuild, nothing else.
	Key []byte
	// Identity names what the store is about: site, log, version of its content's format. A folder of another identity is doubted.
	Identity string
	// CacheBytes bounds the opened pages kept in memory; 0 is DefaultCacheBytes.
	CacheBytes int
	// Lookups is for stores whose keys are looked up one by one, and most of them in vain: each run gets a filter, of about ten bits an entry, in memory. An entry
	// with an empty value says that there is none any more; it goes when no older run is left that it could hide an entry of.
	Lookups bool
	// LookedUp says which keys have part in Lookups; nil: all. Others have no bits in the filters.
	LookedUp func(key []byte) bool
	// Freed is the first byte of the keys by which the owner gives records up (FreedKey); 0: it never does. Of files a quarter of which was given up the rest is moved
	// together in the background, and a store an eighth of whose entries say that there is none any more is merged as a whole. It takes Lookups.
	Freed byte
	// Room is asked before runs are merged, which takes as much room again: while it gives an error nothing is merged. Nil: there always is.
	Room func() error
}

// DefaultCacheBytes is used when Config.CacheBytes is 0.
const DefaultCacheBytes = 8 << 20

// Store is an open store. All methods are safe for concurrent use; Close waits for views and the merge under way.
type Store struct {
	config Config
	lock   *os.File
	cache  *cache
	nonces nonces // of the one batch under way
	wake   chan struct{}
	haste  chan struct{} // has a value when the batch under way is not to pause any more
	quit   chan struct{}
	merges sync.WaitGroup // the merging goroutine
	views  sync.WaitGroup

	committed time.Time     // the last batch; this and work belong to who has the batch under way
	work      time.Duration // that it was

	mu       sync.Mutex // guards what follows, and the manifest
	closed   bool
	note     []byte
	next     uint64 // number of the next file
	batch    bool   // one is under way
	moving   uint64 // number of the records that are being compacted; 0: none
	current  *version
	merged   chan struct{} // closed and renewed after each merge
	mergeErr error         // of the last merge, until a batch has told it
}

// version is the files of the store at one time. It never changes; users is guarded by Store.mu.
type version struct {
	runs     []*run // oldest first; levels do not ascend
	contents []*content
	users    int // views, and one more while it is the current one
}

// Open opens the store in a folder or makes a new one. ErrDoubted: call Remove and Open again. ErrLocked: somebody has it open. Other errors (permission,
// disk full, a wrong Config) concern the machine or the caller; the folder may be sound.
func Open(c Config) (*Store, error) {
	switch {
	case c.Dir == "":
		return nil, errors.New("open index store: no folder given")
	case c.Identity == "":
		return nil, errors.New("open index store: no identity given")
	case len(c.Key) != 16 && len(c.Key) != 24 && len(c.Key) != 32:
		return nil, fmt.Errorf("open index store: key has %d bytes, want 16, 24 or 32", len(c.Key))
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open index store: %w", err)
	}
	lock, err := lockFile(filepath.Join(c.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open index store: %w", err)
	}
	s := &Store{config: c, lock: lock, cache: newCache(c.CacheBytes), wake: make(chan struct{}, 1), haste: make(chan struct{}, 1), quit: make(chan struct{}), merged: make(chan struct{})}
	if err := s.load(); err != nil {
		s.closeFiles()
		return nil, errors.Join(fmt.Errorf("open index store %s: %w", c.Dir, err), lock.Close())
	}
	s.merges.Go(s.merge)
	poke(s.wake)
	return s, nil
}

// load opens the files that the manifest names, and removes those that a crash left.
func (s *Store) load() error {
	s.current = &version{users: 1}
	m, err := readManifest(s.config)
	if err != nil {
		return err
	}
	s.note, s.next = m.Note, max(m.Next, 1)
	wanted := []string{lockName, manifestName}
	for _, about := range m.Runs {
		wanted = append(wanted, filepath.Base(runPath("", about.Number)))
		r, err := openRun(s.config.Dir, s.config.Key, about)
		if err != nil {
			return err
		}
		r.versions = 1
		s.current.runs = append(s.current.runs, r)
	}
	for _, about := range m.Contents {
		wanted = append(wanted, filepath.Base(about.path("")))
		c, err := openContent(s.config.Dir, s.config.Key, about, 0)
		if err != nil {
			return err
		}
		*c.use = 1
		if about.Kept != nil {
			wanted = append(wanted, filepath.Base(runPath("", about.Kept.Number)))
		}
		s.current.contents = append(s.current.contents, c)
	}
	return s.tidy(wanted)
}

// tidy removes files that a crash left, and refuses a folder with anything else.
func (s *Store) tidy(wanted []string) error {
	entries, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case slices.Contains(wanted, name):
		case !ours(name):
			return fmt.Errorf("the folder holds %s, which is no part of the store: %w", name, ErrDoubted)
		default:
			if err := os.Remove(filepath.Join(s.config.Dir, name)); err != nil {
				return fmt.Errorf("remove what a crash left: %w", err)
			}
		}
	}
	return nil
}

const lockName = "lock"

// ours reports whether a store makes files of that name.
func ours(name string) bool {
	return name == lockName || name == manifestName || name == manifestName+".new" || strings.HasSuffix(name, ".run") || strings.HasSuffix(name, ".records")
}

// Note gives what the last Commit noted; nil in a new store.
func (s *Store) Note() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.note
}

// Size is the number of bytes that the store takes on disk.
func (s *Store) Size() (total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.current.runs {
		total += r.Size
	}
	for _, c := range s.current.contents {
		total += c.bytes()
	}
	return total
}

// filtered reports whether filters know a key.
func (c *Config) filtered(key []byte) bool {
	return c.Lookups && (c.LookedUp == nil || c.LookedUp(key))
}

// Runs is the number of runs, each of which a read may have to look into.
func (s *Store) Runs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.current.runs)
}

// Close flushes the files and releases the folder; it waits for views, and gives up a merge. A second call does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.views.Wait()
	if !first {
		return nil
	}
	close(s.quit)
	s.merges.Wait()
	var err error
	for _, c := range s.current.contents {
		err = errors.Join(err, c.file.Sync())
		if c.kept != nil {
			err = errors.Join(err, c.kept.file.Sync())
		}
	}
	for _, r := range s.current.runs {
		err = errors.Join(err, r.file.Sync())
	}
	err = errors.Join(err, s.syncManifest())
	s.closeFiles()
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("close index store: %w", err)
	}
	return nil
}

// Move renames the folder of an open store, which goes on meanwhile. There must be nothing at dir.
func (s *Store) Move(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := os.Rename(s.config.Dir, dir); err != nil {
		return fmt.Errorf("move index store: %w", err)
	}
	s.config.Dir = dir
	return nil
}

// closeFiles closes the files of the current version; what was written is flushed before, or does not matter.
func (s *Store) closeFiles() {
	for _, r := range s.current.runs {
		_ = r.file.Close()
	}
	for _, c := range s.current.contents {
		c.close()
	}
}

// Remove deletes the store in a folder, also one of the format before this; a folder that does not exist is no error. ErrLocked if it is open. A
// folder with other content than a store's is left alone.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove index store: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); !ours(name) && !slices.Contains([]string{"db", "state.json", "state.json.new"}, name) { // the latter before this format
			return fmt.Errorf("remove index store %s: it holds %s, which is no part of an index store", dir, name)
		}
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("remove index store %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove index store: %w", err)
	}
	return nil
}
