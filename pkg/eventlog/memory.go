package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
)

// MemoryMaxMessage is the largest message, in bytes, that a Memory takes: the default max_payload of a NATS server.
const MemoryMaxMessage = 1 << 20

// Fault is what happens to one append of a Memory.
type Fault string

// The faults of a log that can be told from outside.
const (
	None       Fault = ""            // the append goes through
	Refuse     Fault = "refuse"      // not stored, ErrRefused
	LoseBefore Fault = "lose-before" // not stored, ErrUnknown
	LoseAfter  Fault = "lose-after"  // stored, the answer is lost: ErrUnknown
	Delay      Fault = "delay"       // ErrUnknown now; stored by Release if its place is still free then
)

// Memory is a Store in memory, for tests; nothing survives the process. It is safe for concurrent use.
type Memory struct {
	mu    sync.Mutex // guards logs, fault, and everything in each log
	logs  map[string]*memoryLog
	fault func(log string, expected uint64, data []byte) Fault
}

// NewMemory makes a store without logs.
func NewMemory() *Memory { return &Memory{logs: map[string]*memoryLog{}} }

type memoryLog struct {
	store   *Memory
	name    string
	first   uint64           // sequence of messages[0]
	stored  []Message        // without gaps, ascending
	delayed []delayed        // under Delay, in the order of the calls
	grown   chan struct{}    // closed and renewed whenever a message is stored
	held    bool             // answers are held back
	waiting []*memoryPending // answers held back, in the order of the calls
}

type delayed struct {
	expected uint64
	data     []byte
}

// SetFault makes f decide about every append from now on; nil ends it. f must not call the store.
func (m *Memory) SetFault(f func(log string, expected uint64, data []byte) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Release delivers the delayed appends of a log in the order they were made, and gives the number that found their place still free.
func (m *Memory) Release(log string) (stored int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[log]
	if l == nil {
		return 0
	}
	for _, d := range l.delayed {
		if l.place(d.expected, d.data) == nil {
			stored++
		}
	}
	l.delayed = nil
	return stored
}

// Tamper replaces the bytes stored at a sequence, as an administrator of the server could: ErrNotFound if there is none.
func (m *Memory) Tamper(log string, sequence uint64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[log]
	if l == nil || sequence < l.first || sequence > l.last() {
		return fmt.Errorf("tamper with log %s, sequence %d: %w", log, sequence, ErrNotFound)
	}
	l.stored[sequence-l.first].Data = bytes.Clone(data)
	return nil
}

// Purge removes the messages of a log up to a sequence, as an archiver does. A log that does not exist is left alone.
func (m *Memory) Purge(log string, upTo uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[log]
	if l == nil || upTo < l.first {
		return
	}
	upTo = min(upTo, l.last())
	l.stored, l.first = l.stored[upTo+1-l.first:], upTo+1
}

// Open implements Store.
func (m *Memory) Open(ctx context.Context, name string) (Log, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open log %s: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.logs[name]; ok {
		return l, nil
	}
	return nil, fmt.Errorf("open log %.80q: %w", name, ErrNotFound)
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, name string) (Log, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create log %s: %w", name, err)
	}
	if err := event.CheckLog(name); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.logs[name]
	if !ok {
		l = &memoryLog{store: m, name: name, first: 1, grown: make(chan struct{})}
		m.logs[name] = l
	}
	return l, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.logs))
	for name := range m.logs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
