package importer

import (
	"fmt"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Command is what one row becomes: one event of one aggregate.
type Command struct {
	ID         string // from the file's digest and the row's number, so sending it again is harmless; "" in a dry run
	Row        uint64 // from 1
	Line       uint64 // of the file, from 1
	Aggregate  event.AggregateID
	Event      string
	Fields     []event.Field
	OccurredAt *event.Time
	Token      string // "" where the mapping has no token column
	DryRun     bool
}

// CommandID is the command id of a row: `import-<first 32 digits of the file's digest>-<row>`.
func CommandID(digest string, row uint64) string {
	return "import-" + digest[:32] + "-" + strconv.FormatUint(row, 10)
}

// rowMapper applies a mapping to rows.
type rowMapper struct {
	mapping   *Mapping
	aggregate string
	digest    string
	tokens    map[string]string
	dryRun    bool
}

// command maps a row. A problem with an authority code means that the row cannot be written now; any other rejects the row.
func (m *rowMapper) command(r row) (*Command, *problem.Problem) {
	if r.broken != nil {
		return nil, r.broken
	}
	c := &Command{Row: r.number, Line: r.line, DryRun: m.dryRun}
	if !m.dryRun {
		c.ID = CommandID(m.digest, r.number)
	}
	for _, step := range []func(row, *Command) *problem.Problem{m.id, m.event, m.occurredAt, m.fields, m.token} {
		if p := step(r, c); p != nil {
			return nil, p
		}
	}
	return c, nil
}

// text is the content of a column that must not be nested; null and absent are "".
func text(r row, column string) (string, *problem.Problem) {
	c := r.cells(column)
	if c.kind == nestedCell {
		return "", problem.New(problem.Malformed, "column %q holds an object or an array", column).WithHint("a value is a text, a number, true, false or null")
	}
	return c.text, nil
}

func (m *rowMapper) id(r row, c *Command) *problem.Problem {
	id, p := text(r, m.mapping.ID)
	if p != nil {
		return p
	}
	c.Aggregate = event.AggregateID{Type: m.aggregate, ID: id}
	if err := event.CheckID(id); err != nil {
		return problem.New(problem.Malformed, "column %q: %v", m.mapping.ID, err).WithHint("an id has 1 to 128 bytes of UTF-8 in NFC, without control characters")
	}
	return nil
}

func (m *rowMapper) event(r row, c *Command) *problem.Problem {
	e := m.mapping.Event
	if c.Event = e.Always; c.Event != "" {
		return nil
	}
	name, p := text(r, e.Column)
	if p != nil {
		return p
	}
	if e.Values != nil {
		mapped, ok := e.Values[name]
		if !ok {
			return problem.New(problem.Invalid, "column %q: %.80q is no event that the mapping knows", e.Column, name).WithHint("add it to event: values in the mapping")
		}
		name = mapped
	}
	c.Event = name
	if err := event.CheckEventType(name); err != nil {
		return problem.New(problem.Malformed, "column %q: %v", e.Column, err).WithHint("map its values to event types with event: values")
	}
	return nil
}

func (m *rowMapper) occurredAt(r row, c *Command) (p *problem.Problem) {
	t := m.mapping.OccurredAt
	if t == nil {
		return nil
	}
	when, p := text(r, t.Column)
	if p == nil {
		c.OccurredAt, p = t.at(when)
	}
	return p
}

func (m *rowMapper) fields(r row, c *Command) *problem.Problem {
	for i := range m.mapping.Fields {
		f := &m.mapping.Fields[i]
		content := r.cells(f.Column)
		switch content.kind {
		case absentCell:
			continue
		case nestedCell:
			_, p := text(r, f.Column)
			return p
		}
		if content.text == "" && f.OmitEmpty {
			continue
		}
		if content.kind == nullCell {
			c.Fields = append(c.Fields, event.Field{Name: f.Field})
			continue
		}
		value, p := f.value(content.text)
		if p != nil {
			return p
		}
		if !f.OmitFalse || value != "false" {
			c.Fields = append(c.Fields, event.Field{Name: f.Field, Value: value, Set: true})
		}
	}
	return nil
}

func (f *FieldMapping) value(cell string) (string, *problem.Problem) {
	if f.Values == nil {
		return cell, nil
	}
	value, ok := f.Values[cell]
	if !ok {
		return "", problem.New(problem.Invalid, "column %q: the cell is not among the values that the mapping knows", f.Column).
			WithHint("add it to the values of the field %s in the mapping", f.Field)
	}
	return value, nil
}

func (m *rowMapper) token(r row, c *Command) *problem.Problem {
	if m.mapping.Token == "" {
		return nil
	}
	who, p := text(r, m.mapping.Token)
	if p != nil {
		return p
	}
	token, ok := m.tokens[who]
	if !ok {
		return problem.New(problem.Unauthenticated, "column %q: the tokens file has no token for %.80q", m.mapping.Token, who).
			WithHint("make one with eventful token:generate, add it to the tokens file and run the same import again")
	}
	c.Token = token
	return nil
}

// size is about how many bytes the command takes.
func (c *Command) size() int {
	n := len(c.ID) + len(c.Aggregate.ID) + len(c.Event) + len(c.Token)
	for _, f := range c.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

func (c *Command) where() string { return where(c.Row, c.Line) }

// where names a row for messages. Values stay out of them: one may be a patient's.
func where(row, line uint64) string { return fmt.Sprintf("row %d (line %d)", row, line) }
