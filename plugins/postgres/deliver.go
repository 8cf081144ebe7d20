package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// errNoState cannot happen: the engine gives a plugin of this kind the state.
var errNoState = errors.New("the change came without the state of its aggregate")

// work is what a change does to its table.
type work struct {
	at     int // its place in the batch
	change *plugin.Change
	table  *table
	effect mapping.Effect
	cells  []cell // that a row gets
}

// Deliver writes the batch in one transaction; when PostgreSQL refuses something in it, each change in one of its own.
func (t *target) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	outcomes := make([]plugin.Outcome, len(b.Changes))
	all := t.plan(b.Changes, outcomes)
	if len(all) == 0 {
		return outcomes
	}
	err := t.transact(ctx, all)
	if err != nil && refuses(err) {
		t.single(ctx, all, outcomes)
		return outcomes
	}
	for _, w := range all {
		if outcomes[w.at] = plugin.Done(); err != nil {
			outcomes[w.at] = plugin.Retry(told(err))
		}
	}
	return outcomes
}

// plan maps the changes. Those without an effect are done, one that cannot be mapped is parked, and what stands behind that comes again.
func (t *target) plan(changes []plugin.Change, outcomes []plugin.Outcome) (all []work) {
	stopped := map[event.AggregateID]bool{}
	for i := range changes {
		c := &changes[i]
		if stopped[c.Aggregate] {
			continue // the zero outcome: it comes again
		}
		if c.State == nil && !c.Forgotten {
			outcomes[i], stopped[c.Aggregate] = plugin.Retry(errNoState), true
			continue
		}
		effect, err := t.mapping.Map(c)
		w := work{at: i, change: c, table: t.tables[c.Aggregate.Type], effect: effect}
		switch {
		case err != nil:
			outcomes[i], stopped[c.Aggregate] = plugin.Park(fmt.Errorf("map the change: %w", err)), true
		case w.table == nil || effect.Action == mapping.Nothing && !(c.Forgotten && t.json != ""):
			outcomes[i] = plugin.Done()
		default:
			w.cells = t.cells(&w)
			all = append(all, w)
		}
	}
	return all
}

// cells gives what the mapping sets and unsets, and the object of all fields.
func (t *target) cells(w *work) []cell {
	if w.effect.Action != mapping.Write {
		return nil
	}
	all := make([]cell, 0, len(w.effect.Set)+len(w.effect.Unset)+1)
	for i := range w.effect.Set {
		all = append(all, w.table.cell(w.effect.Set[i].Name, &w.effect.Set[i].Value))
	}
	for _, name := range w.effect.Unset {
		all = append(all, w.table.cell(name, nil))
	}
	if t.json != "" {
		all = append(all, cell{column: t.json, cast: "$%d::" + w.table.types[t.json], value: object(w.change, t.events())})
	}
	return all
}

// single gives each change a transaction. None is written behind one of the same aggregate that was not.
func (t *target) single(ctx context.Context, all []work, outcomes []plugin.Outcome) {
	stopped := map[event.AggregateID]bool{}
	for i := range all {
		w := &all[i]
		if stopped[w.change.Aggregate] {
			continue // the zero outcome: it comes again
		}
		err := t.transact(ctx, all[i:i+1])
		switch {
		case err == nil:
			outcomes[w.at] = plugin.Done()
		case refuses(err):
			outcomes[w.at] = plugin.Park(t.blame(ctx, w, err))
		default:
			outcomes[w.at] = plugin.Retry(told(err))
		}
		stopped[w.change.Aggregate] = err != nil
	}
}

// transact writes changes and their positions, all or none. A commit whose answer is lost may have been made; then the positions tell so when the changes come again.
func (t *target) transact(ctx context.Context, all []work) error {
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return t.apply(ctx, tx, all) })
}

func (t *target) apply(ctx context.Context, tx pgx.Tx, all []work) error {
	b := &pgx.Batch{}
	for i := range all {
		t.queue(b, &all[i])
	}
	return tx.SendBatch(ctx, b).Close()
}

// blame names the column whose value PostgreSQL refuses, as it does not say itself.
func (t *target) blame(ctx context.Context, w *work, err error) error {
	if class(err) != classData {
		return told(err)
	}
	for _, c := range w.cells {
		var ok bool
		if err := t.pool.QueryRow(ctx, "SELECT "+fmt.Sprintf(c.cast, 1)+" IS NULL", c.value).Scan(&ok); class(err) == classData {
			return fmt.Errorf("column %s does not take the value as %s: %w", c.column, w.table.types[c.column], told(err))
		}
	}
	return told(err)
}
