package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	badgeroptions "github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"
)

// guard runs a call of Badger and turns a panic into ErrDoubted. It cannot catch what happens on Badger's own goroutines.
func guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("badger panicked: %.200v: %w", r, ErrDoubted)
		}
	}()
	return fn()
}

// machineFaults are errors that say nothing about the content of the folder.
var machineFaults = []error{
	fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EROFS, syscall.EIO,
}

// classify maps an error of Badger to one of ours, in this one place. Badger wraps without %w, so faults of the machine are told by their text as well.
// What is not known is doubt: the store can be rebuilt, a wrong answer cannot be taken back.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDoubted), errors.Is(err, ErrTooLarge), errors.Is(err, badger.ErrKeyNotFound):
		return err
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	for _, fault := range machineFaults {
		if errors.Is(err, fault) || strings.Contains(err.Error(), fault.Error()) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrDoubted, err)
}

// checkFiles reads everything that Badger is about to rely on. It runs while the folder is locked and Badger is not open.
func checkFiles(dir string, key []byte) error {
	manifest, err := readManifest(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return fmt.Errorf("read manifest: %w", classify(err))
	}
	if err := checkWALs(dir); err != nil {
		return fmt.Errorf("check write-ahead log: %w", classify(err))
	}
	if len(manifest.Tables) == 0 {
		return nil
	}
	var registry *badger.KeyRegistry
	err = guard(func() (err error) {
		registry, err = badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
		return err
	})
	if err != nil {
		return fmt.Errorf("read data keys: %w", classify(err))
	}
	return checkTables(dir, manifest, registry)
}

// readManifest gives what Badger's manifest says; a store without one is new. Badger would cut an incomplete end off without a word.
func readManifest(path string) (m badger.Manifest, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer func() { _ = file.Close() }() // opened for reading only
	end := int64(0)
	err = guard(func() (err error) {
		m, end, err = badger.ReplayManifestFile(file, 0, badger.Options{})
		return err
	})
	if err != nil {
		return m, err
	}
	if info, err := file.Stat(); err != nil || info.Size() != end {
		return m, errors.Join(err, fmt.Errorf("%s is readable up to byte %d only: %w", path, end, ErrDoubted))
	}
	return m, nil
}

// checkTables verifies every table named by the manifest, each by its checksums, on as many goroutines as there are processors.
func checkTables(dir string, manifest badger.Manifest, registry *badger.KeyRegistry) error {
	var (
		workers sync.WaitGroup
		mu      sync.Mutex // guards first
		first   error
		ids     = make(chan uint64)
	)
	cache, err := indexCache()
	if err != nil {
		return err
	}
	defer cache.Close()
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for id := range ids {
				if err := checkTable(dir, id, manifest.Tables[id], registry, cache); err != nil {
					mu.Lock()
					first = errors.Join(first, fmt.Errorf("check table %d: %w", id, classify(err)))
					mu.Unlock()
				}
			}
		})
	}
	for id := range manifest.Tables {
		ids <- id
	}
	close(ids)
	workers.Wait()
	return first
}

// indexCache is what an encrypted table needs to be read: without one it panics.
func indexCache() (*ristretto.Cache[uint64, *fb.TableIndex], error) {
	return ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 1000, MaxCost: 16 << 20, BufferItems: 64})
}

func checkTable(dir string, id uint64, about badger.TableManifest, registry *badger.KeyRegistry, cache *ristretto.Cache[uint64, *fb.TableIndex]) error {
	file, err := z.OpenMmapFile(table.NewFilename(id, dir), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close(-1) }() // mapped for reading only; OpenTable may have closed it already
	if err := checkFooter(file.Data); err != nil {
		return err
	}
	key, err := registry.DataKey(about.KeyID)
	if err != nil {
		return err
	}
	o := table.Options{ReadOnly: true, ChkMode: badgeroptions.OnTableAndBlockRead, Compression: about.Compression, DataKey: key, BlockSize: 4096, IndexCache: cache}
	return guard(func() error {
		_, err := table.OpenTable(file, o) // reads and checks the index and every block
		return err
	})
}

// checkFooter verifies the lengths at the end of a table, on which Badger ends the process: … index, index length, checksum, checksum length.
func checkFooter(data []byte) error {
	rest := int64(len(data))
	for _, part := range []string{"checksum", "index"} {
		if rest -= 4; rest < 0 {
			return fmt.Errorf("the length of the %s is missing: %w", part, ErrDoubted)
		}
		length := int64(binary.BigEndian.Uint32(data[rest:]))
		if rest -= length; length <= 0 || rest < 0 {
			return fmt.Errorf("the length %d of the %s is not possible: %w", length, part, ErrDoubted)
		}
	}
	return nil
}
