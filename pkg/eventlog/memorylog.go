package eventlog

import (
	"bytes"
	"context"
	"fmt"
)

// Name implements Log.
func (l *memoryLog) Name() string { return l.name }

// last is the newest sequence; the caller holds the store's mutex.
func (l *memoryLog) last() uint64 { return l.first + uint64(len(l.stored)) - 1 }

// place stores one message if its place is the next free one; the caller holds the store's mutex.
func (l *memoryLog) place(expected uint64, data []byte) error {
	if last := l.last(); expected != last {
		return fmt.Errorf("append behind %d of log %s, which ends at %d: %w", expected, l.name, last, ErrTaken)
	}
	l.stored = append(l.stored, Message{Sequence: expected + 1, Data: bytes.Clone(data)})
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

// Append implements Log. The outcome is there when it returns, unless answers are held (Hold).
func (l *memoryLog) Append(expected uint64, data []byte) Pending {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	p := &memoryPending{done: make(chan struct{}), err: l.append(expected, data)}
	if !l.held {
		close(p.done)
	} else {
		l.waiting = append(l.waiting, p)
	}
	return p
}

func (l *memoryLog) append(expected uint64, data []byte) error {
	if len(data) == 0 || len(data) > MemoryMaxMessage {
		return fmt.Errorf("append %d bytes to log %s, 1 to %d are allowed: %w", len(data), l.name, MemoryMaxMessage, ErrRefused)
	}
	fault := None
	if l.store.fault != nil {
		fault = l.store.fault(l.name, expected, data)
	}
	switch fault {
	case Refuse:
		return fmt.Errorf("append to log %s, fault %s: %w", l.name, fault, ErrRefused)
	case LoseAfter:
		_ = l.place(expected, data) // whether it was stored is what the caller cannot know
	case Delay:
		l.delayed = append(l.delayed, delayed{expected, bytes.Clone(data)})
	case LoseBefore:
	default:
		return l.place(expected, data)
	}
	return fmt.Errorf("append to log %s, fault %s: %w", l.name, fault, ErrUnknown)
}

// Get implements Log.
func (l *memoryLog) Get(ctx context.Context, sequence uint64) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, fmt.Errorf("get %d of log %s: %w", sequence, l.name, err)
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if sequence < l.first || sequence > l.last() {
		return Message{}, fmt.Errorf("get %d of log %s: %w", sequence, l.name, ErrNotFound)
	}
	return l.stored[sequence-l.first], nil
}

// Bounds implements Log.
func (l *memoryLog) Bounds(ctx context.Context) (first, last uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, fmt.Errorf("bounds of log %s: %w", l.name, err)
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return l.first, l.last(), nil
}

// Follow implements Log.
func (l *memoryLog) Follow(ctx context.Context, after uint64) (Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("follow log %s: %w", l.name, err)
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if last := l.last(); after > last {
		return nil, fmt.Errorf("follow log %s behind %d, it ends at %d: %w", l.name, after, last, ErrRewound)
	}
	return &memoryCursor{log: l, after: after}, nil
}

type memoryPending struct {
	done chan struct{}
	err  error // set before done is closed
}

func (p *memoryPending) Done() <-chan struct{} { return p.done }

func (p *memoryPending) Err() error {
	<-p.done
	return p.err
}

type memoryCursor struct {
	log   *memoryLog
	after uint64
}

// Next implements Cursor.
func (c *memoryCursor) Next(ctx context.Context) (Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Message{}, fmt.Errorf("follow log %s behind %d: %w", c.log.name, c.after, err)
		}
		m, grown, ok := c.log.behind(c.after)
		if ok {
			c.after = m.Sequence
			return m, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
}

// Stop implements Cursor.
func (c *memoryCursor) Stop() {}

// behind gives the first message behind a sequence, or else the channel that tells when there is a new one.
func (l *memoryLog) behind(after uint64) (m Message, grown <-chan struct{}, ok bool) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	next := max(after+1, l.first)
	if next > l.last() {
		return Message{}, l.grown, false
	}
	return l.stored[next-l.first], nil, true
}
