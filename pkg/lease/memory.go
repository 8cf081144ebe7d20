package lease

import (
	"bytes"
	"context"
	"sync"
)

// Memory is a Table in memory, for tests and for processes that share nothing. All methods are safe for concurrent use.
type Memory struct {
	mu       sync.Mutex // guards all below
	records  map[string]Change
	revision uint64
	birth    uint64
	watchers map[*watcher]struct{}
}

// watcher is one Watch; what it has to tell waits in its queue.
type watcher struct {
	queue []Change
	more  chan struct{} // holds one token when queue is not empty
}

// NewMemory makes an empty table.
func NewMemory() *Memory {
	return &Memory{records: make(map[string]Change), revision: 1, birth: 1, watchers: make(map[*watcher]struct{})}
}

// Put implements Table.
func (m *Memory) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[key]; r.Value != nil && r.Revision != revision || r.Value == nil && m.birth != revision {
		return 0, ErrConflict
	}
	return m.store(Change{Key: key, Value: bytes.Clone(value)}), nil
}

// Delete implements Table.
func (m *Memory) Delete(ctx context.Context, key string, revision uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[key]; r.Value == nil || r.Revision != revision {
		return ErrConflict
	}
	m.store(Change{Key: key})
	return nil
}

func (m *Memory) store(c Change) uint64 {
	m.revision++
	c.Revision = m.revision
	m.records[c.Key] = c
	for w := range m.watchers {
		w.tell(c)
	}
	return m.revision
}

// Lose makes another, empty table in the place of this one, as if all its servers had restarted. Every Watch starts over.
func (m *Memory) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = make(map[string]Change)
	m.revision++
	m.birth = m.revision
	for w := range m.watchers {
		w.tell(Change{Reset: true}, Change{Revision: m.birth})
	}
}

// Watch implements Table.
func (m *Memory) Watch(ctx context.Context, each func(Change)) error {
	w := m.watch()
	defer m.unwatch(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.more:
		}
		for _, c := range m.take(w) {
			if ctx.Err() != nil {
				return nil
			}
			each(c)
		}
	}
}

func (m *Memory) watch() *watcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &watcher{more: make(chan struct{}, 1)}
	for _, c := range m.records {
		if c.Value != nil {
			w.queue = append(w.queue, c)
		}
	}
	w.tell(Change{Revision: m.birth})
	m.watchers[w] = struct{}{}
	return w
}

func (m *Memory) unwatch(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, w)
}

func (m *Memory) take(w *watcher) []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue
}

// tell is called with Memory.mu held.
func (w *watcher) tell(c ...Change) {
	w.queue = append(w.queue, c...)
	select {
	case w.more <- struct{}{}:
	default:
	}
}
