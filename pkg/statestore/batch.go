package statestore

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Batch collects writes for one Update. It is for one goroutine. Keys and values are not copied: they must not change until Update returns.
type Batch struct {
	writes []write
}

type write struct {
	key, value []byte
	remove     bool
}

// Set stores a value under a key; within a batch the last write of a key counts.
func (b *Batch) Set(key, value []byte) {
	b.writes = append(b.writes, write{key: dataKey(key), value: value})
}

// Delete removes a key; one that does not exist is no error.
func (b *Batch) Delete(key []byte) {
	b.writes = append(b.writes, write{key: dataKey(key), remove: true})
}

// Len is the number of writes collected.
func (b *Batch) Len() int { return len(b.writes) }

// Update stores everything fn collects, all or nothing, also across kill -9; an error of fn stores nothing and is returned as it is. A batch may hold
// up to 20,000 writes and 2 MiB of keys and values, else ErrTooLarge, with nothing stored. Batches are applied one after the other; reads see
// a batch when Update has returned. Keys are 0 to 60,000 bytes.
func (s *Store) Update(fn func(b *Batch) error) error {
	b := &Batch{}
	if err := fn(b); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := b.check(); err != nil {
		return fmt.Errorf("update state store: %w", err)
	}
	if err := s.commit(b); err != nil {
		return fmt.Errorf("update state store: %w", err)
	}
	return nil
}

// Limits of one batch. options sizes Badger's table in memory so that they fit.
const (
	maxBatchWrites = 20_000
	maxBatchBytes  = 2 << 20
	maxKeyBytes    = 60_000
)

func (b *Batch) check() error {
	if len(b.writes) > maxBatchWrites {
		return fmt.Errorf("%d writes, the limit is %d: %w", len(b.writes), maxBatchWrites, ErrTooLarge)
	}
	size := 0
	for _, w := range b.writes {
		if len(w.key) > maxKeyBytes {
			return fmt.Errorf("a key of %d bytes, the limit is %d: %w", len(w.key), maxKeyBytes, ErrTooLarge)
		}
		size += len(w.key) + len(w.value)
	}
	if size > maxBatchBytes {
		return fmt.Errorf("%d bytes, the limit is %d: %w", size, maxBatchBytes, ErrTooLarge)
	}
	return nil
}

// commit writes one Badger transaction. Badger refuses one that is too large while it is being filled, so before anything is written.
func (s *Store) commit(b *Batch) error {
	return classify(guard(func() error {
		txn := s.db.NewTransaction(true)
		defer txn.Discard()
		for _, w := range b.writes {
			if err := w.apply(txn); err != nil {
				return err
			}
		}
		return txn.Commit()
	}))
}

func (w write) apply(txn *badger.Txn) error {
	err := error(nil)
	if w.remove {
		err = txn.Delete(w.key)
	} else {
		err = txn.Set(w.key, w.value)
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}
