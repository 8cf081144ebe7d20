package statestore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Keys in Badger begin with one byte that tells content from what the store notes about itself.
const (
	prefixData = 'd'
	prefixMeta = 'm'
)

func dataKey(key []byte) []byte  { return append([]byte{prefixData}, key...) }
func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }

// Get gives a copy of the value stored under a key: ErrNotFound if there is none, ErrDoubted if it cannot be read any more.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	value, err := s.get(dataKey(key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("get from state store: %w", err)
	}
	return value, err
}

func (s *Store) get(key []byte) (value []byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	return value, classify(err)
}

// view runs fn on a snapshot; a panic of Badger comes back as ErrDoubted.
func (s *Store) view(fn func(*badger.Txn) error) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return guard(func() error { return fn(txn) })
}

// Scan calls fn for every key with a prefix in ascending order, on one snapshot; with after not nil, only for keys behind it. It ends early when fn
// gives false. The slices are valid in fn only; fn may read from the store, but not close it.
func (s *Store) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	return s.scan(prefix, after, false, fn)
}

// ScanBack is Scan in descending order; with before not nil, only for keys before it.
func (s *Store) ScanBack(prefix, before []byte, fn func(key, value []byte) bool) error {
	return s.scan(prefix, before, true, fn)
}

func (s *Store) scan(prefix, beyond []byte, back bool, fn func(key, value []byte) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	prefix = dataKey(prefix)
	start, skip := startOf(prefix, beyond, back)
	err := s.each(prefix, start, skip, back, func(key, value []byte) bool { return fn(key[1:], value) })
	if err != nil {
		return fmt.Errorf("scan state store: %w", err)
	}
	return nil
}

// startOf gives the key to seek, and the key to leave out if it is the first one found (nil: none).
func startOf(prefix, beyond []byte, back bool) (start, skip []byte) {
	edge := prefix
	if back {
		edge = upper(prefix)
	}
	if beyond == nil {
		return edge, nil
	}
	key := dataKey(beyond)
	if c := bytes.Compare(key, edge); !back && c < 0 || back && c > 0 {
		return edge, nil
	}
	return key, key
}

// upper is a key behind every key with the prefix: the next prefix of the same length. Data keys begin with 'd', so there always is one.
func upper(prefix []byte) []byte {
	u := bytes.Clone(prefix)
	for i := len(u) - 1; i >= 0; i-- {
		if u[i] < 0xFF {
			u[i]++
			return u[:i+1]
		}
	}
	return u
}

func (s *Store) each(prefix, start, skip []byte, back bool, fn func(key, value []byte) bool) error {
	return classify(s.view(func(txn *badger.Txn) error {
		o := badger.IteratorOptions{Reverse: back} // no prefetching: values lie beside their keys
		if !back {
			o.Prefix = prefix // lets Badger leave out tables; going back it would refuse to start behind the prefix
		}
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			item := it.Item()
			if back && bytes.Compare(item.Key(), prefix) < 0 {
				return nil
			}
			if !bytes.HasPrefix(item.Key(), prefix) || bytes.Equal(item.Key(), skip) {
				continue
			}
			more := false
			if err := item.Value(func(v []byte) error { more = fn(item.Key(), v); return nil }); err != nil || !more {
				return err
			}
		}
		return nil
	}))
}

// count gives 1 if the store holds any key of its owner, else 0.
func (s *Store) count() (n int, err error) {
	prefix := []byte{prefixData}
	err = s.each(prefix, prefix, nil, false, func([]byte, []byte) bool { n = 1; return false })
	return n, err
}

// Digest is the SHA-256 over all keys and values in ascending order of keys, each behind its length as 8 bytes big-endian: two stores with
// the same digest have the same content.
func (s *Store) Digest() (digest [32]byte, err error) {
	h := sha256.New()
	put := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	err = s.Scan(nil, nil, func(key, value []byte) bool { put(key); put(value); return true })
	return [32]byte(h.Sum(nil)), err
}
