package indexstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Batch collects what one Commit stores. It is for one goroutine, and there is one at a time.
type Batch struct {
	store   *Store
	run     *runWriter // nil: no entry yet
	content *content
	fresh   bool   // the file of records is new
	begin   int64  // offset of sealed
	sealed  []byte // records that are not written yet
	last    []byte // key of the last entry
	pacer   *pacer
	freed   map[uint64]int64
}

// BeginGently is Begin of a batch that nobody waits for, on a machine where others wait for a processor: it is written with pauses, so that it takes up to a third of the time since the last one, and
// 200 ms at most. Hurry ends the pauses.
func (s *Store) BeginGently() (*Batch, error) {
	b, err := s.Begin()
	if err == nil {
		select {
		case <-s.haste: // it was about another one
		default:
		}
		b.pacer.pause = pauseFor(b.pacer.begun.Sub(s.committed), s.work)
	}
	return b, err
}

// Hurry lets a batch that was begun gently, and is under way, go on without pauses. It never blocks.
func (s *Store) Hurry() { poke(s.haste) }

// Begin begins a batch. It must end with Commit or Abandon before the next one begins. While merges are far behind it waits for them.
func (s *Store) Begin() (*Batch, error) {
	if err := s.merging(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	b := &Batch{store: s, pacer: newPacer(0, s.haste), freed: map[uint64]int64{}}
	if n := len(s.current.contents); n > 0 && s.current.contents[n-1].grows(s.moving) {
		b.content = s.current.contents[n-1]
		b.begin = b.content.Size
		s.batch = true
		return b, nil
	}
	about := contentAbout{Number: s.next, ID: newFileID()}
	s.next++
	c, err := openContent(s.config.Dir, s.config.Key, about, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("begin batch: %w", err)
	}
	b.content, b.fresh, s.batch = c, true, true
	return b, nil
}

// Record takes a record of at most MaxRecord bytes and gives where it will lie.
func (b *Batch) Record(record []byte) (Location, error) {
	if len(record) > MaxRecord {
		return Location{}, fmt.Errorf("a record of %d bytes, the limit is %d", len(record), MaxRecord)
	}
	at := Location{b.content.Number, uint64(b.begin) + uint64(len(b.sealed)), uint32(len(record))}
	b.pacer.step()
	nonce := b.store.nonces.next()
	b.sealed = append(b.sealed, nonce[:]...)
	b.sealed = b.content.aead.Seal(b.sealed, nonce[:], record, nil)
	if len(b.sealed) < writeBytes {
		return at, nil
	}
	return at, b.write()
}

func (b *Batch) write() error {
	if _, err := b.content.file.WriteAt(b.sealed, b.begin); err != nil {
		return fmt.Errorf("write records %d: %w", b.content.Number, err)
	}
	b.begin += int64(len(b.sealed))
	b.sealed = b.sealed[:0]
	return nil
}

// Set takes an entry; its key must be above that of the last one. Key and value are copied.
func (b *Batch) Set(key, value []byte) error {
	if b.run == nil {
		s := b.store
		run, err := s.newRun(0)
		if err != nil {
			return err
		}
		if s.config.Lookups {
			run.filter = &filterBuilder{of: s.config.LookedUp}
		}
		b.run = run
	} else if bytes.Compare(b.last, key) >= 0 {
		return fmt.Errorf("entry %q does not stand above %q", key, b.last)
	}
	b.pacer.step()
	b.last = append(b.last[:0], key...)
	if of := b.store.config.Freed; of != 0 && key[0] == of {
		at, err := parseFreed(key, value)
		if err != nil {
			return err
		}
		b.freed[at.File] += at.sealed()
	}
	return b.run.add(key, value)
}

// newRun begins a run.
func (s *Store) newRun(level int) (*runWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := s.next
	s.next++
	return createRun(s.config.Dir, s.config.Key, number, level)
}

// Commit stores the batch, and a note on how far the store is; the batch is over. After an error nothing of it is stored.
func (b *Batch) Commit(note []byte) error {
	s := b.store
	err := b.write()
	var added *run
	if err == nil && b.run != nil {
		added, err = b.run.finish()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		b.abandon()
		return fmt.Errorf("commit batch: %w", err)
	}
	runs, contents := slices.Clone(s.current.runs), slices.Clone(s.current.contents)
	if added != nil {
		runs = append(runs, added)
	}
	grown := *b.content
	grown.Size = b.begin
	if !b.fresh {
		grown.Freed = contents[len(contents)-1].Freed
		contents = contents[:len(contents)-1]
	}
	if err := s.install(&version{runs: runs, contents: b.giveUp(append(contents, &grown))}, bytes.Clone(note)); err != nil {
		b.abandon()
		return fmt.Errorf("commit batch: %w", err)
	}
	s.committed, s.work, s.batch = time.Now(), b.pacer.work(), false
	poke(s.wake)
	return nil
}

// Abandon ends a batch of which nothing is stored.
func (b *Batch) Abandon() {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.abandon()
}

// abandon is Abandon for who holds mu.
func (b *Batch) abandon() {
	b.store.batch = false
	if b.run != nil {
		b.run.abandon()
	}
	if b.fresh {
		_ = b.content.file.Close()
		_ = os.Remove(b.content.file.Name()) // else the next Open does it
	}
}

// giveUp counts what was given up of some files.
func (b *Batch) giveUp(contents []*content) []*content {
	for i, c := range contents {
		if n := b.freed[c.Number]; n > 0 {
			less := *c
			less.Freed += n
			contents[i] = &less
		}
	}
	return contents
}

// Rest is for a long work between two entries: it makes a pause if the batch is written gently, and one is due.
func (b *Batch) Rest() { b.pacer.step() }

// poke leaves a value in a channel that has room for one. It never blocks.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxFresh is the number of runs of level 0 above which a batch waits for merges.
const maxFresh = 4 * fan

// merging waits while merges are far behind; the error is that of a merge that failed.
func (s *Store) merging() error {
	for {
		s.mu.Lock()
		err, merged, closed := s.mergeErr, s.merged, s.closed
		fresh := s.fresh()
		s.mergeErr = nil
		s.mu.Unlock()
		switch {
		case err != nil:
			poke(s.wake)
			return fmt.Errorf("merge runs: %w", err)
		case closed:
			return ErrClosed
		case fresh < maxFresh:
			return nil
		}
		poke(s.wake)
		<-merged
	}
}

var errStopped = errors.New("store is being closed")
