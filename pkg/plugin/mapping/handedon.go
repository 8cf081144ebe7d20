package mapping

import (
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// LooksAtState reports whether a field or a condition comes from the folded state, which only goes along if the configuration asks for it.
func (m *Mapping) LooksAtState() bool {
	return slices.ContainsFunc(m.Rules, func(r Rule) bool {
		return slices.ContainsFunc(r.Fields, func(f Field) bool { return f.From.From == FromState }) ||
			r.When.condition != nil && slices.ContainsFunc(r.When.condition.looksAt, func(l look) bool { return l.From == FromState })
	})
}

// Data gives what the event holds when it is handed on (HandedOn): the `data` of a CloudEvent, nil for all that it has. about is false if no rule is about it.
func (m *Mapping) Data(c *plugin.Change) (data []byte, about bool, err error) {
	if m.whole && c.Forgotten {
		return nil, slices.ContainsFunc(m.Rules, func(r Rule) bool { return m.byType[c.Aggregate.Type] && r.When.about(c.Aggregate.Type) }), nil
	}
	e, err := m.Map(c)
	if err != nil || e.Action == Nothing {
		return nil, false, err
	}
	if m.whole {
		return nil, true, nil
	}
	return append(e.appendFields([]byte(`{"fields":`)), '}'), true, nil
}

// leaf is a field on its way into a JSON object.
type leaf struct {
	path  string
	value []byte
}

// appendFields appends an object with what the effect sets, and null for what it unsets; points in names make objects in it.
func (e *Effect) appendFields(b []byte) []byte {
	all := make([]leaf, 0, len(e.Set)+len(e.Unset))
	for _, c := range e.Set {
		all = append(all, leaf{c.Name, c.Value.AppendJSON(nil)})
	}
	for _, name := range e.Unset {
		all = append(all, leaf{name, []byte("null")})
	}
	slices.SortFunc(all, func(a, b leaf) int { return strings.Compare(a.path, b.path) })
	return appendObject(b, all)
}

// appendObject appends fields, which are in ascending order, so those of one nested object stand together.
func appendObject(b []byte, all []leaf) []byte {
	b = append(b, '{')
	for i := 0; i < len(all); {
		if i > 0 {
			b = append(b, ',')
		}
		name, _, nested := strings.Cut(all[i].path, ".")
		b = append(AppendString(b, name), ':')
		if !nested {
			b = append(b, all[i].value...)
			i++
			continue
		}
		var inner []leaf
		for ; i < len(all) && strings.HasPrefix(all[i].path, name+"."); i++ {
			inner = append(inner, leaf{all[i].path[len(name)+1:], all[i].value})
		}
		b = appendObject(b, inner)
	}
	return append(b, '}')
}
