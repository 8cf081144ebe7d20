// Package postgres is the plugin that keeps a PostgreSQL table: a row for each aggregate as it is now, or a row for each event.
//
// Effects are exactly once. Beside the table lies another one, eventful_positions, with the version that each aggregate has in the target. Both are written in one
// transaction, and a change whose version is not higher than that does nothing; so whatever comes again, from a repeated call, a replay or a runner
// that slept, is known, and a trigger of the table fires once for each version (statement.go). A row of an event is its own position.
//
// A batch is one transaction. If PostgreSQL refuses something in it, each change gets a transaction of its own, and the one that is to blame is parked (deliver.go).
// Table and columns are made by whoever owns the database, and checked when the plugin is opened (table.go). docs/plugins.md is the manual.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Kind is the plugin type postgres.
func Kind() *plugin.Kind {
	return &plugin.Kind{
		Name: "postgres", Summary: "keeps a PostgreSQL table: a row for each aggregate, or for each event, exactly once", Ordered: true, State: true,
		Options: options(), Check: check, Open: open,
	}
}

// target is an open table.
type target struct {
	pool    *pgxpool.Pool
	events  bool // a row for each event, not for each aggregate
	columns []column
	write   string // statements
	remove  string
	table   table
}

// open connects, and holds the table against the configuration.
func open(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
	config, err := connection(s.Options)
	if err != nil {
		return nil, err
	}
	t := &target{events: s.Options[optionRows] == rowsEvent}
	if t.columns, err = parseColumns(s.Options[optionColumns], s.Options[optionJSON]); err != nil {
		return nil, err
	}
	if t.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if err := t.prepare(ctx, s.Options[optionTable]); err != nil {
		t.pool.Close()
		return nil, err
	}
	return t, nil
}

// prepare checks the table, sees to the one with positions, and words the statements.
func (t *target) prepare(ctx context.Context, name string) (err error) {
	if t.table, err = t.examine(ctx, name); err != nil {
		return err
	}
	if err := t.makePositions(ctx); err != nil {
		return err
	}
	t.write, t.remove = t.statements()
	return nil
}

// connection reads the address. What the environment says of passwords is not used: it is not for a server that a configuration names.
func connection(v plugin.Values) (*pgxpool.Config, error) {
	address, err := parseURL(v[optionURL])
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("address of PostgreSQL: %w", err)
	}
	c := config.ConnConfig
	c.Password = v[optionPassword]
	if roots := v.Certificates(optionCA); roots != nil && c.TLSConfig != nil {
		c.TLSConfig.RootCAs = roots
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is kept in a session, so that poolers may stand between
	for name, value := range map[string]string{"TimeZone": "UTC", "DateStyle": "ISO", "standard_conforming_strings": "on"} {
		c.RuntimeParams[name] = value
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "eventful"
	}
	config.MaxConns = int32(min(max(v.Int(optionConnections), 1), maxConnections))
	return config, nil
}

// errUndone ends the transaction of a test, so that nothing of it stays.
var errUndone = errors.New("undone")

// Test writes a row of an aggregate that does not exist, and takes it back with its transaction. A table whose constraints refuse that row was reached.
func (t *target) Test(ctx context.Context) error {
	if _, err := t.examine(ctx, t.table.name()); err != nil {
		return err
	}
	c := plugin.Dummy()
	c.State = &plugin.State{}
	err := pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		if err := t.apply(ctx, tx, []*plugin.Change{&c}); err != nil {
			return err
		}
		return errUndone
	})
	if errors.Is(err, errUndone) || class(err) == classIntegrity {
		return nil
	}
	return told(err)
}

// Close ends the connections.
func (t *target) Close() error {
	t.pool.Close()
	return nil
}
