package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is the one that is kept, as PostgreSQL names it.
type table struct{ schema, relation string }

func (t table) name() string { return t.schema + "." + t.relation }

func (t table) sql() string { return pgx.Identifier{t.schema, t.relation}.Sanitize() }

// positions is the table beside it that says which version each aggregate has there.
func (t table) positions() table { return table{t.schema, "eventful_positions"} }

// positionsMark is the comment of the table with positions, which carries its version.
const positionsMark = "EventfulDB: versions that aggregates have in tables of this schema. Format 1"

// catalogColumn is a column as the catalog tells it.
type catalogColumn struct {
	Name    string
	Type    string
	Wanted  bool // it is NOT NULL and has no default
	Written bool // false if PostgreSQL generates it
}

// examine finds the table, holds it against the configuration, and gives each column its type. The error names everything that is wrong, and how a table that fits is made.
func (t *target) examine(ctx context.Context, name string) (found table, err error) {
	parts := strings.Split(name, ".")
	err = t.pool.QueryRow(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')`, pgx.Identifier(parts).Sanitize()).Scan(&found.schema, &found.relation)
	if errors.Is(err, pgx.ErrNoRows) {
		return found, fmt.Errorf("there is no table %s, or its schema may not be used; one that fits is made by\n%s", name, t.create(pgx.Identifier(parts).Sanitize()))
	}
	if err != nil {
		return found, told(err)
	}
	rows, err := t.pool.Query(ctx, `SELECT attname, format_type(atttypid, -1), attnotnull AND NOT atthasdef AND attidentity = '', attgenerated = '' AND attidentity <> 'a'
		FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, found.sql())
	if err != nil {
		return found, told(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[catalogColumn])
	if err != nil {
		return found, told(err)
	}
	problems := t.hold(all)
	var unique bool
	if err := t.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
		AND i.indexprs IS NULL AND $2 = (SELECT string_agg(a.attname::text, ',' ORDER BY a.attname::text COLLATE "C") FROM pg_attribute a WHERE a.attrelid = i.indrelid
		AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))`, found.sql(), strings.Join(t.key(), ",")).Scan(&unique); err != nil {
		return found, told(err)
	}
	if !unique {
		problems = append(problems, fmt.Errorf("it has no primary key or unique index over (%s) and nothing else", strings.Join(t.key(), ", ")))
	}
	if len(problems) > 0 {
		return found, fmt.Errorf("table %s does not fit:\n%w\na table that fits is made by\n%s", found.name(), errors.Join(problems...), t.create(found.sql()))
	}
	return found, nil
}

// key are the columns that tell rows apart, in ascending order.
func (t *target) key() []string {
	if t.events {
		return []string{columnID, columnType, columnVersion}
	}
	return []string{columnID, columnType}
}

// hold says what is wrong with the columns of the table, and takes over their types.
func (t *target) hold(all []catalogColumn) (problems []error) {
	find := func(name string) *catalogColumn {
		i := slices.IndexFunc(all, func(c catalogColumn) bool { return c.Name == name })
		if i < 0 {
			problems = append(problems, fmt.Errorf("it has no column %s", name))
			return nil
		}
		if !all[i].Written {
			problems = append(problems, fmt.Errorf("column %s is generated, nobody can write it", name))
		}
		all[i].Wanted = false
		return &all[i]
	}
	for name, types := range map[string][]string{columnType: {"text", "character varying"}, columnID: {"text", "character varying"}, columnVersion: {"bigint"}} {
		if c := find(name); c != nil && !slices.Contains(types, c.Type) {
			problems = append(problems, fmt.Errorf("column %s is of type %s, it must be %s", name, c.Type, types[0]))
		}
	}
	for i := range t.columns {
		if c := find(t.columns[i].name); c != nil {
			t.columns[i].typed = c.Type
		}
	}
	for i := range all {
		if all[i].Wanted {
			problems = append(problems, fmt.Errorf("column %s wants a value (NOT NULL, no default), and nothing is configured for it", all[i].Name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// create words a table that fits; every column of a configuration is a text in it.
func (t *target) create(name string) string {
	lines := []string{columnType + " text", columnID + " text", columnVersion + " bigint NOT NULL"}
	for i := range t.columns {
		kind := " text"
		switch {
		case t.columns[i].field == "" && t.columns[i].meta == "":
			kind = " jsonb"
		case t.columns[i].meta == "time" || t.columns[i].meta == "occurred_at":
			kind = " timestamptz"
		}
		lines = append(lines, pgx.Identifier{t.columns[i].name}.Sanitize()+kind)
	}
	return "CREATE TABLE " + name + " (" + strings.Join(lines, ", ") + ", PRIMARY KEY (" + strings.Join(t.key(), ", ") + "))"
}

// makePositions makes the table with positions where it is missing. Two that make it at the same time disturb each other, and one tries again.
func (t *target) makePositions(ctx context.Context) error {
	for range 3 {
		comment, there := "", false
		err := t.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, coalesce(obj_description(to_regclass($1), 'pg_class'), '')", t.table.positions().sql()).Scan(&there, &comment)
		switch {
		case err != nil:
			return told(err)
		case there && comment == positionsMark:
			return nil
		case there:
			return fmt.Errorf("table %s is not of the format that this plugin knows: its comment is %.100q, not %q", t.table.positions().name(), comment, positionsMark)
		}
		err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
			name := t.table.positions().sql()
			if _, err := tx.Exec(ctx, "CREATE TABLE "+name+` (target text, aggregate_type text, aggregate_id text, version bigint NOT NULL, position text NOT NULL,
				PRIMARY KEY (target, aggregate_type, aggregate_id))`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "COMMENT ON TABLE "+name+" IS '"+positionsMark+"'")
			return err
		})
		if err != nil && class(err) != classIntegrity && code(err) != codeDuplicateTable {
			return fmt.Errorf("make table %s: %w", t.table.positions().name(), told(err))
		}
	}
	return fmt.Errorf("table %s comes and goes", t.table.positions().name())
}
