package delivery

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Bounds of what a feed reads ahead.
const (
	maxAhead      = 64      // messages
	maxAheadBytes = 4 << 20 // of these
)

// judged is one message of a log with where the reader stood.
type judged struct {
	found eventlog.Found
	step
}

// gather reads the next message. Where states in front of its commits are not in memory, as behind a restart, it reads on as far as the log goes, four times as far each time,
// and recalls those in front of all that it read at once: so the past is gone through a few times, and not for each block. The messages count also with an error.
func (f *feed) gather(ctx context.Context, source eventlog.Log, r *eventlog.Reader, letGo func()) ([]judged, error) {
	size, err := 0, error(nil)
	var all []judged
	next := func(ctx context.Context) bool {
		before := r.Chain().Sequence
		var raw []byte
		var found eventlog.Found
		if raw, found, err = r.NextRaw(ctx); err == nil {
			size += len(raw)
			all = append(all, judged{found, step{before, r.Chain(), letGo}})
		}
		return err == nil
	}
	if !next(ctx) || !f.w.how.state || !f.folder.lacks(f.foldings(all)) {
		f.far /= 4
		return all, err
	}
	f.far = min(max(4*f.far, 4), maxAhead)
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, last, unknown := source.Bounds(soon); unknown == nil {
		for len(all) < f.far && size < maxAheadBytes && r.Chain().Sequence < last && next(soon) {
		}
	}
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		err = errHeldUp // what should be there does not come: the log lost its end, or is slow
	}
	if len(all) > 1 {
		f.recallAll(ctx, source, all)
	}
	return all, err
}

// recallAll recalls what the messages need. It serves speed alone: what fails here fails again where it is needed, behind all that comes before it.
func (f *feed) recallAll(ctx context.Context, source eventlog.Log, all []judged) {
	system := uint64(0)
	for _, one := range all {
		if one.found.Standing == event.Counts {
			system = max(system, one.found.Block.System.Sequence)
		}
	}
	seen, err := f.w.e.view.await(ctx, system)
	if err == nil {
		err = f.folder.recall(ctx, source, seen, f.foldings(all), map[event.AggregateID]kept{})
	}
	if err != nil {
		f.w.log.Debug().Err(err).Str("log", f.name).Msg("pasts of aggregates were not read ahead")
	}
}

// foldings are the commits of messages, one behind the other, of which members want the states.
func (f *feed) foldings(all []judged) (commits []folding) {
	for _, one := range all {
		if one.found.Standing != event.Counts {
			continue
		}
		wanted := indexes(f.waiting(&one.found, all[0].before))
		for i, c := range one.found.Commits {
			if _, concerned := f.concerns(c, wanted); concerned && c.Aggregate.Type != schema.SystemForgotten {
				commits = append(commits, folding{commit: c, at: linkTo(&one.found, i), prev: one.found.Block.Records[i].Prev})
			}
		}
	}
	return commits
}

// waiting are the members that get a message which a reader finds that stood at before: others stand behind it, or further back, having just come.
func (f *feed) waiting(found *eventlog.Found, before uint64) (waiting []*member) {
	for _, m := range f.all() {
		if before <= m.chain.Sequence && m.chain.Sequence < found.Sequence {
			waiting = append(waiting, m)
		}
	}
	return waiting
}

// indexes are the partitions of members.
func indexes(members []*member) map[int]bool {
	wanted := map[int]bool{}
	for _, m := range members {
		wanted[m.part.t.index] = true
	}
	return wanted
}

// concerns gives the partition of a commit, and says whether it is a wanted one of a type that the plugin gets.
func (f *feed) concerns(c *event.Commit, wanted map[int]bool) (index int, concerned bool) {
	of := c.Aggregate
	if of.Type == schema.SystemForgotten {
		of, _ = forgottenOf(c)
	}
	index = registry.Partition(of, f.w.how.partitions)
	return index, !event.IsReserved(of.Type) && c.Branch == 0 && f.w.how.takes(of.Type) && wanted[index]
}

func linkTo(found *eventlog.Found, i int) event.Link {
	return event.Link{Sequence: found.Sequence, Index: uint32(i), Block: found.Block.ID}
}
