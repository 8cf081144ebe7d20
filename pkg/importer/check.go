package importer

import (
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Check compares a mapping with the columns of a file and with the schema that the events must pass. All that is wrong comes at once, joined into
// one *problem.Problem with code malformed; nil if nothing is. header is nil for a format without one.
func (m *Mapping) Check(header []string, d schema.Definition) error {
	problems := m.checkHeader(header)
	problems = append(problems, m.checkSchema(d)...)
	if p := problem.Join(problems); p != nil {
		return p.WithHint("mend the mapping; nothing was imported")
	}
	return nil
}

func (m *Mapping) checkHeader(header []string) (problems []*problem.Problem) {
	if header == nil {
		return nil
	}
	for _, use := range m.columns() {
		count := 0
		for _, name := range header {
			if name == use[1] {
				count++
			}
		}
		switch {
		case count == 0:
			problems = append(problems, problem.New(problem.Malformed, "%s: the file has no column %q; it has %s", use[0], use[1], quoteAll(header)))
		case count > 1:
			problems = append(problems, problem.New(problem.Malformed, "%s: the file has the column %q %d times", use[0], use[1], count))
		}
	}
	return problems
}

// columns are the columns that the mapping uses, each behind the key that names it.
func (m *Mapping) columns() [][2]string {
	out := [][2]string{{"id", m.ID}}
	if m.Event.Always == "" {
		out = append(out, [2]string{"event", m.Event.Column})
	}
	if m.OccurredAt != nil {
		out = append(out, [2]string{"occurred-at", m.OccurredAt.Column})
	}
	for _, f := range m.Fields {
		out = append(out, [2]string{"fields", f.Column})
	}
	if m.Token != "" {
		out = append(out, [2]string{"token", m.Token})
	}
	return out
}

func (m *Mapping) checkSchema(d schema.Definition) (problems []*problem.Problem) {
	events := m.eventTypes()
	if events == nil {
		events = slices.Sorted(maps.Keys(d.Events)) // any of them may stand in the column
	}
	mapped, used := map[string]bool{}, map[string]bool{}
	for _, f := range m.Fields {
		mapped[f.Field] = true
	}
	for _, name := range events {
		e, ok := d.Events[name]
		if !ok || e.Removed {
			problems = append(problems, problem.New(problem.Malformed, "event: the schema of %s has no event %q", d.Aggregate, name))
			continue
		}
		for _, f := range e.Fields {
			used[f] = true
		}
		for _, f := range e.Required {
			used[f] = true
			if !mapped[f] && m.eventTypes() != nil {
				problems = append(problems, problem.New(problem.Malformed, "fields: the event %q requires the field %q, which no column gives", name, f))
			}
		}
	}
	for _, f := range m.Fields {
		if !used[f.Field] {
			problems = append(problems, problem.New(problem.Malformed, "fields: the column %q gives the field %q, which no event that the mapping writes has", f.Column, f.Field))
		}
	}
	return problems
}

// eventTypes are the event types that the mapping can write; nil: whatever stands in the column.
func (m *Mapping) eventTypes() []string {
	switch {
	case m.Event.Always != "":
		return []string{m.Event.Always}
	case m.Event.Values != nil:
		return sortedValues(m.Event.Values)
	}
	return nil
}

func quoteAll(names []string) string {
	const most = 40
	var b strings.Builder
	for i, name := range names {
		if i == most {
			b.WriteString(" …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`"` + name + `"`)
	}
	return b.String()
}
