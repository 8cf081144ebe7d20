package delivery_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// bucket keeps checkpoints in memory; fail, if set, is asked before each call and may stand for an answer that was lost.
type bucket struct {
	mu       sync.Mutex // guards what follows
	values   map[string][]byte
	at       map[string]uint64
	revision uint64
	lose     func() bool
}

func newBucket() *bucket { return &bucket{values: map[string][]byte{}, at: map[string]uint64{}} }

// saves is how often something was put.
func (b *bucket) saves() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.revision
}

func (b *bucket) Get(_ context.Context, key string) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.values[key]), b.at[key], nil
}

func (b *bucket) Put(_ context.Context, key string, value []byte, revision uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at[key] != revision {
		return fmt.Errorf("put %s: %w", key, eventlog.ErrTaken)
	}
	b.revision++
	b.values[key], b.at[key] = bytes.Clone(value), b.revision
	if b.lose != nil && b.lose() {
		return fmt.Errorf("put %s: %w", key, eventlog.ErrUnknown)
	}
	return nil
}

// dead keeps parked changes in memory.
type dead struct {
	mu      sync.Mutex // guards what follows
	entries []letter
	last    uint64
}

type letter struct {
	number     uint64
	plugin, id string
	data       []byte
}

func (d *dead) Add(_ context.Context, plugin, id string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.entries {
		if l.id == id {
			return nil
		}
	}
	d.last++
	d.entries = append(d.entries, letter{d.last, plugin, id, bytes.Clone(data)})
	return nil
}

func (d *dead) Next(_ context.Context, plugin string, number uint64) (uint64, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.entries {
		if l.plugin == plugin && l.number >= number {
			return l.number, bytes.Clone(l.data), nil
		}
	}
	return 0, nil, eventlog.ErrNotFound
}

func (d *dead) Remove(_ context.Context, number uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, l := range d.entries {
		if l.number == number {
			d.entries = append(d.entries[:i:i], d.entries[i+1:]...)
			return nil
		}
	}
	return nil
}

func (d *dead) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.entries)
}
