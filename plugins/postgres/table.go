package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// place is a table as PostgreSQL names it.
type place struct{ schema, relation string }

func (p place) name() string { return p.schema + "." + p.relation }

func (p place) sql() string { return pgx.Identifier{p.schema, p.relation}.Sanitize() }

// table is one that is kept.
type table struct {
	place
	types map[string]string // of the columns, as SQL names them, without their limits
}

// positions is the table beside it that says which version each aggregate has there.
func (p place) positions() place { return place{p.schema, "eventful_positions"} }

// positionsMark is the comment of the table with positions, which carries its version.
const positionsMark = "EventfulDB: versions that aggregates have in tables of this schema. Format 1"

// catalogColumn is a column as the catalog tells it.
type catalogColumn struct {
	Name    string
	Type    string
	Wanted  bool // it is NOT NULL and has no default
	Written bool // false if PostgreSQL generates it
}

// examine finds the table of each aggregate type, and holds it against the configuration. The error names everything that is wrong, and how tables that fit are made.
func (t *target) examine(ctx context.Context) (map[string]*table, error) {
	if err := t.pool.Ping(ctx); err != nil { // once, and not for each table
		return nil, told(err)
	}
	found, seen, problems := map[string]*table{}, map[string]*table{}, []error(nil)
	for _, aggregateType := range t.mapping.Types {
		name := tableName(t.mapping, aggregateType)
		tab, known := seen[name]
		if !known {
			var err error
			if tab, err = t.examineOne(ctx, name); err != nil {
				problems = append(problems, err)
			}
			seen[name] = tab
		}
		found[aggregateType] = tab
	}
	return found, errors.Join(problems...)
}

func (t *target) examineOne(ctx context.Context, name string) (*table, error) {
	at, as := place{}, pgx.Identifier(strings.Split(name, ".")).Sanitize()
	err := t.pool.QueryRow(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')`, as).Scan(&at.schema, &at.relation)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("there is no table %s, or its schema may not be used; one that fits is made by\n%s", name, t.create(as))
	}
	if err != nil {
		return nil, told(err)
	}
	rows, err := t.pool.Query(ctx, `SELECT attname, format_type(atttypid, -1), attnotnull AND NOT atthasdef AND attidentity = '', attgenerated = '' AND attidentity <> 'a'
		FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, at.sql())
	if err != nil {
		return nil, told(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[catalogColumn])
	if err != nil {
		return nil, told(err)
	}
	problems := t.hold(all)
	unique, err := t.unique(ctx, at)
	if err != nil {
		return nil, err
	}
	if !unique {
		problems = append(problems, fmt.Errorf("it has no primary key or unique index over (%s) and nothing else", strings.Join(t.keys(), ", ")))
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("table %s does not fit: %w\na table that fits is made by\n%s", at.name(), errors.Join(problems...), t.create(at.sql()))
	}
	tab := &table{at, map[string]string{}}
	for _, c := range all {
		tab.types[c.Name] = c.Type
	}
	return tab, nil
}

// unique reports whether the key's columns tell rows apart.
func (t *target) unique(ctx context.Context, at place) (is bool, err error) {
	if err := t.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
		AND i.indexprs IS NULL AND $2 = (SELECT string_agg(a.attname::text, ',' ORDER BY a.attname::text COLLATE "C") FROM pg_attribute a WHERE a.attrelid = i.indrelid
		AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))`, at.sql(), strings.Join(t.keys(), ",")).Scan(&is); err != nil {
		return false, told(err)
	}
	return is, nil
}

// keys are the columns that tell rows apart, in ascending order.
func (t *target) keys() []string {
	switch {
	case t.key != "":
		return []string{t.key}
	case t.events():
		return []string{columnID, columnType, columnVersion}
	}
	return []string{columnID, columnType}
}

// owned are the columns that are written beside those of the mapping, with the types that they may have: the first is natural.
func (t *target) owned() map[string][]string {
	own := map[string][]string{}
	if t.key != "" {
		own[t.key] = []string{"text", "character varying", "bpchar", "uuid"}
	} else {
		own[columnType], own[columnID], own[columnVersion] = []string{"text", "character varying"}, []string{"text", "character varying"}, []string{"bigint"}
	}
	if t.json != "" {
		own[t.json] = []string{"jsonb", "json"}
	}
	return own
}

// hold says what is wrong with the columns of a table.
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
	for name, types := range t.owned() {
		if c := find(name); c != nil && !slices.Contains(types, c.Type) {
			problems = append(problems, fmt.Errorf("column %s is of type %s, it must be %s", name, c.Type, types[0]))
		}
	}
	for _, column := range t.mapping.Columns() {
		if c := find(column.Name); c != nil && never(column.Type, c.Type) {
			problems = append(problems, fmt.Errorf("column %s is of type %s, which takes nothing that is %s", column.Name, c.Type, column.Type))
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

// create words a table that fits.
func (t *target) create(name string) string {
	var lines []string
	own := t.owned()
	for _, column := range slices.Sorted(maps.Keys(own)) {
		line := pgx.Identifier{column}.Sanitize() + " " + own[column][0]
		if column == columnVersion {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	for _, c := range t.mapping.Columns() {
		lines = append(lines, pgx.Identifier{c.Name}.Sanitize()+" "+natural(c.Type))
	}
	return "CREATE TABLE " + name + " (" + strings.Join(lines, ", ") + ", PRIMARY KEY (" + strings.Join(quoted(t.keys()), ", ") + "))"
}

// makePositions makes the table with positions where it is missing. Two that make it at the same time disturb each other, and one tries again.
func (t *target) makePositions(ctx context.Context, at place) error {
	for range 3 {
		comment, there := "", false
		err := t.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, coalesce(obj_description(to_regclass($1), 'pg_class'), '')", at.sql()).Scan(&there, &comment)
		switch {
		case err != nil:
			return told(err)
		case there && comment == positionsMark:
			return nil
		case there:
			return fmt.Errorf("table %s is not of the format that this plugin knows: its comment is %.100q, not %q", at.name(), comment, positionsMark)
		}
		err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
			name := at.sql()
			if _, err := tx.Exec(ctx, "CREATE TABLE "+name+` (target text, aggregate_type text, aggregate_id text, version bigint NOT NULL, position text NOT NULL,
				PRIMARY KEY (target, aggregate_type, aggregate_id))`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "COMMENT ON TABLE "+name+" IS '"+positionsMark+"'")
			return err
		})
		if err != nil && class(err) != classIntegrity && code(err) != codeDuplicateTable {
			return fmt.Errorf("make table %s: %w", at.name(), told(err))
		}
	}
	return fmt.Errorf("table %s comes and goes", at.name())
}
