package run

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// foreignPatience is how long a message may lie behind what the writer of its log has before it is somebody else's: acknowledgements take far less.
const foreignPatience = 200 * time.Millisecond

// foreign names the logs of this process behind whose newest block something lies that their writer did not store, with its sequence. It costs a question for each
// log, and foreignPatience where one looks so. A log that cannot be asked is left out.
func foreign(ctx context.Context, store eventlog.Store, w *writer.Writer) map[string]uint64 {
	found := map[string]uint64{}
	for _, l := range w.Status() {
		if last := endOf(ctx, store, l.Log); l.Serving && last > l.Sequence {
			found[l.Log] = last
		}
	}
	if len(found) == 0 {
		return found
	}
	wait := time.NewTimer(foreignPatience)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil
	}
	for _, l := range w.Status() {
		switch last, there := found[l.Log]; {
		case !there:
		case !l.Serving || l.Sequence >= last: // it was an own block under way, or the writer has found it
			delete(found, l.Log)
		default:
			found[l.Log] = l.Sequence + 1
		}
	}
	return found
}

// endOf is the sequence of the last message of a log; 0 where it cannot be asked.
func endOf(ctx context.Context, store eventlog.Store, name string) uint64 {
	log, err := store.Open(ctx, name)
	if err != nil {
		return 0
	}
	_, last, err := log.Bounds(ctx)
	if err != nil {
		return 0
	}
	return last
}
