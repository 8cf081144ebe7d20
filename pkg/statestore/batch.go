package statestore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Batch collects writes for one Update. It is for one goroutine. Keys and values are not copied: they must not change until Update returns.
type Batch struct {
	writes []write
	gently bool
}

// Gently has the batch written with pauses, for up to 200 ms, so that others have the processor: for one that nobody waits for. Store.Hurry ends the pauses.
func (b *Batch) Gently() { b.gently = true }

// write is one entry; one without a value says that there is none any more.
type write struct {
	key, value []byte
	empty      bool // a value without bytes was given
}

// Set stores a value, which must not be empty, under a key; within a batch the last write of a key counts.
func (b *Batch) Set(key, value []byte) {
	b.writes = append(b.writes, write{key, value, len(value) == 0})
}

// Delete removes a key; one that does not exist is no error.
func (b *Batch) Delete(key []byte) {
	b.writes = append(b.writes, write{key: key})
}

// Len is the number of writes collected.
func (b *Batch) Len() int { return len(b.writes) }

// Update stores everything fn collects, all or nothing, also across kill -9; an error of fn stores nothing and is returned as it is. Batches are applied one after
// the other; reads see a batch when Update has returned. While merges are far behind it waits for them. Where less than 32 MiB are free nothing is stored, and the
// error wraps syscall.ENOSPC.
func (s *Store) Update(fn func(b *Batch) error) error {
	b := &Batch{}
	if err := fn(b); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err := errors.Join(s.fail(BeforeUpdate), s.Room(0))
	if err == nil {
		err = s.commit(b)
	}
	if err == nil {
		err = s.fail(AfterUpdate)
	}
	if err != nil {
		return fmt.Errorf("update state store: %w", err)
	}
	return nil
}

// Hurry lets a batch that is being written gently go on without pauses. It never blocks.
func (s *Store) Hurry() { s.runs.Hurry() }

func (s *Store) commit(b *Batch) error {
	slices.SortStableFunc(b.writes, func(x, y write) int { return bytes.Compare(x.key, y.key) })
	begin := s.runs.Begin
	if b.gently {
		begin = s.runs.BeginGently
	}
	out, err := begin()
	if err != nil {
		return err
	}
	for i, w := range b.writes {
		if i+1 < len(b.writes) && bytes.Equal(w.key, b.writes[i+1].key) {
			continue
		}
		if w.empty {
			err = fmt.Errorf("the value of %.80q is empty", w.key)
		} else {
			err = out.Set(w.key, w.value)
		}
		if err != nil {
			out.Abandon()
			return err
		}
	}
	return out.Commit(nil)
}

// view runs fn on a snapshot.
func (s *Store) view(fn func(*indexstore.View) error) error {
	v, err := s.runs.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return fn(v)
}
