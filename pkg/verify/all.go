package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// progressEvery is the number of messages between two calls of progress.
const progressEvery = 256

// readAhead is the number of decoded blocks that wait for their hashes to be checked.
const readAhead = 32

// All proves a whole log: it reads every message once, in order, from the first to the one that is the last when it starts, and never waits
// for one to come. One fault is reported once: an aggregate by its first version that fails, a stretch of damage as one finding, the log tree
// by the first block that it does not fit, and not at all behind damage, where its leaves are not known. A message of a newer format ends the reading there. progress (nil: none) hears how many of the
// messages were read, now and then and at the end. The error wraps that of the log, or of ctx.
//
// Memory: about 200 bytes for each aggregate that is looked at at once, and 32 for each doubling of its events beyond the second. A log of more than a million aggregates is read once more for
// each further million, about.
func All(ctx context.Context, log eventlog.Log, progress func(done, total uint64)) (Report, error) {
	return Against(ctx, log, Options{Progress: progress})
}

// defaultAggregates is how many aggregates are looked at at once.
const defaultAggregates = 1 << 20

// Options say how a log is proved; the zero value is All.
type Options struct {
	Signed     []Signed                 // checkpoints that the log is held against
	Aggregates int                      // are looked at at once, at most; default 1,048,576
	Progress   func(done, total uint64) // hears how many of the messages were read; of a log that is read several times the total grows

	// Derived (nil: none) holds what was derived from the log against what was proven of it, and gives what failed: once behind each reading, about the aggregates that were looked at then.
	Derived func(ctx context.Context, proven Proven) []Result
}

// Proven gives the newest version of an aggregate that was proven, and the root of its tree there. false: it failed, or is not among those that were looked at; and from the second time
// on that it is asked about an aggregate.
type Proven func(a event.AggregateID) (newest event.Version, root event.Hash, ok bool)

// Against is All, and holds the log tree against checkpoints: a log whose events are fewer than a checkpoint's is TRUNCATED, one whose first events give another root than
// the checkpoint states is FORKED. Behind damage, where the tree is not known, checkpoints are not held against it.
func Against(ctx context.Context, log eventlog.Log, o Options) (Report, error) {
	if o.Progress == nil {
		o.Progress = func(uint64, uint64) {}
	}
	first, last, err := log.Bounds(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("verify log %s: read the bounds: %w", log.Name(), err)
	}
	s := newScan(log, o)
	end, err := s.lastReadable(ctx, first, last)
	if err != nil {
		return Report{}, fmt.Errorf("verify log %s: %w", log.Name(), err)
	}
	if end >= first {
		if err := s.readAll(ctx, first, end, o); err != nil {
			return Report{}, fmt.Errorf("verify log %s: %w", log.Name(), err)
		}
	}
	s.endVoid()
	if end < last {
		s.missing(end+1, last)
	}
	s.unmet(last)
	s.report.Aggregates = s.heads.count()
	return s.report, nil
}

// lastReadable is the highest sequence up to last with a message: waiting for one that was deleted would never end.
func (s *scan) lastReadable(ctx context.Context, first, last uint64) (uint64, error) {
	for ; last >= first && last > 0; last-- {
		_, err := s.log.Get(ctx, last)
		if err == nil {
			return last, nil
		}
		if !errors.Is(err, eventlog.ErrNotFound) {
			return 0, fmt.Errorf("read message %d: %w", last, err)
		}
	}
	return last, nil
}

// readAll reads the messages, and once more for each part of the aggregates that was left. What was found of an aggregate that was left meanwhile is found again.
func (s *scan) readAll(ctx context.Context, first, end uint64, o Options) error {
	err := s.read(ctx, first, end, func(done, total uint64) { o.Progress(done, total*(1+s.heads.left())) })
	failed := append(s.kept(), s.derived(ctx, o, err)...)
	for read := uint64(1); err == nil && s.heads.next(); read++ {
		part := &scan{log: s.log, report: Report{Log: s.report.Log}, heads: s.heads, numbers: map[string]uint32{}, treeLost: true, again: true}
		err = part.read(ctx, first, end, func(done, total uint64) { o.Progress(read*total+done, total*(read+1+s.heads.left())) })
		failed = append(append(failed, part.kept()...), s.derived(ctx, o, err)...)
	}
	s.report.Failed = failed
	return err
}

// derived is what fails of that which was derived from the aggregates of this part, unless reading them failed with err.
func (s *scan) derived(ctx context.Context, o Options, err error) []Result {
	if o.Derived == nil || err != nil {
		return nil
	}
	return o.Derived(ctx, s.heads.proven)
}

// kept are the failures of the aggregates that are of this part still.
func (s *scan) kept() []Result {
	return slices.DeleteFunc(s.report.Failed, func(r Result) bool { return !s.heads.holds(r.Aggregate) })
}

// read judges the messages from first to end. One goroutine reads and decodes, this one hashes.
func (s *scan) read(ctx context.Context, first, end uint64, progress func(done, total uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan judged, readAhead)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(found)
		pump(ctx, s.log, end, found)
	})
	defer reading.Wait()
	defer cancel()
	total := end - first + 1
	for f := range found {
		if errors.Is(f.err, event.ErrNewerFormat) {
			s.newer(f.Sequence, end, f.err)
			break
		}
		if s.unreadable(f.err) {
			continue
		}
		if f.err != nil {
			return f.err
		}
		if err := s.message(ctx, f.Found); err != nil {
			return err
		}
		if done := f.Sequence - first + 1; done%progressEvery == 0 && done < total {
			progress(done, total)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	progress(total, total)
	return nil
}

// judged is what the reading goroutine hands on; err is the last, unless it wraps *eventlog.UnreadableError.
type judged struct {
	eventlog.Found
	err error
}

func pump(ctx context.Context, log eventlog.Log, end uint64, found chan<- judged) {
	send := func(j judged) bool {
		more := j.err == nil && j.Sequence < end
		var u *eventlog.UnreadableError
		if errors.As(j.err, &u) {
			more = u.To < end
		}
		select {
		case found <- j:
			return more
		case <-ctx.Done():
			return false
		}
	}
	r, err := eventlog.Read(ctx, log, event.Chain{})
	if err != nil {
		send(judged{err: err})
		return
	}
	defer r.Stop()
	for {
		f, err := r.Next(ctx)
		if err != nil {
			f.Sequence = r.Chain().Sequence
		}
		if !send(judged{Found: f, err: err}) {
			return
		}
	}
}
