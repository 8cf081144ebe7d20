package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Extend writes one more segment of a log, of messages up to a sequence that the log has, and gives it. done: the archive now holds all of them; then the Segment is the
// newest. The segment before it is looked at anew: eventlog.ErrAway if it is gone. What is damaged in the log is not archived: ErrLogDamaged, behind a last segment up to there. log is the stream, and must hold what the archive does not.
//
// Side effects: (1) the segment, (2) the manifest. A crash behind (1) leaves a segment that the next call finds.
func (a *Archive) Extend(ctx context.Context, log eventlog.Log, upTo uint64) (s Segment, done bool, err error) {
	c := a.catalog(log.Name())
	if err := c.refresh(ctx); err != nil {
		return s, false, err
	}
	behind := c.newest()
	if behind.Last >= upTo {
		return behind, true, nil
	}
	if err := a.still(ctx, log.Name(), behind); err != nil {
		return s, false, err
	}
	chain, err := c.chain(ctx, behind)
	if err != nil {
		return s, false, err
	}
	w, err := a.newSegment(log.Name(), chain, behind.Digest)
	if err != nil {
		return s, false, err
	}
	damage, err := a.fill(ctx, w, log, chain, upTo)
	if err != nil {
		return s, false, err
	}
	if w.footer.last == behind.Last {
		return s, false, damage
	}
	if err := a.store(ctx, c, w); err != nil {
		return s, false, err
	}
	s = c.newest()
	return s, s.Last >= upTo, damage
}

// chain is where the log stands behind a segment.
func (c *catalog) chain(ctx context.Context, s Segment) (event.Chain, error) {
	if s.Last == 0 {
		return event.Chain{}, nil
	}
	o, err := c.open(ctx, s)
	if err != nil {
		return event.Chain{}, err
	}
	return o.footer.chain, nil
}

// fill reads messages into a segment until it is long enough or has the last one. damage is why the log is not archived further.
func (a *Archive) fill(ctx context.Context, w *segmentWriter, log eventlog.Log, chain event.Chain, upTo uint64) (damage, err error) {
	reader, err := eventlog.Read(ctx, log, chain)
	if err != nil {
		return nil, err
	}
	defer reader.Stop()
	for reader.Chain().Sequence < upTo && w.size() < a.cfg.SegmentBytes {
		raw, f, err := reader.NextRaw(ctx)
		switch {
		case errors.Is(err, event.ErrNewerFormat):
			return fmt.Errorf("%w: %w", err, ErrLogDamaged), nil
		case err != nil:
			return nil, err
		case f.Missing:
			return fmt.Errorf("log %s: the message before sequence %d is missing: %w", log.Name(), f.Sequence, ErrLogDamaged), nil
		case f.Standing == event.Damaged:
			return fmt.Errorf("log %s, sequence %d: %w: %w", log.Name(), f.Sequence, f.Err, ErrLogDamaged), nil
		}
		root := w.footer.root
		if f.Standing == event.Counts {
			root = f.Block.TreeRoot
		}
		if err := w.add(raw, reader.Chain(), root); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// store puts a segment into the archive. Where another archiver was faster, its segment counts.
func (a *Archive) store(ctx context.Context, c *catalog, w *segmentWriter) error {
	data, s, err := w.finish()
	if err != nil {
		return fmt.Errorf("finish segment of log %s: %w", c.log, err)
	}
	folder, err := folderOf(a.cfg.Site, c.log)
	if err != nil {
		return err
	}
	if err := a.cfg.Objects.Create(ctx, segmentName(folder, s.First), data); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("store segment of log %s: %w", c.log, err)
	}
	if err := c.refresh(ctx); err != nil {
		return err
	}
	if c.last() < s.First {
		return fmt.Errorf("segment %d of log %s was stored, and is not there: %w", s.First, c.log, eventlog.ErrUnavailable)
	}
	if err := c.writeManifest(ctx); err != nil {
		return fmt.Errorf("store manifest of log %s: %w", c.log, err)
	}
	return nil
}

// Compare reads messages from the archive again and holds each against the stream, byte by byte: ErrDiffers, *eventlog.UnreadableError or ErrNotFound name the first that does not hold.
func (a *Archive) Compare(ctx context.Context, log eventlog.Log, from, to uint64) error {
	if from > to {
		return nil
	}
	cursor, err := log.Follow(ctx, from-1)
	if err != nil {
		return fmt.Errorf("compare log %s with its archive: %w", log.Name(), err)
	}
	defer cursor.Stop()
	var kept *messages
	for sequence := from; sequence <= to; sequence++ {
		m, err := cursor.Next(ctx)
		if err != nil {
			return fmt.Errorf("compare log %s with its archive: %w", log.Name(), err)
		}
		if !kept.has(sequence) {
			if kept, err = a.fresh(ctx, log.Name(), sequence); err != nil {
				return fmt.Errorf("compare log %s with its archive: %w", log.Name(), err)
			}
		}
		if m.Sequence != sequence || !bytes.Equal(m.Data, kept.at(sequence)) {
			return fmt.Errorf("log %s, sequence %d: %w", log.Name(), sequence, ErrDiffers)
		}
	}
	return nil
}

// fresh is messages, from the archive itself and not from memory.
func (a *Archive) fresh(ctx context.Context, log string, sequence uint64) (*messages, error) {
	c := a.catalog(log)
	s, found := c.find(sequence)
	if !found {
		if err := c.refresh(ctx); err != nil {
			return nil, a.unreadable(log, c.last()+1, sequence, err)
		}
		if s, found = c.find(sequence); !found {
			return nil, fmt.Errorf("sequence %d: %w", sequence, ErrNotFound)
		}
	}
	o, err := c.a.openSegment(ctx, log, s.First)
	if err == nil && o.Segment != s {
		err = fmt.Errorf("segment %s is another one now: %w", o.name, ErrDamaged)
	}
	if err != nil {
		return nil, a.unreadable(log, s.First, s.Last, err)
	}
	f := o.frameOf(sequence)
	m, err := o.open(ctx, a.cfg.Objects, f)
	if err != nil {
		return nil, a.unreadable(log, f.first, f.last(), err)
	}
	return m, nil
}
