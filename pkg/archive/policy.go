package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Policy says what of a log is archived without being asked. Zero values: nothing.
type Policy struct {
	OlderThan  time.Duration // blocks that were written longer ago
	IdleFor    time.Duration // aggregates whose newest commit was written longer ago leave the hot tier, and no more: that is the projector's
	LargerThan uint64        // bytes of the stream: above, so many of the oldest blocks that about half of it is left
}

// Empty reports whether nothing is ever due.
func (p Policy) Empty() bool { return p.OlderThan == 0 && p.LargerThan == 0 }

// Due is the sequence up to which a policy archives a log now; 0: nothing is due. It costs some reads of single blocks, and none of the archive.
func (r *Archiver) Due(ctx context.Context, log string, p Policy, now time.Time) (uint64, error) {
	l, err := r.cfg.Logs.Open(ctx, log)
	if err != nil {
		return 0, fmt.Errorf("look what of log %s is to be archived: %w", log, err)
	}
	first, last, err := l.Bounds(ctx)
	if err != nil || first > last {
		return 0, err
	}
	var due uint64
	if p.OlderThan > 0 {
		if due, err = lastBefore(ctx, l, first, last, event.Time(now.Add(-p.OlderThan).UnixNano())); err != nil {
			return 0, fmt.Errorf("look for old blocks of log %s: %w", log, err)
		}
	}
	if p.LargerThan > 0 {
		size, err := r.cfg.Size(ctx, log)
		if err != nil {
			return 0, fmt.Errorf("look how large log %s is: %w", log, err)
		}
		due = max(due, oldest(first, last, size, p.LargerThan))
	}
	return due, nil
}

// oldest is the last of as many of the oldest blocks as go so that half of limit is left, if all are about as large.
func oldest(first, last, size, limit uint64) uint64 {
	if size <= limit {
		return 0
	}
	blocks := float64(last-first+1) * (1 - float64(limit)/2/float64(size))
	return min(first+uint64(blocks), last+1) - 1
}

// lastBefore is the last block that was written before a time; 0: none. Times of blocks ascend.
func lastBefore(ctx context.Context, l eventlog.Log, first, last uint64, limit event.Time) (uint64, error) {
	before := first - 1
	for lo, hi := first, last; lo <= hi; {
		mid := lo + (hi-lo)/2
		m, err := l.Get(ctx, mid)
		if err != nil {
			return 0, err
		}
		h, err := event.DecodeHeader(m.Data)
		if err != nil {
			return 0, fmt.Errorf("sequence %d: %w: %w", mid, err, ErrLogDamaged)
		}
		if h.Time < limit {
			before, lo = mid, mid+1
		} else {
			hi = mid - 1
		}
	}
	if before < first {
		return 0, nil
	}
	return before, nil
}
