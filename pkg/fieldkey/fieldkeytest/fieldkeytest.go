// Package fieldkeytest holds what every bucket of field keys must do, and a bucket in memory.
package fieldkeytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
)

// patience is how long a change may be unknown before the suite fails.
const patience = 20 * time.Second

// Memory is a bucket that ends with its process. Safe for concurrent use.
type Memory struct {
	// Fail, if it is set before the first use, is asked about each change: before says that it was not made yet. An error makes the change fail there.
	Fail func(what string, before bool) error

	mu     sync.Mutex // guards what follows
	values map[string]entry
	last   uint64
	reads  int
}

type entry struct {
	value    []byte
	revision uint64
}

// NewMemory makes an empty bucket.
func NewMemory() *Memory { return &Memory{values: map[string]entry{}} }

// Get implements fieldkey.Bucket.
func (m *Memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	e := m.values[key]
	return bytes.Clone(e.value), e.revision, nil
}

// Put implements fieldkey.Bucket.
func (m *Memory) Put(_ context.Context, key string, value []byte, revision uint64) error {
	if err := m.fail("put", true); err != nil {
		return err
	}
	m.mu.Lock()
	if m.values[key].revision != revision {
		m.mu.Unlock()
		return fmt.Errorf("put at revision %d: %w", revision, eventlog.ErrTaken)
	}
	m.last++
	m.values[key] = entry{bytes.Clone(value), m.last}
	m.mu.Unlock()
	return m.fail("put", false)
}

// Erase implements fieldkey.Bucket.
func (m *Memory) Erase(_ context.Context, key string, revision uint64) error {
	if err := m.fail("erase", true); err != nil {
		return err
	}
	m.mu.Lock()
	if e := m.values[key]; e.revision == revision {
		clear(e.value)
		delete(m.values, key)
	}
	m.mu.Unlock()
	return m.fail("erase", false)
}

func (m *Memory) fail(what string, before bool) error {
	if m.Fail == nil {
		return nil
	}
	return m.Fail(what, before)
}

// Reads is how often a value was asked for.
func (m *Memory) Reads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// Values is everything that the bucket holds, by key.
func (m *Memory) Values() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]byte{}
	for key, e := range m.values {
		out[key] = bytes.Clone(e.value)
	}
	return out
}

// TestBucket runs the suite. open gives a new handle on the same bucket each time it is called.
func TestBucket(t *testing.T, open func(*testing.T) fieldkey.Bucket) {
	t.Run("a key that is not there", func(t *testing.T) {
		b := open(t)
		expect(t, b, "absent", nil)
		if err := Put(t, b, "absent", []byte("x"), 7); !errors.Is(err, eventlog.ErrTaken) {
			t.Errorf("put at a wrong revision: got %v, want ErrTaken", err)
		}
		if err := b.Erase(t.Context(), "absent", 7); err != nil {
			t.Errorf("erase: got %v, want no error", err)
		}
		expect(t, b, "absent", nil)
	})
	t.Run("put, erase, put again", func(t *testing.T) {
		b, other := open(t), open(t)
		for _, value := range []string{"first", "second"} {
			if err := Put(t, b, "key", []byte(value), 0); err != nil {
				t.Fatal(err)
			}
			if err := Put(t, other, "key", []byte("late"), 0); !errors.Is(err, eventlog.ErrTaken) {
				t.Errorf("put where there is one: got %v, want ErrTaken", err)
			}
			revision := expect(t, other, "key", []byte(value))
			for _, wrong := range []uint64{revision - 1, revision + 1} {
				if err := b.Erase(t.Context(), "key", wrong); err != nil {
					t.Errorf("erase revision %d: %v", wrong, err)
				}
			}
			expect(t, other, "key", []byte(value))
			for range 2 {
				if err := other.Erase(t.Context(), "key", revision); err != nil {
					t.Fatal(err)
				}
				expect(t, b, "key", nil)
			}
		}
	})
	t.Run("of many at once one makes it", func(t *testing.T) { race(t, open) })
}

func race(t *testing.T, open func(*testing.T) fieldkey.Bucket) {
	const workers = 8
	var made sync.Map
	var running sync.WaitGroup
	for i := range workers {
		b := open(t)
		running.Go(func() {
			value := fmt.Sprintf("value %d", i)
			err := Put(t, b, "contended", []byte(value), 0)
			if err == nil {
				made.Store(value, true)
			} else if !errors.Is(err, eventlog.ErrTaken) {
				t.Errorf("got %v, want ErrTaken or success", err)
			}
		})
	}
	running.Wait()
	var all []string
	made.Range(func(k, _ any) bool { all = append(all, k.(string)); return true })
	if len(all) != 1 {
		t.Fatalf("%d were told that they made it, want 1", len(all))
	}
	expect(t, open(t), "contended", []byte(all[0]))
}

// Put is Bucket.Put; a change whose outcome is unknown, as it is while a replicated bucket is made or changes its leader, is repeated, for 20 s, and what is stored tells whether it was made.
func Put(t *testing.T, b fieldkey.Bucket, key string, value []byte, revision uint64) error {
	err := b.Put(t.Context(), key, value, revision)
	for end := time.Now().Add(patience); errors.Is(err, eventlog.ErrUnknown) && time.Now().Before(end); {
		if err = b.Put(t.Context(), key, value, revision); !errors.Is(err, eventlog.ErrTaken) {
			continue
		}
		if stored, _, unread := b.Get(t.Context(), key); unread == nil && bytes.Equal(stored, value) {
			return nil
		}
	}
	return err
}

// expect holds the value of a key, nil meaning none, and gives its revision.
func expect(t *testing.T, b fieldkey.Bucket, key string, want []byte) uint64 {
	t.Helper()
	value, revision, err := b.Get(t.Context(), key)
	if err != nil || !bytes.Equal(value, want) || (revision == 0) != (want == nil) {
		t.Errorf("key %s: got %d bytes at revision %d, %v, want %d bytes", key, len(value), revision, err, len(want))
	}
	return revision
}
