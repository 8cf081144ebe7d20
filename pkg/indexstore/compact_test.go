package indexstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

const freed = 'x'

func giving(dir string) indexstore.Config {
	c := config(dir)
	c.Lookups, c.Freed = true, freed
	return c
}

// kept is a store some of whose records are given up, and what it must hold.
type kept struct {
	t       *testing.T
	s       *indexstore.Store
	random  *rand.Rand
	records map[string]indexstore.Location
	texts   map[string]string
	gone    []indexstore.Location
}

func newKept(t *testing.T, dir string) *kept {
	k := &kept{t: t, random: rand.New(rand.NewPCG(1, 2)), records: map[string]indexstore.Location{}, texts: map[string]string{}}
	k.open(dir)
	return k
}

func (k *kept) open(dir string) {
	k.t.Helper()
	s, err := indexstore.Open(giving(dir))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = s.Close() })
	k.s = s
}

// batch writes records, and gives some of those up that were there before.
func (k *kept) batch(records, gives int) {
	k.t.Helper()
	b, err := k.s.Begin()
	if err != nil {
		k.t.Fatal(err)
	}
	entries := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(k.records))[:min(gives, len(k.records))] {
		at := k.records[name]
		entries[name] = nil
		entries[string(indexstore.FreedKey(nil, freed, at))] = indexstore.FreedValue(nil, at)
		k.gone = append(k.gone, at)
		delete(k.records, name)
		delete(k.texts, name)
	}
	for range records {
		name := fmt.Sprintf("a%016x", k.random.Uint64())
		text := string(bytes.Repeat([]byte(name), 1+k.random.IntN(60)))
		at, err := b.Record([]byte(text))
		if err != nil {
			k.t.Fatal(err)
		}
		entries[name], k.records[name], k.texts[name] = at.Append(nil), at, text
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := b.Set([]byte(name), entries[name]); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := b.Commit([]byte("note")); err != nil {
		k.t.Fatal(err)
	}
}

// check reads everything: what is kept is as it was, and what was given up is as it was, or gone.
func (k *kept) check() (gone int) {
	k.t.Helper()
	v := view(k.t, k.s)
	defer v.Close()
	found := 0
	err := v.Scan([]byte("a"), nil, func(key, value []byte) bool {
		if len(value) == 0 {
			return true
		}
		found++
		if text, err := record(v, value); err != nil || text != k.texts[string(key)] {
			k.t.Fatalf("record of %s: got %.40q, %v, want %.40q", key, text, err, k.texts[string(key)])
		}
		return true
	})
	if err != nil || found != len(k.texts) {
		k.t.Fatalf("got %d entries, %v, want %d", found, err, len(k.texts))
	}
	for _, at := range k.gone {
		switch _, err := v.Record(at); {
		case errors.Is(err, indexstore.ErrGone):
			gone++
		case err != nil:
			k.t.Fatalf("record that was given up: got %v, want it, or %v", err, indexstore.ErrGone)
		}
	}
	return gone
}

// TestCompaction gives records up again and again: the store shrinks, what is left is read as it was, also from a copy of the folder that a kill would have left, and by who looked
// before.
func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	k := newKept(t, dir)
	for range 8 {
		k.batch(500, 0)
	}
	indexstore.AwaitMerges(k.s)
	full, before := k.s.Size(), view(t, k.s)
	for round := range 12 {
		k.batch(20, 300)
		k.check()
		if round%4 == 3 {
			indexstore.AwaitMerges(k.s)
			k.check()
			closed := k.s
			dir = copyDir(t, dir)
			k.open(dir)
			k.check()
			if round == 3 {
				n := 0
				err := before.Scan([]byte("a"), nil, func(_, value []byte) bool {
					_, err := record(before, value)
					if n++; err != nil {
						t.Error(err)
					}
					return err == nil
				})
				if err != nil || n != 4000 {
					t.Errorf("view from before: got %d records, %v, want 4000", n, err)
				}
				before.Close()
			}
			if err := closed.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if gone := k.check(); gone < 3000 {
		t.Errorf("%d of %d records that were given up are gone, want 3000 or more", gone, len(k.gone))
	}
	if size := k.s.Size(); size*3 > full {
		t.Errorf("%d bytes are left of %d for %d records of 4000", size, full, len(k.texts))
	}
	if err := k.s.Close(); err != nil {
		t.Fatal(err)
	}
	k.open(dir)
	k.check()
}

// TestCompactionBeside compacts while batches come and views read.
func TestCompactionBeside(t *testing.T) {
	k := newKept(t, t.TempDir())
	for range 40 {
		k.batch(200, 150)
		k.check()
	}
	indexstore.AwaitMerges(k.s)
	if gone := k.check(); gone == 0 {
		t.Error("nothing is gone, want most of what was given up")
	}
}
