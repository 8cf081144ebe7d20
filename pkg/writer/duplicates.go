package writer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

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

// migrateUnique stores a migration that makes fields unique while its log decides nothing, so that no duplicate can come between the check and the rule.
// Commands wait; reading the log takes about a second for 300,000 events.
//
// Side effects in order, and what a crash behind each leaves: (1) the log records that it is frozen: it decides again when it sees a later writer of the
// system log. (2) The migration is stored: the log sees it. Where it is not stored, (3) the log records that it is thawed. Once (1) was asked for it goes on to the end
// even if the caller has gone.
func (w *Writer) migrateUnique(ctx context.Context, c *token.Claims, log string, f freeze, fields uniqueSet, store func(context.Context, uint64) *problem.Problem) *problem.Problem {
	done := make(chan *problem.Problem, 1)
	runs := w.beside(func(working context.Context) {
		w.freezing.Lock() // a log is frozen for one migration at a time
		defer w.freezing.Unlock()
		done <- w.storeFrozen(working, c, log, f, fields, store)
	})
	if !runs {
		return problem.New(problem.Unavailable, "the writer does not run")
	}
	select {
	case p := <-done:
		return p
	case <-ctx.Done():
		return problem.New(problem.UnknownOutcome, "the migration was not done in time: %v", ctx.Err()).WithHint("look at the type with `eventful schema:show %s`", f.Type)
	}
}

func (w *Writer) storeFrozen(ctx context.Context, c *token.Claims, log string, f freeze, fields uniqueSet, store func(context.Context, uint64) *problem.Problem) *problem.Problem {
	f.Epoch = w.system.state().chain.Epoch
	_, p := w.ask(ctx, log, verbFreeze, call{Token: c, Freeze: &f, Sequence: w.sys.now.Load().position.Sequence})
	if p == nil {
		var r result
		if r, p = w.ask(ctx, log, verbCheck, call{Freeze: &f, Unique: fields}); p == nil {
			p = problem.Join(r.Found)
			if p != nil {
				p = p.WithHint("change the values that stand twice, then migrate again; `eventful schema:migrate --dry-run` lists them")
			} else {
				p = store(ctx, f.Epoch)
			}
		}
	}
	if p != nil && p.Code != problem.UnknownOutcome { // else this process stops, or a later writer of the system log ends the freeze
		w.beside(func(ctx context.Context) {
			p := w.askToThaw(ctx, c, log, f)
			for p != nil && p.Code == problem.NoSpace && pause(ctx, retryAtMost) == nil { // with room again its commands are to go on
				p = w.askToThaw(ctx, c, log, f)
			}
			if p != nil && ctx.Err() == nil {
				w.cfg.Log.Warn().Str("log", log).Str("problem", p.Detail).Msg("log stays frozen until the system log has another writer")
			}
		})
	}
	return p
}

// askToThaw waits for a migration that is under way: the next try of the same one freezes the log by the same record, which must hold until it is stored.
func (w *Writer) askToThaw(ctx context.Context, c *token.Claims, log string, f freeze) *problem.Problem {
	w.freezing.Lock()
	defer w.freezing.Unlock()
	_, p := w.ask(ctx, log, verbThaw, call{Token: c, Freeze: &f})
	return p
}

// checking is a search for duplicates in a frozen log.
type checking struct {
	freeze freeze
	done   chan struct{}
	found  duplicates // read after done
	err    error
}

// checkPatience is how long one call waits for work that goes on from call to call.
const checkPatience = attemptPatience / 3

// doneInTime waits for such work; false: it has to be asked again.
func doneInTime(ctx context.Context, done <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// check lists the duplicates in a frozen log. The search goes on from call to call.
func (w *Writer) check(ctx context.Context, e *engine, f freeze, fields uniqueSet) result {
	w.checking.Lock()
	k := w.checks[e.name]
	if k == nil || k.freeze != f {
		k = &checking{freeze: f, done: make(chan struct{})}
		w.checks[e.name] = k
		w.beside(func(ctx context.Context) {
			defer close(k.done)
			k.found, k.err = duplicatesOf(ctx, w.sys, e.log, fields)
		})
	}
	w.checking.Unlock()
	if !doneInTime(ctx, k.done) {
		return result{Again: true}
	}
	w.checking.Lock()
	defer w.checking.Unlock()
	delete(w.checks, e.name)
	if k.err != nil {
		return result{Problem: problem.New(problem.Damaged, "log %s cannot be read for duplicates: %v", e.name, k.err)}
	}
	return result{Found: k.found.pairs}
}

// duplicates are values that must stand once and stand more often.
type duplicates struct {
	pairs      []*problem.Problem // at most maxDuplicates, in the order of the aggregates; values themselves are not told
	aggregates uint64             // all that hold such a value
}

// duplicatesOf lists the values of fields that more than one aggregate of a log holds now.
func duplicatesOf(ctx context.Context, sys *system, log eventlog.Log, fields uniqueSet) (duplicates, error) {
	held := make(map[event.AggregateID]map[string]string)
	blind := make(map[event.AggregateID]map[string]string) // sealed values that cannot be compared
	err := eachCommit(ctx, log, func(c *event.Commit) error {
		if c.Aggregate.Type == typeForgotten {
			return forgetHeld(c, held, blind)
		}
		if len(fields[c.Aggregate.Type]) == 0 {
			return nil
		}
		events, err := newEvents(c)
		if err != nil {
			return err
		}
		blind[c.Aggregate] = fields.blind(c.Aggregate, blind[c.Aggregate], events, func(i int) bool { return sys.deletes(c.Aggregate.Type, &c.Events[i]) })
		held[c.Aggregate], _ = fields.hold(sys.values(sys.now.Load()), c.Aggregate, held[c.Aggregate], events, func(i int) bool { return sys.deletes(c.Aggregate.Type, &c.Events[i]) })
		return nil
	})
	d := duplicatesIn(held)
	d.blind(blind)
	return d, err
}

// forgetHeld takes out what an aggregate holds of encrypted fields: its key is forgotten.
func forgetHeld(c *event.Commit, held, blind map[event.AggregateID]map[string]string) error {
	it := item{commit: c}
	err := it.forget(func(a event.AggregateID) (head, error) { return head{held: held[a]}, nil })
	if err != nil {
		return err
	}
	if it.forgets.after != nil {
		held[it.forgets.aggregate] = it.forgets.after.held
	}
	delete(blind, it.forgets.aggregate)
	return nil
}

// blind keeps note of fields whose value was sealed while they were not unique: nobody can compare it without its key.
func (u uniqueSet) blind(a event.AggregateID, before map[string]string, events []aggregate.NewEvent, deletes func(i int) bool) map[string]string {
	after := maps.Clone(before)
	for i := range events {
		for _, f := range events[i].Fields {
			if !slices.Contains(u[a.Type], f.Name) {
				continue
			}
			delete(after, f.Name)
			if _, known := (values{view: &view{}}).of(a.Type, f); f.Set && !known {
				if after == nil {
					after = make(map[string]string)
				}
				after[f.Name] = ""
			}
		}
		if deletes(i) {
			clear(after)
		}
	}
	return after
}

// blind adds what cannot be compared.
func (d *duplicates) blind(held map[event.AggregateID]map[string]string) {
	for _, a := range slices.SortedFunc(maps.Keys(held), byName) {
		for _, field := range slices.Sorted(maps.Keys(held[a])) {
			d.aggregates++
			if len(d.pairs) < maxDuplicates {
				d.pairs = append(d.pairs, aboutField(problem.Conflict, field, "%s holds a value of %q that was encrypted before the field was unique, and so cannot be compared: unset it, migrate, and set it again", a, field))
			}
		}
	}
}

func byName(a, b event.AggregateID) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID))
}

// duplicatesIn goes through what aggregates hold by type and id, and their fields by name.
func duplicatesIn(held map[event.AggregateID]map[string]string) (d duplicates) {
	aggregates := slices.SortedFunc(maps.Keys(held), byName)
	owners, colliding := make(map[string]event.AggregateID), make(map[event.AggregateID]bool)
	for _, a := range aggregates {
		for _, field := range slices.Sorted(maps.Keys(held[a])) {
			key := uniqueKey(a.Type, field, held[a][field])
			if other, twice := owners[key]; twice {
				colliding[other], colliding[a] = true, true
				if len(d.pairs) < maxDuplicates {
					d.pairs = append(d.pairs, aboutField(problem.Conflict, field, "%s and %s hold the same value of %q", other, a, field))
				}
			}
			owners[key] = a
		}
	}
	d.aggregates = uint64(len(colliding))
	return d
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
