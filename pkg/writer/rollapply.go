package writer

import (
	"context"
	"errors"
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// restored is a restoring with what it is told by.
type restored struct {
	restoring
	change RollbackChange
}

// restores works out what brings aggregates back; those that need nothing are left out. seal makes keys where plain values are to be sealed; without it they
// are left as they are, for a check.
func (j *rollJob) restores(ctx context.Context, all []*walked, seal bool) ([]restored, *problem.Problem) {
	err := j.walk.walk(ctx, all)
	if errors.Is(err, errTooMuch) {
		half := len(all) / 2
		first, p := j.restores(ctx, all[:half], seal)
		if p != nil {
			return nil, p
		}
		for _, a := range all[:half] {
			a.past = nil
		}
		second, p := j.restores(ctx, all[half:], seal)
		return append(first, second...), p
	}
	if err != nil {
		return nil, j.failed(err)
	}
	var out []restored
	for _, a := range all {
		r, p := j.restore(ctx, a, seal)
		if p != nil {
			return nil, p
		}
		if r != nil {
			out = append(out, *r)
		}
	}
	return out, nil
}

// restore works out what brings one aggregate back; nil: nothing.
func (j *rollJob) restore(ctx context.Context, a *walked, seal bool) (*restored, *problem.Problem) {
	kept := a.past.Restore(func(h event.Hash) bool { return slices.Contains(a.forgotten, h) })
	if kept == nil {
		return nil, nil
	}
	r := &restored{restoring: restoring{aggregate: a.aggregate, version: a.head.version, ends: kept.Ends}}
	r.change = RollbackChange{Aggregate: a.aggregate.String(), Version: a.head.version, Becomes: a.then, Ends: kept.Ends, Lost: kept.Lost}
	for i := range kept.Fields[:min(len(kept.Fields), maxNamed)] {
		r.change.Fields = append(r.change.Fields, kept.Fields[i].Name)
	}
	if a.then > 0 {
		r.causation = a.hash.String()
	}
	if seal {
		if p := j.seal(ctx, r, kept, a.forgotten); p != nil {
			return nil, p
		}
	}
	var err error
	if r.asked, r.events, err = kept.Events(); err != nil {
		return nil, problem.New(problem.Internal, "%s: its earlier state cannot be stored: %v", a.aggregate, err)
	}
	return r, nil
}

// seal seals values that were stored in plain text and whose field is encrypted now; sealed ones are carried as they are stored.
func (j *rollJob) seal(ctx context.Context, r *restored, kept *aggregate.Restoration, gone []event.Hash) *problem.Problem {
	sch := j.w.sys.schemaOf(r.aggregate.Type)
	for i := range kept.Fields {
		f := &kept.Fields[i]
		switch {
		case !f.Set:
			continue
		case f.Sealed:
			r.commitment = f.Key[:]
			continue
		case sch == nil || !sch.Fields[f.Name].PII:
			continue
		case j.w.cfg.Keys == nil:
			return problem.New(problem.Unavailable, "this process holds no keys of encrypted fields")
		}
		key, err := j.key(ctx, r.aggregate, gone)
		if err != nil {
			return problem.New(problem.Unavailable, "the key of %s cannot be reached: %v", r.aggregate, err)
		}
		var unique *event.Hash
		if sch.Fields[f.Name].Unique {
			unique = new(j.w.cfg.Keys.UniqueHash(r.aggregate.Type, f.Name, f.Value))
		}
		f.Value, f.Sealed = key.Seal(fieldkey.Place{Site: j.w.cfg.Site, Aggregate: r.aggregate, Field: f.Name}, f.Value, unique), true
		f.Key = key.Commitment()
		r.commitment = f.Key[:]
	}
	return nil
}

// key gives the key of an aggregate, and makes it if need be; gone are those that were forgotten and may not be erased yet.
func (j *rollJob) key(ctx context.Context, a event.AggregateID, gone []event.Hash) (*fieldkey.Key, error) {
	for _, commitment := range gone {
		if key, err := j.w.cfg.Keys.Get(ctx, a); err != nil || key == nil || key.Commitment() != commitment {
			continue
		}
		if err := j.w.cfg.Keys.Destroy(ctx, a, commitment); err != nil {
			return nil, err
		}
	}
	return j.w.cfg.Keys.Make(ctx, a)
}

// frame is the aggregate of rollback-begin and rollback-end in this log.
func (j *rollJob) frame() event.AggregateID {
	return event.AggregateID{Type: typeRollbackLog, ID: j.call.ID + "/" + j.e.name}
}

// apply brings back. Side effects in order, and what a crash behind each leaves: (1) rollback-begin; (2) blocks of restored aggregates, which are not found again;
// (3) rollback-end. Whoever takes the log over goes on behind what is stored, and commands wait all the while (rolling.go).
func (j *rollJob) apply(ctx context.Context) *problem.Problem {
	begin, ended, p := j.begin(ctx)
	if p != nil || ended {
		return p
	}
	for again := true; again; {
		again = false
		p := j.each(ctx, begin.Sequence, func(ctx context.Context, all []*walked) *problem.Problem {
			moved, p := j.applySome(ctx, all)
			again = again || moved
			return p
		})
		if p != nil {
			return p
		}
	}
	return j.end(ctx, begin)
}

// begin records that the rollback begins, or finds where it did; ended: it is done, and out is what was recorded.
func (j *rollJob) begin(ctx context.Context) (begin event.Link, ended bool, p *problem.Problem) {
	h, p := j.framed(ctx)
	if p != nil {
		return begin, false, p
	}
	if h.version == 0 {
		fields := map[string]string{"type": j.call.Scope.Type, "id": j.call.Scope.ID, "before": j.call.Asked}
		if j.call.To > 0 {
			fields["to"] = decimal(uint64(j.call.To))
		} else {
			fields["cut"] = j.call.Cut.String()
		}
		if _, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
			changes := oneEvent(typeRollbackLog, j.frame().ID, eventBegin, fields)
			changes[0].Expected = aggregate.None
			return changes, nil
		}); p != nil {
			return begin, false, p
		}
		if h, p = j.framed(ctx); p != nil {
			return begin, false, p
		}
	}
	if h.version > 1 {
		return begin, true, j.recorded(ctx, h.link)
	}
	return h.link, false, nil
}

// framed is the head of the frame.
func (j *rollJob) framed(ctx context.Context) (head, *problem.Problem) {
	var h head
	_, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		var err error
		if h, err = j.e.head(j.frame()); err != nil {
			return nil, problem.New(problem.Unavailable, "log %s: its state cannot be read: %v", j.e.name, err)
		}
		return nil, nil
	})
	if p != nil {
		return head{}, p // the act may still be decided: h is not ours to read
	}
	return h, nil
}

// recorded takes the outcome from the records in the log; link is that of rollback-end.
func (j *rollJob) recorded(ctx context.Context, link event.Link) *problem.Problem {
	var records []*Record
	_, p := j.e.recordOf(ctx, link, func(r *Record) bool { records = append(records, r); return false })
	if p != nil {
		return p
	}
	j.out.Begin, j.out.End = records[len(records)-1], records[0]
	j.out.Aggregates, _ = parseUnits(j.out.End.fields["aggregates"]) // the schema holds that these are numbers
	j.out.Events, _ = parseUnits(j.out.End.fields["events"])
	return nil
}

// applySome stores what brings some aggregates back, in as many blocks as it takes. moved: one of them changed meanwhile (its key was forgotten), and is to be looked at again.
func (j *rollJob) applySome(ctx context.Context, all []*walked) (moved bool, p *problem.Problem) {
	restores, p := j.restores(ctx, all, true)
	if p != nil {
		return false, p
	}
	for len(restores) > 0 {
		n, size := 0, 0
		var some []restoring
		for n < len(restores) && n < maxRestored && (n == 0 || size+restores[n].size() <= restoredBytes) {
			size += restores[n].size()
			some = append(some, restores[n].restoring)
			n++
		}
		restores = restores[n:]
		_, p := j.act(ctx, func(s *submission) ([]aggregate.Change, *problem.Problem) {
			s.restores = some
			return nil, nil
		})
		if p != nil && p.Code == problem.Conflict {
			moved = true
			continue
		}
		if p != nil {
			return moved, p
		}
	}
	return moved, nil
}

// end counts what was brought back, by reading the log behind rollback-begin, and records it.
func (j *rollJob) end(ctx context.Context, begin event.Link) *problem.Problem {
	until, p := j.rest(ctx)
	if p != nil {
		return p
	}
	aggregates, events, err := j.tally(ctx, begin, until)
	if err != nil {
		return j.failed(err)
	}
	fields := map[string]string{"aggregates": decimal(aggregates), "events": decimal(events)}
	if _, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		changes := oneEvent(typeRollbackLog, j.frame().ID, eventEnd, fields)
		changes[0].Expected = aggregate.Exactly(1)
		return changes, nil
	}); p != nil && p.Code != problem.Conflict { // else it is stored already
		return p
	}
	h, p := j.framed(ctx)
	if p != nil {
		return p
	}
	return j.recorded(ctx, h.link)
}

func (j *rollJob) tally(ctx context.Context, begin event.Link, until uint64) (aggregates, events uint64, err error) {
	from, err := chainBefore(ctx, j.e.log, cut{Sequence: begin.Sequence})
	if err != nil {
		return 0, 0, err
	}
	reader, err := eventlog.Read(ctx, j.e.log, from)
	if err != nil {
		return 0, 0, err
	}
	defer reader.Stop()
	for reader.Chain().Sequence < until {
		f, err := reader.Next(ctx)
		if err != nil {
			return 0, 0, err
		}
		if f.Standing != event.Counts {
			continue
		}
		for _, c := range f.Commits {
			if c.Correlation == j.call.ID && aggregate.IsRollback(&c.Events[0]) {
				aggregates++
				events += uint64(len(c.Events))
			}
		}
	}
	return aggregates, events, nil
}
