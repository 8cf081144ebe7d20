package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

const (
	lockName     = "lock"
	keyCheckName = "key-check"
	metaName     = "meta.inf" // of nats-server: in the folder of each stream
)

// lock is the exclusive right to a store: two servers can open one folder, and would spoil it.
type lock struct{ file *os.File }

func acquire(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make store folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of the store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &lock{f}, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = problem.New(problem.Locked, "the store %s is in use by another server", dir).WithHint("stop that server first")
	} else {
		err = fmt.Errorf("lock the store %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}

func (l *lock) release() { _ = l.file.Close() } // closing gives the lock up; nothing was written

// checkKey refuses a store of another key. nats-server itself would skip the streams that it cannot decrypt, and come up without them.
func checkKey(dir, key string) error {
	path := filepath.Join(dir, keyCheckName)
	sealing := sha256.Sum256([]byte("eventful.store-key.v1\x00" + key))
	sealed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return replaceFile(path, keyring.Seal(sealing, keyCheckName, nil))
	}
	if err != nil {
		return fmt.Errorf("read key check of the store: %w", err)
	}
	if _, err := keyring.Unseal(sealing, keyCheckName, sealed); err != nil {
		return problem.New(problem.Unavailable, "the store %s was encrypted with another key than the one in the key file", dir).
			WithHint("bring back the key file that belongs to this store")
	}
	return nil
}

// streamsOnDisk are the streams in a store: account and name, with a slash between them.
func streamsOnDisk(dir string) (there []string, err error) {
	metas, err := filepath.Glob(filepath.Join(dir, server.JetStreamStoreDir, "*", "streams", "*", metaName))
	if err != nil {
		return nil, fmt.Errorf("list streams on disk: %w", err)
	}
	for _, meta := range metas {
		stream := filepath.Dir(meta)
		there = append(there, filepath.Join(filepath.Base(filepath.Dir(filepath.Dir(stream))), filepath.Base(stream)))
	}
	return there, nil
}

// checkStreams compares the streams that were on disk with those that the server serves: it removes, or leaves out with a warning, what it cannot open. One that can be
// rebuilt is removed then, and given.
func checkStreams(s *server.Server, dir string, streamsThere []string) (dropped []string, err error) {
	info, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Limit: 1 << 20})
	if err != nil {
		return nil, fmt.Errorf("ask for streams: %w", err)
	}
	served := make(map[string]bool)
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			served[filepath.Join(account.Id, stream.Name)] = true
		}
	}
	for _, stream := range streamsThere {
		account, name := filepath.Split(stream)
		switch {
		case served[stream]:
		case streams.CanBeRebuilt(name):
			if err := os.RemoveAll(filepath.Join(dir, server.JetStreamStoreDir, account, "streams", name)); err != nil {
				return dropped, fmt.Errorf("remove stream %s, which cannot be opened: %w", name, err)
			}
			dropped = append(dropped, name)
		default:
			return dropped, problem.New(problem.Damaged, "stream %s is in the store and cannot be opened", name).
				WithHint("the log names the reason; the store is as it was: mend it, or bring it back from a backup")
		}
	}
	return dropped, nil
}

// replaceFile writes a file so that a crash leaves the old or the new one.
func replaceFile(path string, data []byte) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("flush folder of %s: %w", path, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush folder of %s: %w", path, err)
	}
	return nil
}
