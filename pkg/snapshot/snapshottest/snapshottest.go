// Package snapshottest holds a bucket of snapshots in memory.
package snapshottest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Memory is a bucket that ends with its process. Safe for concurrent use.
type Memory struct {
	mu     sync.Mutex // guards what follows
	values map[string]entry
	last   uint64
	gets   int
}

type entry struct {
	value    []byte
	revision uint64
}

// NewMemory makes an empty bucket.
func NewMemory() *Memory { return &Memory{values: map[string]entry{}} }

// Get implements snapshot.Bucket.
func (m *Memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets++
	e := m.values[key]
	return bytes.Clone(e.value), e.revision, nil
}

// Put implements snapshot.Bucket.
func (m *Memory) Put(_ context.Context, key string, value []byte, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key].revision != revision {
		return fmt.Errorf("put at revision %d: %w", revision, eventlog.ErrTaken)
	}
	m.last++
	m.values[key] = entry{bytes.Clone(value), m.last}
	return nil
}

// Below implements snapshot.Bucket.
func (m *Memory) Below(_ context.Context, prefix string) (keys []string, err error) {
	for _, key := range m.Keys() {
		if strings.HasPrefix(key, prefix+".") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Next implements snapshot.Bucket.
func (m *Memory) Next(_ context.Context, prefix string, above uint64) (key string, value []byte, revision uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.values {
		if strings.HasPrefix(k, prefix+".") && e.revision > above && (revision == 0 || e.revision < revision) {
			key, value, revision = k, bytes.Clone(e.value), e.revision
		}
	}
	return key, value, revision, nil
}

// Erase implements snapshot.Bucket.
func (m *Memory) Erase(_ context.Context, key string, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key].revision == revision {
		delete(m.values, key)
	}
	return nil
}

// Keys are those that have a value, in ascending order.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.values))
}

// Gets is how often Get was called.
func (m *Memory) Gets() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gets
}

// Edit changes one value where it lies.
func (m *Memory) Edit(key string, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.values[key]
	m.values[key] = entry{change(e.value), e.revision}
}
