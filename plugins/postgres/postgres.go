// Package postgres is the plugin that keeps tables of PostgreSQL, as a mapping says: a row for each aggregate as it is now, or a row for each event.
//
// Effects are exactly once. Beside the tables lies another one, eventful_positions, with the version that each aggregate has in its table. Both are written in one
// transaction, and a change whose version is not higher than that does nothing; so whatever comes again, from a repeated call, a replay or a runner
// that slept, is known, and a trigger of the table fires once for each version (statement.go). A row of an event is its own position.
//
// A batch is one transaction. If PostgreSQL refuses something in it, each change gets a transaction of its own, and the one that is to blame is parked (deliver.go).
// Tables and columns are made by whoever owns the database, and checked when the plugin is opened (table.go). docs/plugins-postgres.md is the manual.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Kind is the plugin type postgres.
func Kind() *plugin.Kind {
	return &plugin.Kind{
		Name: "postgres", Summary: "keeps tables of PostgreSQL, by a mapping of fields: a row for each aggregate, or for each event, exactly once", Ordered: true, State: true,
		Options: options(), Check: check, Open: open, Show: show,
	}
}

// target is an open plugin.
type target struct {
	pool    *pgxpool.Pool
	mapping *mapping.Mapping
	key     string            // column that holds the key of the mapping; empty: rows are told by type and id
	json    string            // column for all fields; empty: none
	tables  map[string]*table // by aggregate type
}

// events reports whether a row stands for an event, not for an aggregate.
func (t *target) events() bool { return t.mapping.Document == mapping.OfEvent }

// open connects, and holds the tables against the configuration.
func open(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
	if s.Options[optionMapping] == "" {
		return nil, errors.New("this configuration is of an older eventful, with --table and --columns: configure the plugin again with --mapping")
	}
	config, err := connection(s.Options)
	if err != nil {
		return nil, err
	}
	t := &target{key: s.Options[optionKey], json: s.Options[optionJSON]}
	if t.mapping, err = compile(&s); err != nil {
		return nil, fmt.Errorf("read the mapping: %w", err)
	}
	if t.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if err := t.prepare(ctx); err != nil {
		t.pool.Close()
		return nil, err
	}
	return t, nil
}

// prepare checks the tables, and sees to those with positions.
func (t *target) prepare(ctx context.Context) (err error) {
	if t.tables, err = t.examine(ctx); err != nil {
		return err
	}
	made := map[place]bool{}
	for _, tab := range t.tables {
		p := tab.positions()
		if made[p] {
			continue
		}
		if err := t.makePositions(ctx, p); err != nil {
			return err
		}
		made[p] = true
	}
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

// Test writes a row of an aggregate that does not exist into each table, and takes it back with its transaction. A table whose constraints refuse that row was reached.
func (t *target) Test(ctx context.Context) error {
	found, err := t.examine(ctx)
	if err != nil {
		return err
	}
	tried := map[place]bool{}
	for _, aggregateType := range slices.Sorted(maps.Keys(found)) {
		tab := found[aggregateType]
		if tried[tab.place] {
			continue
		}
		tried[tab.place] = true
		if err := t.try(ctx, tab); err != nil {
			return fmt.Errorf("table %s: %w", tab.name(), err)
		}
	}
	return nil
}

func (t *target) try(ctx context.Context, tab *table) error {
	c := plugin.Dummy()
	w := work{change: &c, table: tab, effect: mapping.Effect{Action: mapping.Write, Key: c.Leaf.String()}}
	for _, column := range t.mapping.Columns() {
		w.effect.Unset = append(w.effect.Unset, column.Name)
	}
	w.cells = t.cells(&w)
	err := pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		if err := t.apply(ctx, tx, []work{w}); err != nil {
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
