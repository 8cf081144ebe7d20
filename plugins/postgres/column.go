package postgres

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Columns that every table has: they say whose row it is.
const (
	columnType    = "aggregate_type"
	columnID      = "aggregate_id"
	columnVersion = "version"
)

// column is one that a configuration fills. One of field and meta is set, or neither: all fields as JSON.
type column struct {
	name  string
	field string
	meta  string
	typed string // its type in the table, as SQL names it
}

// fieldName is what schemas allow.
var fieldName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)

// parseColumns reads COLUMN=SOURCE,… and the column for JSON, which may be empty.
func parseColumns(text, whole string) (all []column, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		name, source, named := strings.Cut(part, "=")
		if !named {
			source = name
		}
		c := column{name: name, field: source}
		if meta, ok := strings.CutPrefix(source, "meta."); ok {
			c.field, c.meta = "", meta
		}
		switch {
		case !identifier.MatchString(name):
			return nil, fmt.Errorf("%.80q is no name of a column: letters, digits and _, at most 63", name)
		case c.meta != "" && !slices.Contains(metaNames(), c.meta):
			return nil, fmt.Errorf("there is no %.80q; known are meta.{%s}", source, strings.Join(metaNames(), ", "))
		case c.meta == "" && !fieldName.MatchString(source):
			return nil, fmt.Errorf("%.80q is no name of a field", source)
		}
		all = append(all, c)
	}
	if whole != "" {
		all = append(all, column{name: whole})
	}
	seen := map[string]bool{columnType: true, columnID: true, columnVersion: true}
	for i := range all {
		if seen[all[i].name] {
			return nil, fmt.Errorf("column %s is given twice; %s, %s and %s are always written", all[i].name, columnType, columnID, columnVersion)
		}
		seen[all[i].name] = true
	}
	return all, nil
}

// metaNames are what may stand behind `meta.`: as in mappings, but for the columns that every table has.
func metaNames() []string {
	return slices.DeleteFunc(mapping.MetaNames(), func(name string) bool { return name == "type" || name == "id" || name == "version" })
}

// value gives what the column holds behind a change, as text; nil: NULL.
func (col *column) value(c *plugin.Change, events bool) *string {
	switch {
	case col.meta != "":
		if text, ok := mapping.Meta(col.meta, c); ok {
			return storable(text)
		}
		return nil
	case col.field == "":
		return object(fieldsOf(c, events))
	}
	for _, f := range fieldsOf(c, events) {
		if f.Name == col.field && f.Set {
			return storable(f.Value)
		}
	}
	return nil
}

// fieldsOf are those that a row is about: of the event, or of the state behind it.
func fieldsOf(c *plugin.Change, events bool) []event.Field {
	if events {
		return c.Fields
	}
	return c.State.Fields
}

// storable gives a text as PostgreSQL can hold it: U+0000 has no place in any of its texts, and becomes U+FFFD.
func storable(text string) *string {
	text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	return &text
}

// object writes fields as a JSON object of texts, null for one that is unset.
func object(fields []event.Field) *string {
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
