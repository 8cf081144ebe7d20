package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

const (
	heldName    = "held"     // second names of the store's files while it is opened
	holdingName = "held.new" // the same, while they are made
)

// errNoLinks: the file system has no hard links.
var errNoLinks = errors.New("the file system gives a file no second name")

// hold gives each file of the store a second name (a hard link) until all streams were opened: nats-server 2.15 removes the whole folder of a stream that it cannot
// open, for whatever reason. A thousand files take about 20 ms, a store has one file for each MiB of its streams, and one beside.
//
// Order: (1) the names are made in held.new; (2) held.new becomes held; (3) the server opens the store; (4) release removes held. A crash behind 1 leaves names that mean
// nothing, one behind 2 or 3 names that giveBack takes up.
func hold(dir string) error {
	holding := filepath.Join(dir, holdingName)
	store := filepath.Join(dir, server.JetStreamStoreDir)
	if !exists(store) {
		return nil
	}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to, err := moved(path, store, holding)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		return os.Link(path, to)
	})
	if err == nil {
		err = os.Rename(holding, filepath.Join(dir, heldName))
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		err = fmt.Errorf("%w: %w", errNoLinks, err)
	}
	if err != nil {
		return fmt.Errorf("hold the store %s: %w", dir, errors.Join(err, os.RemoveAll(holding)))
	}
	return nil
}

// release ends hold when the streams are open.
func release(dir string) error {
	for _, name := range []string{holdingName, heldName} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("release the store %s: %w", dir, err)
		}
	}
	return nil
}

// giveBack puts what is held and is not in the store any more back there, and ends hold. No server may run. What the store has stays: it may have got messages since.
func giveBack(dir string) error {
	held := filepath.Join(dir, heldName)
	if !exists(held) {
		return release(dir)
	}
	err := linkBack(held, filepath.Join(dir, server.JetStreamStoreDir))
	for tries := 1; errors.Is(err, fs.ErrNotExist) && tries < 10; tries++ { // the server that ended may just be removing folders that it left empty
		err = linkBack(held, filepath.Join(dir, server.JetStreamStoreDir))
	}
	if err != nil {
		return fmt.Errorf("give the store %s back what was held of it: %w", dir, err)
	}
	return release(dir)
}

func linkBack(held, store string) error {
	return filepath.WalkDir(held, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to, err := moved(path, held, store)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		}
		if err := os.Link(path, to); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// moved is the path of a file when its folder lies elsewhere.
func moved(path, from, to string) (string, error) {
	relative, err := filepath.Rel(from, path)
	return filepath.Join(to, relative), err
}
