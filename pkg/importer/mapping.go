package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	_ "time/tzdata" // a zone's name means the same on every machine

	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const mappingHint = "the keys are id, event, occurred-at, fields and token; eventful help data:import shows one"

// Mapping says which columns of a row become what. ParseMapping makes one; it does not change afterwards.
//
//	id: patient-number                  # column
//	event:
//	  column: activity
//	  values: { "ER Triage": er-triage } # cell -> event type; without values the cell is the event type
//	  # or, for a file of one event type:  always: er-triage
//	occurred-at:                         # optional
//	  column: time
//	  layout: rfc3339                    # also: unix, unix-ms, or a layout of Go's package time
//	  zone: Europe/Amsterdam             # for layouts without an offset
//	fields:                              # column -> field
//	  Age: age
//	  Infection: { field: infection, values: { "True": "true", "False": "false" }, omit: [empty, false] }
//	token: ward                          # optional: the column that says whose token writes the row
//
// An empty cell is left out, unless `omit` says otherwise: `omit: []` keeps it as an empty text, `omit: [false]` leaves cells out that are "false" once
// their values are mapped. A JSON null that is not left out unsets the field. With `values`, a cell that is not among them makes the row rejected.
type Mapping struct {
	ID         string
	Event      EventMapping
	OccurredAt *TimeMapping // nil: events carry no time of their own
	Fields     []FieldMapping
	Token      string // column; "": every row is written with the token of whoever imports
}

// EventMapping gives the event type of a row.
type EventMapping struct {
	Column string
	Values map[string]string // nil: the cell is the event type
	Always string            // the one event type of every row; Column is empty then
}

// TimeMapping gives the occurred-at of a row. An empty cell gives none.
type TimeMapping struct {
	Column string
	Layout string // as package time's, or one of rfc3339, unix, unix-ms
	Zone   *time.Location
}

// FieldMapping gives one field of a row.
type FieldMapping struct {
	Column    string
	Field     string
	Values    map[string]string // nil: the cell is the value
	OmitEmpty bool
	OmitFalse bool
}

// ParseMapping reads a mapping in YAML (or JSON, which is YAML). The error is a *problem.Problem with code malformed that lists everything wrong at once, each with its line.
func ParseMapping(text []byte) (*Mapping, error) {
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		return nil, problem.New(problem.Malformed, "the mapping is empty").WithHint(mappingHint)
	} else if err != nil {
		return nil, problem.New(problem.Malformed, "the mapping is no YAML: %v", err).WithHint(mappingHint)
	}
	if err := d.Decode(new(yaml.Node)); err == nil {
		return nil, problem.New(problem.Malformed, "the mapping has more than one YAML document").WithHint("give one document, without a line of ---")
	}
	p := &mappingParser{}
	m := p.mapping(root.Content[0])
	if joined := problem.Join(p.problems); joined != nil {
		return nil, joined.WithHint(mappingHint)
	}
	return m, nil
}

// mappingParser walks over the YAML and collects what is wrong.
type mappingParser struct {
	problems []*problem.Problem
}

func (p *mappingParser) wrong(n *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, problem.New(problem.Malformed, "mapping, line %d: %s", n.Line, fmt.Sprintf(format, args...)))
}

func (p *mappingParser) mapping(n *yaml.Node) *Mapping {
	m := &Mapping{}
	keys := p.keys(n, "the mapping", "id", "event", "occurred-at", "fields", "token")
	if p.require(n, keys, "the mapping", "id", "event") {
		m.ID = p.text(keys["id"], "id")
		m.Event = p.event(keys["event"])
	}
	if v := keys["occurred-at"]; v != nil {
		m.OccurredAt = p.occurredAt(v)
	}
	if v := keys["fields"]; v != nil {
		m.Fields = p.fields(v)
	}
	if v := keys["token"]; v != nil {
		m.Token = p.text(v, "token")
	}
	return m
}

func (p *mappingParser) event(n *yaml.Node) (e EventMapping) {
	keys := p.keys(n, "event", "column", "values", "always")
	if v := keys["always"]; v != nil {
		e.Always = p.text(v, "event: always")
		p.eventType(v, e.Always)
		if len(keys) > 1 {
			p.wrong(n, "event: always stands alone, without column and values")
		}
		return e
	}
	if !p.require(n, keys, "event", "column") {
		return e
	}
	e.Column = p.text(keys["column"], "event: column")
	if v := keys["values"]; v != nil {
		e.Values = p.values(v, "event: values")
		for _, name := range sortedValues(e.Values) {
			p.eventType(v, name)
		}
	}
	return e
}

func (p *mappingParser) eventType(n *yaml.Node, name string) {
	if err := event.CheckEventType(name); err != nil && name != "" {
		p.wrong(n, "%v", err)
	}
}

func (p *mappingParser) occurredAt(n *yaml.Node) *TimeMapping {
	t := &TimeMapping{Zone: time.UTC}
	keys := p.keys(n, "occurred-at", "column", "layout", "zone")
	if !p.require(n, keys, "occurred-at", "column", "layout") {
		return t
	}
	t.Column, t.Layout = p.text(keys["column"], "occurred-at: column"), p.text(keys["layout"], "occurred-at: layout")
	if v := keys["zone"]; v != nil {
		name := p.text(v, "occurred-at: zone")
		zone, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			p.wrong(v, "occurred-at: zone %q is no zone of the IANA time zone database, such as Europe/Amsterdam", name)
			return t
		}
		t.Zone = zone
	}
	if why := checkLayout(t.Layout, keys["zone"] != nil); why != "" {
		p.wrong(keys["layout"], "occurred-at: layout %q %s", t.Layout, why)
	}
	return t
}

func (p *mappingParser) fields(n *yaml.Node) (out []FieldMapping) {
	seen := map[string]string{}
	for _, column := range p.each(n, "fields") {
		f := p.field(column.name, column.value)
		if before, twice := seen[f.Field]; twice && f.Field != "" {
			p.wrong(column.value, "fields: the columns %q and %q both give the field %q", before, f.Column, f.Field)
		}
		seen[f.Field] = f.Column
		out = append(out, f)
	}
	return out
}

func (p *mappingParser) field(column string, n *yaml.Node) FieldMapping {
	what := fmt.Sprintf("fields: %q", column)
	f := FieldMapping{Column: column, OmitEmpty: true}
	name := n
	if n.Kind != yaml.ScalarNode {
		keys := p.keys(n, what, "field", "values", "omit")
		if !p.require(n, keys, what, "field") {
			return f
		}
		name = keys["field"]
		if v := keys["values"]; v != nil {
			f.Values = p.values(v, what+": values")
		}
		if v := keys["omit"]; v != nil {
			f.OmitEmpty, f.OmitFalse = p.omit(v, what)
		}
	}
	f.Field = p.text(name, what)
	if err := event.CheckField(f.Field); err != nil && f.Field != "" {
		p.wrong(name, "%s: %v", what, err)
	}
	return f
}

func (p *mappingParser) omit(n *yaml.Node, what string) (empty, no bool) {
	n = follow(n)
	if n.Kind != yaml.SequenceNode {
		p.wrong(n, "%s: omit is a list of: empty, false", what)
		return true, false
	}
	for _, one := range n.Content {
		switch one.Value {
		case "empty":
			empty = true
		case "false":
			no = true
		default:
			p.wrong(one, "%s: omit knows empty and false, not %q", what, one.Value)
		}
	}
	return empty, no
}

func sortedValues(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
