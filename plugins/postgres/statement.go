package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// queue adds the statement of a change to a batch.
//
// Each sets the aggregate's version in the table of positions, and does its work only if that was lower; both happen in the same statement, so nothing can come between.
// A row of an event is told by its own key: one that was parked, and comes behind later ones, is written too.
func (t *target) queue(b *pgx.Batch, w *work) {
	if w.change.Forgotten {
		t.queueForget(b, w)
		return
	}
	s := &statement{}
	a := w.change.Aggregate
	s.add("WITH mark AS (INSERT INTO ", w.table.positions().sql(), " AS p (target, aggregate_type, aggregate_id, version, position) VALUES (",
		s.parameter(w.table.name()), ", ", s.parameter(a.Type), ", ", s.parameter(a.ID), ", ", s.parameter(int64(w.change.Version)), ", ", s.parameter(w.change.Position.String()),
		") ON CONFLICT (target, aggregate_type, aggregate_id) DO UPDATE SET version = excluded.version, position = excluded.position WHERE p.version < excluded.version RETURNING version) ")
	if w.effect.Action == mapping.Remove {
		s.add("DELETE FROM ", w.table.sql(), " WHERE ", t.row(s, w), " AND EXISTS (SELECT FROM mark)")
	} else {
		t.write(s, w)
	}
	b.Queue(s.text.String(), s.arguments...)
}

// write adds what writes a row: of an aggregate the columns that are given, and no others; of an event the row if it is not there.
func (t *target) write(s *statement, w *work) {
	var names, values, updates []string
	give := func(column, value string) {
		name := pgx.Identifier{column}.Sanitize()
		names, values, updates = append(names, name), append(values, value), append(updates, name+" = excluded."+name)
	}
	if t.key != "" {
		give(t.key, s.parameter(w.effect.Key)+"::"+w.table.types[t.key])
	} else {
		give(columnType, s.parameter(w.change.Aggregate.Type)+"::text")
		give(columnID, s.parameter(w.change.Aggregate.ID)+"::text")
		give(columnVersion, s.parameter(int64(w.change.Version))+"::bigint")
	}
	for _, c := range w.cells {
		give(c.column, fmt.Sprintf(c.cast, s.next(c.value)))
	}
	s.add("INSERT INTO ", w.table.sql(), " (", strings.Join(names, ", "), ") SELECT ", strings.Join(values, ", "))
	key := strings.Join(quoted(t.keys()), ", ")
	if t.events() {
		s.add(" ON CONFLICT (", key, ") DO NOTHING")
		return
	}
	s.add(" FROM mark ON CONFLICT (", key, ") DO UPDATE SET ", strings.Join(updates, ", "))
}

// row adds the condition for the rows of a change's aggregate.
func (t *target) row(s *statement, w *work) string {
	if t.key != "" {
		return pgx.Identifier{t.key}.Sanitize() + " = " + s.parameter(w.effect.Key) + "::" + w.table.types[t.key]
	}
	return columnType + " = " + s.parameter(w.change.Aggregate.Type) + " AND " + columnID + " = " + s.parameter(w.change.Aggregate.ID)
}

// queueForget adds what takes forgotten fields out of the rows of an aggregate, whatever versions they have; a row that is not there stays away. Nothing is said of a
// position: it is no event of the aggregate.
func (t *target) queueForget(b *pgx.Batch, w *work) {
	s := &statement{}
	var sets []string
	for _, column := range w.effect.Unset {
		sets = append(sets, pgx.Identifier{column}.Sanitize()+" = NULL")
	}
	if t.json != "" {
		var fields []string
		for _, f := range w.change.Fields {
			fields = append(fields, f.Name)
		}
		name := pgx.Identifier{t.json}.Sanitize()
		sets = append(sets, name+" = ("+name+"::jsonb - "+s.parameter(fields)+"::text[])::"+w.table.types[t.json])
		if w.effect.Action == mapping.Nothing { // the mapping has nothing from these fields, so it gave no key either
			w.effect.Key = t.mapping.KeyOf(w.change)
		}
	}
	s.add("UPDATE ", w.table.sql(), " SET ", strings.Join(sets, ", "), " WHERE ", t.row(s, w))
	b.Queue(s.text.String(), s.arguments...)
}

// statement is SQL in the making, with its parameters.
type statement struct {
	text      strings.Builder
	arguments []any
}

func (s *statement) add(parts ...string) {
	for _, p := range parts {
		s.text.WriteString(p)
	}
}

// next takes a parameter and gives its number.
func (s *statement) next(value any) int {
	s.arguments = append(s.arguments, value)
	return len(s.arguments)
}

// parameter takes a parameter and gives its name.
func (s *statement) parameter(value any) string { return fmt.Sprintf("$%d", s.next(value)) }

func quoted(names []string) []string {
	out := slices.Clone(names)
	for i, name := range out {
		out[i] = pgx.Identifier{name}.Sanitize()
	}
	return out
}
