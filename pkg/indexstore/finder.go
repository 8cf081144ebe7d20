package indexstore

import (
	"bytes"
	"fmt"
)

// Finder looks keys up that come in ascending order: what it has read of a page is not read again. It is for one goroutine, and valid as long as its view.
type Finder struct {
	view *View
	runs []runFinder // newest first
}

// runFinder stands at the last entry of a run that was not above the last key.
type runFinder struct {
	run    *run
	page   int // -1: none was read
	reader pageReader
	begun  bool // the reader stands at an entry
}

// Finder begins to look up.
func (v *View) Finder() *Finder {
	f := &Finder{view: v}
	for i := len(v.runs) - 1; i >= 0; i-- {
		f.runs = append(f.runs, runFinder{run: v.runs[i], page: -1})
	}
	return f
}

// Get gives the value of a key, which must be above the last one, or found as false. The value is valid until the next call.
func (f *Finder) Get(key []byte) (value []byte, found bool, err error) {
	var hash uint64
	known := f.view.store.config.filtered(key)
	if known {
		hash = hashKey(key)
	}
	for i := range f.runs {
		r := &f.runs[i]
		if known && !r.run.filter.may(hash) {
			continue
		}
		if err := r.seek(f.view.store.cache, key); err != nil {
			return nil, false, fmt.Errorf("look up entry: %w", err)
		}
		if r.begun && bytes.Equal(r.reader.key, key) {
			return r.reader.value, true, nil
		}
	}
	return nil, false, nil
}

// seek goes on to the last entry that is not above key.
func (r *runFinder) seek(c *cache, key []byte) error {
	fences := &r.run.fences
	if next := r.page + 1; r.page < 0 || next < len(fences.ends) && bytes.Compare(fences.key(next), key) <= 0 {
		page := fences.page(key)
		if page < 0 {
			return nil
		}
		data, err := r.run.page(c, page)
		if err != nil {
			return err
		}
		r.page, r.begun = page, false
		r.reader.open(data)
	}
	passed, err := r.reader.pass(key, true)
	r.begun = r.begun || passed
	return err
}
