// Package stagingtest holds what every bucket of staged commits must do, and a bucket in memory.
package stagingtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/staging"
)

// Memory is a bucket that ends with its process. Safe for concurrent use.
type Memory struct {
	mu       sync.Mutex // guards what follows
	values   map[string][]byte
	revision map[string]uint64
	last     uint64
}

// NewMemory makes an empty bucket.
func NewMemory() *Memory { return &Memory{values: map[string][]byte{}, revision: map[string]uint64{}} }

// Get implements staging.Bucket.
func (m *Memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.values[key]), m.revision[key], nil
}

// Put implements staging.Bucket.
func (m *Memory) Put(_ context.Context, key string, value []byte, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revision[key] != revision {
		return fmt.Errorf("put at revision %d: %w", revision, eventlog.ErrTaken)
	}
	m.last++
	m.values[key], m.revision[key] = bytes.Clone(value), m.last
	return nil
}

// Delete implements staging.Bucket.
func (m *Memory) Delete(_ context.Context, key string, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revision[key] != revision {
		return fmt.Errorf("delete at revision %d: %w", revision, eventlog.ErrTaken)
	}
	delete(m.values, key)
	delete(m.revision, key)
	return nil
}

// Keys implements staging.Bucket.
func (m *Memory) Keys(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.values)), nil
}

// Values is everything that the bucket holds, by key.
func (m *Memory) Values() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]byte{}
	for key, value := range m.values {
		out[key] = bytes.Clone(value)
	}
	return out
}

// TestBucket runs the suite. open gives a new handle on the same bucket each time it is called; tooLarge is more than a value may have, 0: no limit.
func TestBucket(t *testing.T, open func(*testing.T) staging.Bucket, tooLarge int) {
	t.Run("a key that is not there", func(t *testing.T) {
		b := open(t)
		expect(t, b, "absent", nil)
		for what, err := range map[string]error{
			"put":    b.Put(t.Context(), "absent", []byte("x"), 7),
			"delete": b.Delete(t.Context(), "absent", 7),
		} {
			if !errors.Is(err, eventlog.ErrTaken) {
				t.Errorf("%s at a wrong revision: got %v, want ErrTaken", what, err)
			}
		}
		expect(t, b, "absent", nil)
	})
	t.Run("put, change, take back, put again", func(t *testing.T) {
		b, other := open(t), open(t)
		var before uint64
		for _, value := range [][]byte{{1}, {2, 0, 3}, bytes.Repeat([]byte{7}, 200_000)} {
			put(t, b, "key", value, before)
			if err := other.Put(t.Context(), "key", []byte("old"), before); !errors.Is(err, eventlog.ErrTaken) {
				t.Errorf("put at an old revision: got %v, want ErrTaken", err)
			}
			before = expect(t, other, "key", value)
		}
		if err := b.Delete(t.Context(), "key", before-1); before > 1 && !errors.Is(err, eventlog.ErrTaken) {
			t.Errorf("delete at an old revision: got %v, want ErrTaken", err)
		}
		expect(t, other, "key", bytes.Repeat([]byte{7}, 200_000))
		if err := b.Delete(t.Context(), "key", before); err != nil {
			t.Fatal(err)
		}
		expect(t, other, "key", nil)
		put(t, other, "key", []byte("again"), 0)
		expect(t, b, "key", []byte("again"))
		expect(t, b, "ke", nil)
	})
	t.Run("keys", func(t *testing.T) {
		b := open(t)
		put(t, b, "listed", []byte{1}, 0)
		put(t, b, "listed-too", []byte{2}, 0)
		keys, err := open(t).Keys(t.Context())
		if err != nil || !slices.Contains(keys, "listed") || !slices.Contains(keys, "listed-too") || slices.Contains(keys, "absent") {
			t.Errorf("got %v, %v, want listed and listed-too among them", keys, err)
		}
	})
	t.Run("of many at once one wins each round", func(t *testing.T) { race(t, open) })
	if tooLarge > 0 {
		t.Run("too large", func(t *testing.T) {
			b := open(t)
			if err := b.Put(t.Context(), "large", make([]byte, tooLarge), 0); !errors.Is(err, eventlog.ErrRefused) {
				t.Errorf("put %d bytes: got %v, want ErrRefused", tooLarge, err)
			}
			expect(t, b, "large", nil)
		})
	}
}

// race counts in a value with several handles at once: no step may be lost.
func race(t *testing.T, open func(*testing.T) staging.Bucket) {
	const workers, steps = 8, 25
	var running sync.WaitGroup
	for range workers {
		b := open(t)
		running.Go(func() {
			for range steps {
				for {
					value, revision, err := b.Get(t.Context(), "count")
					if err == nil {
						err = b.Put(t.Context(), "count", append(value, '.'), revision)
					}
					if err == nil {
						break
					}
					if !errors.Is(err, eventlog.ErrTaken) {
						t.Errorf("got %v, want ErrTaken or success", err)
						return
					}
				}
			}
		})
	}
	running.Wait()
	expect(t, open(t), "count", bytes.Repeat([]byte("."), workers*steps))
}

func put(t *testing.T, b staging.Bucket, key string, value []byte, revision uint64) {
	t.Helper()
	if err := b.Put(t.Context(), key, value, revision); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// expect holds the value of a key, nil meaning none, and gives its revision.
func expect(t *testing.T, b staging.Bucket, key string, want []byte) uint64 {
	t.Helper()
	value, revision, err := b.Get(t.Context(), key)
	if err != nil || !bytes.Equal(value, want) || (revision == 0) != (want == nil) {
		t.Errorf("key %s: got %d bytes at revision %d, %v, want %d bytes", key, len(value), revision, err, len(want))
	}
	return revision
}
