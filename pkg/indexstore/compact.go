package indexstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// A file of records a quarter of which was given up is compacted: the rest is copied as it is, sealed bytes and all, into another file, and a sorted run leads from the offsets that
// records have to where they lie now. So nothing that names a record has to change. A crash before the manifest is replaced leaves the file as it was.

// leastFreed is what must have been given up of a file before it is worth copying the rest.
const leastFreed = 64 << 10

// FreedKey is the key, under the first byte of Config.Freed, of an entry that gives a record up; FreedValue is its value. A record is given up once.
func FreedKey(b []byte, kind byte, l Location) []byte {
	b = append(b, kind)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, l.File), l.Offset)
}

// FreedValue is the value of an entry that gives a record up.
func FreedValue(b []byte, l Location) []byte { return binary.AppendUvarint(b, uint64(l.Length)) }

func parseFreed(key, value []byte) (l Location, err error) {
	length, n := binary.Uvarint(value)
	if len(key) != 17 || n <= 0 || length > MaxRecord {
		return l, fmt.Errorf("entry of a record that is given up: %w", ErrDoubted)
	}
	return Location{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:]), uint32(length)}, nil
}

// live is the bytes of records of a file, those given up among them.
func (c *content) live() int64 {
	if c.kept != nil {
		return c.Held
	}
	return c.Size
}

// due reports whether a file is to be compacted.
func (c *content) due() bool { return c.Freed >= leastFreed && 4*c.Freed >= c.live() }

// grows reports whether a file takes further records.
func (c *content) grows(moving uint64) bool {
	return c.Size < maxContent && c.kept == nil && c.Number != moving && !c.due()
}

func (c *content) close() {
	_ = c.file.Close()
	if c.kept != nil {
		_ = c.kept.file.Close()
	}
}

func (c *content) remove(dir string) {
	_ = os.Remove(c.path(dir)) // else the next Open does it
	if c.kept != nil {
		_ = os.Remove(runPath(dir, c.kept.Number))
	}
}

// moved is where a record lies in the file of a compacted one.
func (c *content) moved(pages *cache, l Location) (int64, error) {
	var reader pageReader
	key := binary.BigEndian.AppendUint64(nil, l.Offset)
	i := c.kept.fences.page(key)
	if i < 0 {
		return 0, fmt.Errorf("records %d at %d: %w", c.Number, l.Offset, ErrGone)
	}
	page, err := c.kept.page(pages, i)
	if err != nil {
		return 0, err
	}
	if _, err := reader.floor(page, key); err != nil {
		return 0, err
	}
	e, err := parseExtent(reader.key, reader.value)
	if err != nil {
		return 0, err
	}
	if int64(l.Offset)+l.sealed() > e.to {
		return 0, fmt.Errorf("records %d at %d: %w", c.Number, l.Offset, ErrGone)
	}
	return e.at + int64(l.Offset) - e.from, nil
}

// extent is that what had the offsets [from, to) lies at an offset of the present file.
type extent struct{ from, to, at int64 }

func parseExtent(key, value []byte) (e extent, err error) {
	at, n := binary.Uvarint(value)
	length, m := binary.Uvarint(value[max(n, 0):])
	if len(key) != 8 || n <= 0 || m <= 0 {
		return e, fmt.Errorf("entry of records that were moved: %w", ErrDoubted)
	}
	e.from, e.at = int64(binary.BigEndian.Uint64(key)), int64(at)
	e.to = e.from + int64(length)
	return e, nil
}

// settled reports whether an entry that gives a record up is needed no more: its file was compacted since.
func (s *Store) settled(key, value []byte) (bool, error) {
	at, err := parseFreed(key, value)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	var of *content
	for _, c := range s.current.contents {
		if c.Number == at.File {
			of = c
		}
	}
	s.mu.Unlock()
	if of == nil || of.kept == nil { // only this goroutine compacts, so it stays open
		return false, nil
	}
	if _, err = of.moved(s.cache, at); errors.Is(err, ErrGone) {
		return true, nil
	}
	return false, err
}

// compactable gives a file that is to be compacted, nil if there is none; the caller holds mu. The last one is left alone while a batch writes it.
func (s *Store) compactable() *content {
	if s.config.Freed == 0 {
		return nil
	}
	for i, c := range s.current.contents {
		if c.due() && !(s.batch && i == len(s.current.contents)-1) {
			return c
		}
	}
	return nil
}

// compactOnce compacts one file.
func (s *Store) compactOnce() (bool, error) {
	s.mu.Lock()
	old := s.compactable()
	if old == nil {
		s.mu.Unlock()
		return false, nil
	}
	if s.config.Room != nil {
		if err := s.config.Room(); err != nil {
			s.mu.Unlock()
			return false, err
		}
	}
	s.moving = old.Number
	runs, stored := s.current.runs, s.next
	s.next++
	s.mu.Unlock()
	fresh, err := s.compact(old, runs, stored)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = 0
	if err != nil {
		return false, err
	}
	contents := make([]*content, len(s.current.contents))
	for i, c := range s.current.contents {
		if contents[i] = c; c.Number == old.Number {
			fresh.Freed = c.Freed - old.Freed // what was given up meanwhile
			contents[i] = fresh
		}
	}
	if err := s.install(&version{runs: s.current.runs, contents: contents}, s.note); err != nil {
		fresh.close() // the next Open removes it
		return false, err
	}
	return true, nil
}

// compact writes the file that takes the place of another one.
func (s *Store) compact(old *content, runs []*run, stored uint64) (*content, error) {
	file, err := os.OpenFile(contentPath(s.dir(), stored), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("compact records %d: %w", old.Number, err)
	}
	c := compaction{store: s, old: old, file: file, pacer: newPacer(1, s.quit)}
	if c.kept, err = s.newRun(0); err == nil {
		err = c.copy(runs)
	}
	var kept *run
	if err == nil {
		kept, err = c.kept.finish()
	}
	if err != nil {
		_, _ = file.Close(), os.Remove(file.Name()) // else the next Open removes it
		if c.kept != nil {
			c.kept.abandon()
		}
		return nil, fmt.Errorf("compact records %d: %w", old.Number, err)
	}
	about := contentAbout{Number: old.Number, ID: old.ID, Size: old.Size, Stored: stored, Held: c.end, Kept: &kept.runAbout}
	return &content{contentAbout: about, file: file, aead: old.aead, kept: kept, use: new(int)}, nil
}

func (s *Store) dir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.Dir
}

// compaction is one under way.
type compaction struct {
	store  *Store
	old    *content
	file   *os.File
	kept   *runWriter
	end    int64  // of what was copied
	buffer []byte // what is not written yet
	count  int
	pacer  *pacer
}

// copy copies what was not given up.
func (c *compaction) copy(runs []*run) error {
	freed := newMerged(runs, nil)
	prefix := binary.BigEndian.AppendUint64([]byte{c.store.config.Freed}, c.old.Number)
	if err := freed.seek(prefix); err != nil {
		return err
	}
	err := c.extents(func(e extent) error {
		cut := e.from
		for ; freed.at >= 0 && string(freed.key()[:min(9, len(freed.key()))]) == string(prefix); cut = max(cut, e.from) {
			l, err := parseFreed(freed.key(), freed.value())
			if err != nil {
				return err
			}
			if int64(l.Offset) >= e.to {
				break
			}
			if err := c.keep(extent{cut, max(cut, int64(l.Offset)), e.at + cut - e.from}); err != nil {
				return err
			}
			cut = max(cut, int64(l.Offset)+l.sealed())
			if err := freed.next(); err != nil {
				return err
			}
		}
		return c.keep(extent{cut, max(cut, e.to), e.at + cut - e.from})
	})
	if err != nil {
		return err
	}
	return c.write()
}

// extents gives what the file holds, in ascending order.
func (c *compaction) extents(fn func(extent) error) error {
	if c.old.kept == nil {
		return fn(extent{0, c.old.Size, 0})
	}
	it := runIterator{run: c.old.kept}
	err := it.seek(nil)
	for ; err == nil && it.valid; err = it.next() {
		var e extent
		if e, err = parseExtent(it.reader.key, it.reader.value); err == nil {
			err = fn(e)
		}
		if err != nil {
			break
		}
	}
	return err
}

// keepBytes is how much of an extent is read at once.
const keepBytes = 1 << 20

// keep copies an extent; one without bytes is left out.
func (c *compaction) keep(e extent) error {
	if e.from >= e.to {
		return nil
	}
	c.pacer.step()
	if c.count++; c.count%1024 == 0 && c.store.stopping() {
		return errStopped
	}
	value := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(c.end)), uint64(e.to-e.from))
	if err := c.kept.add(binary.BigEndian.AppendUint64(nil, uint64(e.from)), value); err != nil {
		return err
	}
	for at := e.at; at < e.at+e.to-e.from; {
		n := min(keepBytes, e.at+e.to-e.from-at)
		from := len(c.buffer)
		c.buffer = append(c.buffer, make([]byte, n)...)
		if _, err := c.old.file.ReadAt(c.buffer[from:], at); err != nil {
			return unreadable("read records", err)
		}
		at, c.end = at+n, c.end+n
		if len(c.buffer) >= keepBytes {
			if err := c.write(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compaction) write() error {
	if _, err := c.file.WriteAt(c.buffer, c.end-int64(len(c.buffer))); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	c.buffer = c.buffer[:0]
	return nil
}
