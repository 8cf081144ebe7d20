package writer

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// maxDuplicates bounds how many pairs of a check are named.
const maxDuplicates = 100

// newlyUnique are the fields that a definition makes unique and old did not, in ascending order.
func newlyUnique(old *schema.Schema, d schema.Definition) []string {
	next, err := schema.Compile(d, 1)
	if err != nil {
		return nil
	}
	var fields []string
	for _, f := range next.UniqueFields() {
		if old == nil || !old.Fields[f].Unique {
			fields = append(fields, f)
		}
	}
	return fields
}

// migrateUnique stores a migration that makes fields unique while their log decides nothing, so that no duplicate can come between the check and the rule.
// Commands wait; reading the log takes about a second for 300,000 events.
func (w *Writer) migrateUnique(ctx context.Context, c *token.Claims, e *engine, fields uniqueSet, store func() *problem.Problem) *problem.Problem {
	_, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		duplicates, err := duplicatesOf(ctx, w.sys, e.log, fields)
		if err != nil {
			return nil, problem.New(problem.Unavailable, "log %s cannot be read for duplicates: %v", e.name, err)
		}
		if p := problem.Join(duplicates); p != nil {
			return nil, p.WithHint("change the values that stand twice, then migrate again; `eventful schema:migrate --dry-run` lists them")
		}
		return nil, store()
	})
	return p
}

// duplicatesOf lists the values of fields that more than one aggregate of a log holds now. Values themselves are not told.
func duplicatesOf(ctx context.Context, sys *system, log eventlog.Log, fields uniqueSet) ([]*problem.Problem, error) {
	held, owners := make(map[event.AggregateID]map[string]string), make(map[string]string)
	err := eachCommit(ctx, log, func(c *event.Commit) error {
		if len(fields[c.Aggregate.Type]) == 0 {
			return nil
		}
		events, err := newEvents(c)
		if err != nil {
			return err
		}
		held[c.Aggregate], _ = fields.hold(c.Aggregate, held[c.Aggregate], events, func(i int) bool { return sys.deletes(c.Aggregate.Type, &c.Events[i]) })
		return nil
	})
	var out []*problem.Problem
	for a, values := range held {
		for field, value := range values {
			key := uniqueKey(a.Type, field, value)
			if other, twice := owners[key]; twice && len(out) < maxDuplicates {
				out = append(out, aboutField(problem.Conflict, field, "%s and %s hold the same value of %q", event.AggregateID{Type: a.Type, ID: other}, a, field))
			}
			owners[key] = a.ID
		}
	}
	return out, err
}

// eachCommit goes through all commits that the log holds now.
func eachCommit(ctx context.Context, log eventlog.Log, fn func(*event.Commit) error) error {
	_, last, err := log.Bounds(ctx)
	if err != nil || last == 0 {
		return err
	}
	reader, err := eventlog.Read(ctx, log, event.Chain{})
	if err != nil {
		return err
	}
	defer reader.Stop()
	for reader.Chain().Sequence < last {
		f, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if f.Standing != event.Counts {
			continue
		}
		for _, c := range f.Commits {
			if err := fn(c); err != nil {
				return err
			}
		}
	}
	return nil
}
