package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Columns that every table has, unless one of the configuration's holds the key: they say whose row it is.
const (
	columnType    = "aggregate_type"
	columnID      = "aggregate_id"
	columnVersion = "version"
)

// Types of PostgreSQL as the catalog names them (https://www.postgresql.org/docs/current/datatype.html), by what they hold.
var (
	numberTypes  = []string{"bigint", "integer", "smallint", "numeric", "double precision", "real"}
	instantTypes = []string{"timestamp with time zone", "timestamp without time zone", "date"}
	jsonTypes    = []string{"json", "jsonb"}
)

const (
	typeBoolean  = "boolean"
	typeZoneless = "timestamp without time zone"
)

// natural is the type that a column has in a table that is made for a mapping.
func natural(t mapping.Type) string {
	switch t {
	case mapping.Integer:
		return "bigint"
	case mapping.Decimal:
		return "numeric"
	case mapping.Boolean:
		return typeBoolean
	case mapping.Date:
		return "timestamptz"
	}
	return "text"
}

// never reports whether no value of a mapping's type fits a column; texts may, as what stands in them does.
func never(t mapping.Type, column string) bool {
	switch {
	case t == mapping.Boolean:
		return slices.Contains(numberTypes, column) || slices.Contains(instantTypes, column)
	case t == mapping.Date:
		return slices.Contains(numberTypes, column) || column == typeBoolean
	case t == mapping.Integer || t == mapping.Decimal:
		return slices.Contains(instantTypes, column) || column == typeBoolean
	}
	return false
}

// cell is a value on its way into a column.
type cell struct {
	column string
	cast   string  // from the text of the parameter; %d is its number
	value  *string // nil: NULL
}

// cell gives a value of the mapping as the column takes it; v nil: NULL. A cast names no limits of the type, since it would cut what is too long, silently.
func (tab *table) cell(column string, v *mapping.Value) cell {
	typed := tab.types[column]
	c := cell{column: column, cast: "$%d::" + typed}
	switch {
	case v == nil:
	case slices.Contains(jsonTypes, typed):
		text := strings.ReplaceAll(v.Text, "\x00", "\uFFFD")
		text = string(mapping.Value{Type: v.Type, Text: text}.AppendJSON(nil))
		c.value = &text
	default:
		c.value = storable(v.Text)
		if typed == typeZoneless && v.Type == mapping.Date { // which would drop the zone
			c.cast = "$%d::timestamptz::" + typed
		}
	}
	return c
}

// storable gives a text as PostgreSQL can hold it: U+0000 has no place in any of its texts, and becomes U+FFFD.
func storable(text string) *string {
	text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	return &text
}

// object writes the fields that a row is about, of the event or of the state behind it, as a JSON object of texts, null for one that is unset.
func object(c *plugin.Change, events bool) *string {
	fields := []event.Field(nil)
	if events {
		fields = c.Fields
	} else if c.State != nil {
		fields = c.State.Fields
	}
	all := make(map[string]*string, len(fields))
	for _, f := range fields {
		all[f.Name] = nil
		if f.Set {
			all[f.Name] = storable(f.Value)
		}
	}
	text, _ := json.Marshal(all) // of texts: it cannot fail
	whole := string(text)
	return &whole
}

// checkColumns says which fields of a mapping are no columns.
func checkColumns(m *mapping.Mapping, own ...string) (problems []error) {
	for _, c := range m.Columns() {
		switch {
		case !identifier.MatchString(c.Name):
			problems = append(problems, fmt.Errorf("mapping: %.80q is no name of a column: letters, digits and _, at most 63", c.Name))
		case slices.Contains(own, c.Name):
			problems = append(problems, fmt.Errorf("mapping: column %s is written anyway, it cannot be a field too", c.Name))
		}
	}
	return problems
}
