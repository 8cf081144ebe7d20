package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// errNoState cannot happen: the engine gives a plugin of this kind the state.
var errNoState = errors.New("the change came without the state of its aggregate")

// Deliver writes the batch in one transaction; when PostgreSQL refuses something in it, each change in one of its own.
func (t *target) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	changes := make([]*plugin.Change, len(b.Changes))
	for i := range b.Changes {
		if changes[i] = &b.Changes[i]; changes[i].State == nil && !t.events && !changes[i].Forgotten {
			return plugin.All(len(changes), plugin.Retry(errNoState))
		}
	}
	err := t.transact(ctx, changes)
	if err == nil {
		return plugin.All(len(changes), plugin.Done())
	}
	if !refuses(err) {
		return plugin.All(len(changes), plugin.Retry(told(err)))
	}
	return t.single(ctx, changes)
}

// single gives each change a transaction. None is written behind one of the same aggregate that was not.
func (t *target) single(ctx context.Context, changes []*plugin.Change) []plugin.Outcome {
	outcomes, stopped := make([]plugin.Outcome, len(changes)), map[event.AggregateID]bool{}
	for i, c := range changes {
		if stopped[c.Aggregate] {
			continue // the zero outcome: it comes again
		}
		err := t.transact(ctx, changes[i:i+1])
		switch {
		case err == nil:
			outcomes[i] = plugin.Done()
		case refuses(err):
			outcomes[i] = plugin.Park(t.blame(ctx, c, err))
		default:
			outcomes[i] = plugin.Retry(told(err))
		}
		stopped[c.Aggregate] = err != nil
	}
	return outcomes
}

// transact writes changes and their positions, all or none. A commit whose answer is lost may have been made; then the positions tell so when the changes come again.
func (t *target) transact(ctx context.Context, changes []*plugin.Change) error {
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return t.apply(ctx, tx, changes) })
}

func (t *target) apply(ctx context.Context, tx pgx.Tx, changes []*plugin.Change) error {
	b := &pgx.Batch{}
	for _, c := range changes {
		t.queue(b, c)
	}
	return tx.SendBatch(ctx, b).Close()
}

// blame names the column whose value PostgreSQL refuses, as it does not say itself.
func (t *target) blame(ctx context.Context, c *plugin.Change, err error) error {
	if class(err) != classData || c.Forgotten || !t.events && c.State.Deleted {
		return told(err)
	}
	for i := range t.columns {
		var ok bool
		value := t.columns[i].value(c, t.events)
		if err := t.pool.QueryRow(ctx, "SELECT $1::"+t.columns[i].typed+" IS NULL", value).Scan(&ok); class(err) == classData {
			return fmt.Errorf("column %s does not take the value as %s: %w", t.columns[i].name, t.columns[i].typed, told(err))
		}
	}
	return told(err)
}
