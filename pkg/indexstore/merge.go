package indexstore

import (
	"bytes"
	"errors"
	"slices"
)

// fan is the number of runs of one level that are merged into one of the next: the price of an entry is one merge a level, and a read
// looks into less than fan runs of each.
const fan = 4

// merge merges while there is something to merge, until the store closes.
func (s *Store) merge() {
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		for {
			more, err := s.mergeOnce()
			if !more && err == nil {
				more, err = s.compactOnce()
			}
			s.mu.Lock()
			if err != nil && !errors.Is(err, errStopped) {
				s.mergeErr = err
			}
			close(s.merged)
			s.merged = make(chan struct{})
			s.mu.Unlock()
			if !more || err != nil {
				break
			}
		}
	}
}

// mergeOnce merges the newest runs of one level, the lowest that has enough.
func (s *Store) mergeOnce() (bool, error) {
	s.mu.Lock()
	from, to := mergeable(s.current.runs)
	level := 0
	if from != to {
		level = s.current.runs[from].Level + 1
	} else if s.config.Freed != 0 && hollow(s.current.runs) {
		from, to, level = 0, len(s.current.runs), s.current.runs[0].Level
	} else {
		s.mu.Unlock()
		return false, nil
	}
	if s.config.Room != nil {
		if err := s.config.Room(); err != nil {
			s.mu.Unlock()
			return false, err
		}
	}
	old, pause := s.current.runs[from:to], s.mergePause()
	s.mu.Unlock() // only this goroutine takes runs away, so old stays open
	out, err := s.mergeRuns(old, level, from == 0, newPacer(pause, s.quit))
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := slices.Clone(s.current.runs)
	runs = slices.Replace(runs, from, to, out)
	if err := s.install(&version{runs: runs, contents: s.current.contents}, s.note); err != nil {
		_ = out.file.Close() // the next Open removes it
		return false, err
	}
	return true, nil
}

// mergeable gives the runs of the lowest level that has fan of them; levels do not ascend, so they lie together.
func mergeable(runs []*run) (from, to int) {
	for to = len(runs); to > 0; to = from {
		level := runs[to-1].Level
		for from = to - 1; from > 0 && runs[from-1].Level == level; from-- {
		}
		if to-from >= fan {
			return from, to
		}
	}
	return 0, 0
}

// mergePause is how long the pauses of a merge are, beside the work: none when batches come faster than they are merged. The caller holds mu.
func (s *Store) mergePause() float64 {
	if s.fresh() >= 2*fan {
		return 0
	}
	return 1
}

// fresh is the number of runs that were not merged yet; the caller holds mu.
func (s *Store) fresh() (n int) {
	for _, r := range s.current.runs {
		if r.Level == 0 {
			n++
		}
	}
	return n
}

// hollow reports whether so many entries say that there is none any more that all runs are merged.
func hollow(runs []*run) bool {
	empty, entries := uint64(0), uint64(0)
	for _, r := range runs {
		empty, entries = empty+r.Empty, entries+r.Entries
	}
	return empty > 0 && 8*empty >= entries // each goes with the one that it hides
}

// mergeRuns writes one run from several, oldest first. oldest says that there is none before them.
func (s *Store) mergeRuns(old []*run, level int, oldest bool, pacer *pacer) (*run, error) {
	w, err := s.newRun(level)
	if err != nil {
		return nil, err
	}
	if s.config.Lookups {
		w.filter = s.mergedFilter(old)
	}
	m := newMerged(old, nil)
	err = m.seek(nil)
	for n := 0; err == nil && m.at >= 0; n++ {
		pacer.step()
		if n%4096 == 0 && s.stopping() {
			err = errStopped
			break
		}
		gone := oldest && s.config.Lookups && len(m.value()) == 0
		if !gone && s.config.Freed != 0 && m.key()[0] == s.config.Freed {
			gone, err = s.settled(m.key(), m.value())
		}
		if err == nil && !gone {
			err = w.add(m.key(), m.value())
		}
		if err == nil {
			err = m.next()
		}
	}
	var out *run
	if err == nil {
		out, err = w.finish()
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return out, nil
}

// mergedFilter begins the filter of a run that is made of others. Their entries are not counted where only some have part in it.
func (s *Store) mergedFilter(old []*run) *filterBuilder {
	if s.config.LookedUp != nil {
		return &filterBuilder{of: s.config.LookedUp}
	}
	entries := uint64(0)
	for _, r := range old {
		entries += r.Entries
	}
	return &filterBuilder{filter: newFilter(entries)}
}

func (s *Store) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// merged goes through several runs in ascending order of keys; of entries with one key the newest run's counts.
type merged struct {
	runs []runIterator // oldest first
	at   int           // the one that has the present entry; -1 at the end
}

// newMerged goes through runs; with a nil cache pages are read past it.
func newMerged(runs []*run, c *cache) *merged {
	m := &merged{runs: make([]runIterator, len(runs))}
	for i, r := range runs {
		m.runs[i] = runIterator{run: r, cache: c}
	}
	return m
}

func (m *merged) key() []byte   { return m.runs[m.at].reader.key }
func (m *merged) value() []byte { return m.runs[m.at].reader.value }

// seek moves to the first entry whose key is not below key; nil is the first of all.
func (m *merged) seek(key []byte) error {
	for i := range m.runs {
		if err := m.runs[i].seek(key); err != nil {
			return err
		}
	}
	return m.choose()
}

func (m *merged) next() error {
	if err := m.runs[m.at].next(); err != nil {
		return err
	}
	return m.choose()
}

// choose finds the lowest key, and moves older runs that have the same one past it.
func (m *merged) choose() error {
	m.at = -1
	for i := len(m.runs) - 1; i >= 0; i-- {
		it := &m.runs[i]
		if !it.valid {
			continue
		}
		c := -1
		if m.at >= 0 {
			c = bytes.Compare(it.reader.key, m.key())
		}
		for c == 0 {
			if err := it.next(); err != nil {
				return err
			}
			if c = 1; it.valid {
				c = bytes.Compare(it.reader.key, m.key())
			}
		}
		if c < 0 {
			m.at = i
		}
	}
	return nil
}

// runIterator goes through one run.
type runIterator struct {
	run    *run
	cache  *cache
	page   int
	reader pageReader
	valid  bool
}

func (it *runIterator) seek(key []byte) error {
	it.page, it.valid = max(it.run.fences.page(key), 0), false
	if it.page >= len(it.run.fences.ends) {
		return nil
	}
	if err := it.open(); err != nil {
		return err
	}
	if _, err := it.reader.pass(key, false); err != nil {
		return err
	}
	return it.next()
}

func (it *runIterator) open() (err error) {
	var page []byte
	if it.cache != nil {
		page, err = it.run.page(it.cache, it.page)
	} else {
		page, err = it.run.unseal(it.run.fences.offsets[it.page], it.run.fences.offsets[it.page+1])
	}
	if err == nil {
		it.reader.open(page)
	}
	return err
}

func (it *runIterator) next() (err error) {
	for {
		if it.valid, err = it.reader.next(); err != nil || it.valid {
			return err
		}
		if it.page+1 >= len(it.run.fences.ends) {
			return nil
		}
		it.page++
		if err := it.open(); err != nil {
			return err
		}
	}
}
