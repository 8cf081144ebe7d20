package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// firstColumn is the number of the parameter for the first column of the configuration; before it stand target, aggregate type, id, version and position.
const firstColumn = 6

// statements words what writes a change and what removes a row. Each sets the aggregate's version in the table of positions, and does its work only if that was lower;
// both happen in the same statement, so nothing can come between. A row of an event is told by its own version: one that was parked, and comes
// behind later ones, is written too. Values are cast to the types of the columns without their limits, since a cast would cut what is too long, silently.
func (t *target) statements() (write, remove string) {
	mark := "WITH mark AS (INSERT INTO " + t.table.positions().sql() + ` AS p (target, aggregate_type, aggregate_id, version, position) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (target, aggregate_type, aggregate_id) DO UPDATE SET version = excluded.version, position = excluded.position WHERE p.version < excluded.version RETURNING version) `
	names, values, updates := []string{columnType, columnID, columnVersion}, []string{"$2", "$3", "$4::bigint"}, []string{columnVersion + " = excluded." + columnVersion}
	for i := range t.columns {
		name := pgx.Identifier{t.columns[i].name}.Sanitize()
		names, values = append(names, name), append(values, fmt.Sprintf("$%d::%s", firstColumn+i, t.columns[i].typed))
		updates = append(updates, name+" = excluded."+name)
	}
	write = mark + "INSERT INTO " + t.table.sql() + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ")
	if t.events {
		return write + " ON CONFLICT (" + strings.Join(t.key(), ", ") + ") DO NOTHING", ""
	}
	write += " FROM mark ON CONFLICT (" + strings.Join(t.key(), ", ") + ") DO UPDATE SET " + strings.Join(updates, ", ")
	return write, mark + "DELETE FROM " + t.table.sql() + " WHERE aggregate_type = $2 AND aggregate_id = $3 AND EXISTS (SELECT FROM mark)"
}

// queue adds the statement of a change to a batch.
func (t *target) queue(b *pgx.Batch, c *plugin.Change) {
	if c.Forgotten {
		t.queueForget(b, c)
		return
	}
	arguments := []any{t.table.name(), c.Aggregate.Type, c.Aggregate.ID, int64(c.Version), c.Position.String()}
	if !t.events && c.State.Deleted {
		b.Queue(t.remove, arguments...)
		return
	}
	for i := range t.columns {
		arguments = append(arguments, t.columns[i].value(c, t.events))
	}
	b.Queue(t.write, arguments...)
}

// queueForget adds what takes forgotten fields out of the rows of an aggregate, whatever versions they have; a row that is not there stays away. Nothing is said of a
// position: it is no event of the aggregate.
func (t *target) queueForget(b *pgx.Batch, c *plugin.Change) {
	var sets, names []string
	for _, f := range c.Fields {
		names = append(names, f.Name)
	}
	for i := range t.columns {
		col, name := &t.columns[i], pgx.Identifier{t.columns[i].name}.Sanitize()
		switch {
		case col.meta != "":
		case col.field == "":
			sets = append(sets, fmt.Sprintf("%s = (%s::jsonb - $3::text[])::%s", name, name, col.typed))
		case slices.Contains(names, col.field):
			sets = append(sets, name+" = NULL")
		}
	}
	if len(sets) > 0 && len(names) > 0 {
		b.Queue("UPDATE "+t.table.sql()+" SET "+strings.Join(sets, ", ")+" WHERE aggregate_type = $1 AND aggregate_id = $2 AND $3::text[] IS NOT NULL", c.Aggregate.Type, c.Aggregate.ID, names)
	}
}
