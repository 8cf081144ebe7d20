package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// The record that a log keeps of its archive: docs/spec/archive.md, section 5.
const (
	typeArchived  = "eventful-archive"
	eventArchived = "log-archived"
)

// promise is what a log says of its archive.
type promise struct {
	cut   uint64 // the archive has all up to here; 0: nothing is said
	state string // name of the writer's state that lies there too, in the newest record
	seen  uint64 // the stream was looked through up to here
}

// away is that a place does not hold what a log says was archived: it is not mounted, is another one, or lost objects. It can be tried again.
func (a *Archive) away(log, what string) error {
	return fmt.Errorf("%s does not hold what log %s says was archived: %s: %w", a, log, what, eventlog.ErrAway)
}

// tailPatience is how long a message of the stream may take to come: one that was deleted never does.
const tailPatience = 3 * time.Second

// promised looks through a stream for the newest record of its archive, as far as it must to find one up to wanted. What was looked through once in this process is not read again.
func (a *Archive) promised(ctx context.Context, log eventlog.Log, wanted uint64) (promise, error) {
	c := a.catalog(log.Name())
	c.looking.Lock()
	defer c.looking.Unlock()
	if c.promise.cut >= wanted {
		return c.promise, nil
	}
	first, last, err := log.Bounds(ctx)
	if err != nil {
		return promise{}, fmt.Errorf("look for the record of the archive: %w", err)
	}
	if c.promise.seen > last {
		c.promise = promise{} // the log lost its end, or is another one
	}
	after := max(c.promise.seen, first-1)
	if after >= last {
		return c.promise, nil
	}
	cursor, err := log.Follow(ctx, after)
	if err != nil {
		return promise{}, fmt.Errorf("look for the record of the archive: %w", err)
	}
	defer cursor.Stop()
	for c.promise.seen < last && c.promise.cut < wanted {
		m, err := nextInTime(ctx, cursor)
		if err != nil {
			return c.promise, err
		}
		if m.Data == nil {
			break
		}
		c.promise.take(log.Name(), m)
	}
	return c.promise, nil
}

// nextInTime is the next message; one without data if none comes.
func nextInTime(ctx context.Context, cursor eventlog.Cursor) (eventlog.Message, error) {
	waiting, cancel := context.WithTimeout(ctx, tailPatience)
	defer cancel()
	m, err := cursor.Next(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return eventlog.Message{}, nil
	}
	if err != nil {
		return m, fmt.Errorf("look for the record of the archive: %w", err)
	}
	return m, nil
}

// take looks into one message. What does not decode says nothing.
func (p *promise) take(log string, m eventlog.Message) {
	p.seen = m.Sequence
	if !bytes.Contains(m.Data, []byte(eventArchived)) {
		return
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return
	}
	for _, r := range b.Records {
		commit, err := event.DecodeCommit(r.Raw)
		if err != nil || commit.Aggregate != (event.AggregateID{Type: typeArchived, ID: log}) {
			continue
		}
		for _, e := range commit.Events {
			p.record(e)
		}
	}
}

func (p *promise) record(e event.Event) {
	fields, err := event.DecodePayload(e.Payload)
	if e.Type != eventArchived || err != nil {
		return
	}
	for _, f := range fields {
		switch f.Name {
		case "cut":
			if cut, err := strconv.ParseUint(f.Value, 10, 64); err == nil {
				p.cut = max(p.cut, cut)
			}
		case "state":
			p.state = f.Value
		}
	}
}

// lacks words why a message is in no segment: ErrAway if the log says that it was archived, else ErrNotFound.
func (a *Archive) lacks(ctx context.Context, log eventlog.Log, sequence uint64) error {
	p, err := a.promised(ctx, log, sequence)
	switch {
	case err != nil:
		return err
	case p.cut < sequence:
		return ErrNotFound
	}
	return a.away(log.Name(), fmt.Sprintf("it has the log up to %d, and was given it up to %d", a.Known(log.Name()), p.cut))
}

// Whole holds that the place has all that a stream lacks at its beginning, and all that this process saw in it: eventlog.ErrAway if not. It is asked before anything is written there or purged. It
// looks at the names of all segments, and into the last one.
func (a *Archive) Whole(ctx context.Context, log eventlog.Log) error {
	first, _, err := log.Bounds(ctx)
	if err != nil {
		return err
	}
	last, err := a.Last(ctx, log.Name())
	switch {
	case err != nil:
		return err
	case last == 0 && first <= 1:
		return a.unbegun(ctx, log)
	case last+1 < first:
		return a.away(log.Name(), fmt.Sprintf("the log begins at %d, and it has what is before that up to %d", first, last))
	}
	return a.Present(ctx, log.Name())
}

// unbegun holds that a log of which the place has nothing was never archived, or that the place is the one which the log names.
func (a *Archive) unbegun(ctx context.Context, log eventlog.Log) error {
	p, err := a.promised(ctx, log, math.MaxUint64)
	if err != nil || p.cut == 0 {
		return err
	}
	folder, err := folderOf(a.cfg.Site, log.Name())
	if err != nil {
		return err
	}
	if _, err = a.cfg.Objects.Size(ctx, folder+"states/"+p.state+"/index"); errors.Is(err, ErrNotFound) {
		return a.away(log.Name(), fmt.Sprintf("it has nothing of the log, and was given it up to %d", p.cut))
	}
	return err
}

// Present holds that the place still has all segments that this process, or the manifest, knows: eventlog.ErrAway if not. It asks the place alone, and no stream.
func (a *Archive) Present(ctx context.Context, log string) error {
	folder, err := folderOf(a.cfg.Site, log)
	if err != nil {
		return err
	}
	names, err := a.cfg.Objects.List(ctx, folder+"segments/")
	if err != nil {
		return fmt.Errorf("list the segments of log %s: %w: %w", log, err, eventlog.ErrUnavailable)
	}
	c := a.catalog(log)
	for _, s := range c.all() {
		if _, found := slices.BinarySearch(names, segmentName(folder, s.First)); !found {
			return a.away(log, "segment "+segmentName(folder, s.First)+" is missing")
		}
	}
	return a.still(ctx, log, c.newest())
}

// still reads the ends of a segment again, which must be the one that the catalogue has. The zero Segment is none.
func (a *Archive) still(ctx context.Context, log string, s Segment) error {
	if s.Last == 0 {
		return nil
	}
	o, err := a.openSegment(ctx, log, s.First)
	if err == nil && o.Segment != s {
		err = fmt.Errorf("segment %s is another one now: %w", o.name, ErrDamaged)
	}
	if err != nil {
		return a.unreadable(log, s.First, s.Last, err)
	}
	return nil
}
