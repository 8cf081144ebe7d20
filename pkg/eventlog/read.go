package eventlog

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Reader follows a log block by block and judges each message (event.Chain). It is for one goroutine.
type Reader struct {
	cursor Cursor
	chain  event.Chain
	name   string
}

// Found is one judged message.
type Found struct {
	Sequence uint64
	event.Verdict
}

// Read follows a log behind the place that chain stands at; the zero Chain reads from the start. It is the one way to follow a log, for
// projectors, standbys, plugins and sites. The caller decides what void and damaged messages mean to it.
func Read(ctx context.Context, log Log, from event.Chain) (*Reader, error) {
	cursor, err := log.Follow(ctx, from.Sequence)
	if err != nil {
		return nil, fmt.Errorf("follow log %s behind %d: %w", log.Name(), from.Sequence, err)
	}
	return &Reader{cursor: cursor, chain: from, name: log.Name()}, nil
}

// Next waits for the next message and judges it. The error is that of the cursor, or wraps event.ErrNewerFormat: then the reader must stop.
func (r *Reader) Next(ctx context.Context) (Found, error) {
	_, f, err := r.NextRaw(ctx)
	return f, err
}

// NextRaw is Next that gives the bytes of the message too, which must not be changed.
func (r *Reader) NextRaw(ctx context.Context) ([]byte, Found, error) {
	m, err := r.cursor.Next(ctx)
	if err != nil {
		return nil, Found{}, fmt.Errorf("read log %s behind %d: %w", r.name, r.chain.Sequence, err)
	}
	v := r.chain.Next(m.Sequence, m.Data)
	if v.Standing == event.Newer {
		return nil, Found{}, fmt.Errorf("log %s, sequence %d: %w", r.name, m.Sequence, v.Err)
	}
	return m.Data, Found{Sequence: m.Sequence, Verdict: v}, nil
}

// Chain is where the reader stands; saved, it lets another Read go on from here.
func (r *Reader) Chain() event.Chain { return r.chain }

// Hurry asks for what was stored by now without delay, where messages are gathered for some milliseconds before they come. It never blocks, and is safe
// to call beside Next.
func (r *Reader) Hurry() {
	if c, ok := r.cursor.(interface{ Hurry() }); ok {
		c.Hurry()
	}
}

// Stop releases the reader.
func (r *Reader) Stop() { r.cursor.Stop() }
