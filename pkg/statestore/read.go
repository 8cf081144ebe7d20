package statestore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Get gives the value stored under a key, which must not be changed: ErrNotFound if there is none, ErrDoubted if it cannot be read any more.
func (s *Store) Get(key []byte) (value []byte, err error) {
	err = s.view(func(v *indexstore.View) (err error) {
		value, _, err = v.Get(key)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("get from state store: %w", err)
	case len(value) == 0:
		return nil, ErrNotFound
	}
	return value, nil
}

// Scan calls fn for every key with a prefix in ascending order, on one snapshot; with after not nil, only for keys behind it. It ends early when fn
// gives false. The slices are valid in fn only; fn may read from the store, but not close it.
func (s *Store) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	err := s.view(func(v *indexstore.View) error {
		return v.Scan(prefix, after, func(key, value []byte) bool {
			return len(value) == 0 || after != nil && bytes.Equal(key, after) || fn(key, value)
		})
	})
	if err != nil {
		return fmt.Errorf("scan state store: %w", err)
	}
	return nil
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
