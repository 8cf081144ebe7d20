package indexstore

import (
	"bytes"
	"fmt"
)

// View is the store as it was at one time. It is safe for concurrent use, and must be closed: until then the store neither closes nor gives up files.
type View struct {
	store   *Store
	version *version
	runs    []*run // of version, or some of them
}

// View gives the store as it is now.
func (s *Store) View() (*View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.views.Add(1)
	s.current.users++
	return &View{s, s.current, s.current.runs}, nil
}

// Close ends the view.
func (v *View) Close() {
	v.store.mu.Lock()
	v.store.release(v.version)
	v.store.mu.Unlock()
	v.store.views.Done()
}

// Holding gives the same view, but of no more of the runs than those in which a key may stand: who knows that other keys only stand beside this one finds them with fewer looks. Only v
// is closed.
func (v *View) Holding(key []byte) *View {
	if !v.store.config.filtered(key) {
		return v
	}
	hash := hashKey(key)
	some := &View{store: v.store, version: v.version, runs: make([]*run, 0, 4)}
	for _, r := range v.runs {
		if r.filter.may(hash) {
			some.runs = append(some.runs, r)
		}
	}
	return some
}

// Get gives the value of a key, or found as false.
func (v *View) Get(key []byte) (value []byte, found bool, err error) {
	at, value, found, err := v.floor(key, true)
	if found = found && bytes.Equal(at, key); !found {
		value = nil
	}
	return value, found, err
}

// Floor gives the entry with the highest key that has a prefix and is not above key, or found as false. The slices are the caller's.
func (v *View) Floor(prefix, key []byte) (at, value []byte, found bool, err error) {
	at, value, found, err = v.floor(key, false)
	return at, value, found && bytes.HasPrefix(at, prefix), err
}

// floor gives the highest entry of all runs that is not above key; if exact is true, it may end with any entry when the key was found.
func (v *View) floor(key []byte, exact bool) (at, value []byte, found bool, err error) {
	var reader pageReader
	var hash uint64
	known := exact && v.store.config.filtered(key)
	if known {
		hash = hashKey(key)
	}
	for i := len(v.runs) - 1; i >= 0; i-- {
		r := v.runs[i]
		if known && !r.filter.may(hash) {
			continue
		}
		p := r.fences.page(key)
		if p < 0 {
			continue
		}
		page, err := r.page(v.store.cache, p)
		if err != nil {
			return nil, nil, false, fmt.Errorf("look up entry: %w", err)
		}
		ok, err := reader.floor(page, key)
		if err != nil {
			return nil, nil, false, fmt.Errorf("look up entry: %w", err)
		}
		if ok && (!found || bytes.Compare(reader.key, at) > 0) {
			at, value, found = append(at[:0], reader.key...), reader.value, true
		}
		if exact && found && bytes.Equal(at, key) {
			break
		}
	}
	return at, value, found, nil
}

// Scan calls fn for every entry whose key has a prefix, in ascending order; with from not nil, only for those not below it. It ends early when fn
// gives false. The slices are valid in fn only.
func (v *View) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	m := newMerged(v.runs, v.store.cache)
	err := m.seek(from)
	for err == nil && m.at >= 0 && bytes.HasPrefix(m.key(), prefix) && fn(m.key(), m.value()) {
		err = m.next()
	}
	if err != nil {
		return fmt.Errorf("scan entries: %w", err)
	}
	return nil
}

// Record reads a record, in memory of its own. ErrGone: it was given up, and the file that held it compacted.
func (v *View) Record(at Location) ([]byte, error) {
	for i := len(v.version.contents) - 1; i >= 0; i-- {
		if c := v.version.contents[i]; c.Number == at.File {
			return c.read(v.store.cache, at)
		}
	}
	return nil, fmt.Errorf("records %d are not in the store: %w", at.File, ErrDoubted)
}
