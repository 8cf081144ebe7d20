package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// lag says how far a plugin, whose slowest partition of each log stands at slowest, and each of its partitions are behind the ends of logs.
func (d *Desk) lag(ctx context.Context, logs []string, slowest map[string]Mark, s *Standing) error {
	for _, log := range logs {
		end, err := d.endOf(ctx, log)
		if err != nil {
			return err
		}
		events, seconds, err := end.behind(ctx, slowest[log])
		if err != nil {
			return err
		}
		s.LagEvents, s.LagSeconds = s.LagEvents+events, max(s.LagSeconds, seconds)
		if position := slowest[log].Position; position != "" && end != nil {
			s.Positions = append(s.Positions, position)
		}
		for i := range s.Partitions {
			p := &s.Partitions[i]
			if events, seconds, err = end.behind(ctx, p.logs[log]); err != nil {
				return err
			}
			p.LagEvents, p.LagSeconds = p.LagEvents+events, max(p.LagSeconds, seconds)
		}
	}
	return nil
}

// logEnd is the end of a log when somebody looked. Partitions stand at few places, so what was read is kept.
type logEnd struct {
	source      eventlog.Log
	now         time.Time
	first, last uint64
	newest      *event.Block            // nil: it cannot be read
	read        map[uint64]*event.Block // by sequence
}

// endOf looks at a log; nil: it does not exist yet.
func (d *Desk) endOf(ctx context.Context, log string) (*logEnd, error) {
	source, err := d.Store.Open(ctx, log)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &logEnd{source: source, now: d.Now(), read: map[uint64]*event.Block{}}
	if e.first, e.last, err = source.Bounds(ctx); err != nil || e.last < e.first {
		return e, err
	}
	e.newest, err = header(ctx, source, e.last)
	return e, err
}

// behind is how many events lie behind a place, and how long the oldest of them has been stored.
func (e *logEnd) behind(ctx context.Context, mark Mark) (events uint64, seconds float64, err error) {
	if e == nil || e.newest == nil {
		return 0, 0, nil
	}
	next := e.first
	if mark.Position != "" {
		at, err := mark.position()
		if err != nil {
			return 0, 0, err
		}
		next = at.Sequence + 1
	}
	if e.last < next || e.newest.TreeSize <= mark.Events {
		return 0, 0, nil // nothing, or nothing but empty blocks
	}
	oldest, known := e.read[next]
	if !known {
		if oldest, err = header(ctx, e.source, next); err != nil {
			return 0, 0, err
		}
		e.read[next] = oldest
	}
	events = e.newest.TreeSize - mark.Events
	if oldest == nil { // it is damaged, or purged
		return events, 0, nil
	}
	return events, e.now.Sub(time.Unix(0, int64(oldest.Time))).Seconds(), nil
}
