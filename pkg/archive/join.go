package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Join gives the logs of a store together with what the archive holds of them: what the stream has lost at its beginning is read from there. Appends go to the stream.
func Join(store eventlog.Store, a *Archive) eventlog.Store { return &joinedStore{store, a} }

type joinedStore struct {
	eventlog.Store
	archive *Archive
}

// Open implements eventlog.Store.
func (s *joinedStore) Open(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.Store.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return &joined{Log: l, archive: s.archive}, nil
}

// Create implements eventlog.Store.
func (s *joinedStore) Create(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.Store.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &joined{Log: l, archive: s.archive}, nil
}

// joined is a log whose beginning may lie in the archive.
type joined struct {
	eventlog.Log
	archive *Archive
	first   atomic.Uint64 // of the stream, when it was last asked; it only grows
}

// Get implements eventlog.Log. *eventlog.UnreadableError: the archive holds it, and is damaged. eventlog.ErrAway: the log says that the archive holds it, and it does not.
func (l *joined) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	if sequence >= l.first.Load() {
		m, err := l.Log.Get(ctx, sequence)
		if !errors.Is(err, eventlog.ErrNotFound) || sequence == 0 {
			return m, err
		}
	}
	m, err := l.archive.Get(ctx, l.Name(), sequence)
	if u := clipped(err, 1, max(sequence, l.first.Load()-1)); u != nil {
		return m, fmt.Errorf("get %d of log %s: %w", sequence, l.Name(), u)
	}
	if errors.Is(err, ErrNotFound) {
		if err = l.archive.lacks(ctx, l.Log, sequence); errors.Is(err, ErrNotFound) {
			err = eventlog.ErrNotFound
		}
		return m, fmt.Errorf("get %d of log %s: %w", sequence, l.Name(), err)
	}
	return m, err
}

// clipped is what cannot be read of the archive, as far as it matters; nil: err is something else.
func clipped(err error, from, to uint64) *eventlog.UnreadableError {
	var u *eventlog.UnreadableError
	if !errors.As(err, &u) {
		return nil
	}
	return &eventlog.UnreadableError{From: max(u.From, from), To: min(u.To, to), Err: u.Err}
}

// Bounds implements eventlog.Log. first is 1 where the archive reaches up to the stream.
func (l *joined) Bounds(ctx context.Context) (first, last uint64, err error) {
	if first, last, err = l.Log.Bounds(ctx); err != nil || first <= 1 {
		return first, last, err
	}
	l.first.Store(first)
	c := l.archive.catalog(l.Name())
	if c.last()+1 < first {
		if err := c.refresh(ctx); err != nil && ctx.Err() == nil {
			return 1, last, nil // what is there cannot be told now; whoever reads it is told why
		}
	}
	if c.last()+1 >= first {
		first = 1
	}
	return first, last, nil
}

// Missing counts the sequences of the stream between its first and last that hold no message, where the stream can tell.
func (l *joined) Missing(ctx context.Context) (uint64, error) {
	if counter, ok := l.Log.(interface {
		Missing(context.Context) (uint64, error)
	}); ok {
		return counter.Missing(ctx)
	}
	return 0, nil
}

// Follow implements eventlog.Log.
func (l *joined) Follow(ctx context.Context, after uint64) (eventlog.Cursor, error) {
	first, last, err := l.Log.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow log %s: %w", l.Name(), err)
	}
	if after > last {
		return nil, fmt.Errorf("follow log %s behind %d, it ends at %d: %w", l.Name(), after, last, eventlog.ErrRewound)
	}
	l.first.Store(first)
	c := &cursor{log: l, after: after, until: first - 1}
	if after < c.until {
		return c, nil
	}
	c.stream, err = l.Log.Follow(ctx, after)
	return c, err
}

// cursor reads from the archive up to until, and from the stream behind it. Where the stream leaves messages out, which were purged as it was read, they come from the archive too.
type cursor struct {
	log     *joined
	after   uint64
	until   uint64            // messages behind after and up to here are looked for in the archive
	kept    *messages         // the frame that is read
	pending *eventlog.Message // of the stream, behind those

	mu     sync.Mutex // guards stream, for Hurry
	stream eventlog.Cursor
}

// Next implements eventlog.Cursor. Behind eventlog.ErrAway it can be called again, and reads on once the archive is back. Behind *eventlog.UnreadableError, Next goes on behind the messages that it names.
func (c *cursor) Next(ctx context.Context) (eventlog.Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return eventlog.Message{}, err
		}
		if c.after < c.until {
			switch m, err := c.archived(ctx); {
			case err == nil:
				return m, nil
			case errors.Is(err, ErrNotFound):
				c.until = c.after // whoever judges the next message finds that these are missing
			default:
				return m, err
			}
		}
		if c.pending == nil {
			m, err := c.streamed(ctx)
			if err != nil {
				return m, err
			}
			if c.pending = &m; m.Sequence > c.after+1 {
				c.until = m.Sequence - 1
				continue
			}
		}
		m := *c.pending
		c.pending, c.after = nil, m.Sequence
		return m, nil
	}
}

// archived reads the next message from the archive.
func (c *cursor) archived(ctx context.Context) (m eventlog.Message, err error) {
	next := c.after + 1
	if !c.kept.has(next) {
		c.kept, err = c.log.archive.messages(ctx, c.log.Name(), next)
		if errors.Is(err, ErrNotFound) {
			err = c.log.archive.lacks(ctx, c.log.Log, next)
		}
		if err != nil {
			if u := clipped(err, next, c.until); u != nil {
				err, c.after = u, u.To
			}
			return m, fmt.Errorf("read log %s from the archive: %w", c.log.Name(), err)
		}
	}
	c.after = next
	return eventlog.Message{Sequence: next, Data: c.kept.at(next)}, nil
}

// streamed reads the next message of the stream.
func (c *cursor) streamed(ctx context.Context) (eventlog.Message, error) {
	c.kept = nil
	if c.stream == nil {
		stream, err := c.log.Log.Follow(ctx, c.after)
		if err != nil {
			return eventlog.Message{}, err
		}
		c.mu.Lock()
		c.stream = stream
		c.mu.Unlock()
	}
	return c.stream.Next(ctx)
}

// Hurry passes on eventlog.Reader.Hurry.
func (c *cursor) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.stream.(interface{ Hurry() }); ok {
		h.Hurry()
	}
}

// Stop implements eventlog.Cursor.
func (c *cursor) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != nil {
		c.stream.Stop()
	}
}
