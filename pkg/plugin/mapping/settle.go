package mapping

import "slices"

// settled is a column of an aggregate type whose value the folded state gives behind any event: the newest value that events gave a field, where every event
// type that has the field is one that a rule takes it from. So a document can be written whole by an event that does not give the column.
type settled struct {
	known bool
	field string // of the state; empty: documents of the type never have the column
}

func (c *compiler) settle() {
	c.m.settled = map[string][]settled{}
	for _, t := range c.m.Types {
		of := make([]settled, len(c.m.columns))
		for i := range of {
			of[i] = c.settledColumn(t, c.m.columns[i].Name)
			c.m.keeps = c.m.keeps || c.m.Document == OfAggregate && !of[i].known && !c.m.alwaysGiven(t, c.m.columns[i].Name)
		}
		c.m.settled[t] = of
	}
}

func (c *compiler) settledColumn(aggregateType, column string) settled {
	out, all, events := settled{known: true}, false, map[string]bool{}
	for i := range c.m.Rules {
		rule := &c.m.Rules[i]
		f := rule.gives(aggregateType, column)
		switch {
		case f == nil:
			continue
		case rule.When.If != "" || f.From.From == FromMeta || f.From.From == FromConstant || out.field != "" && out.field != f.From.Name:
			return settled{}
		}
		out.field, all = f.From.Name, all || len(rule.When.Events) == 0
		for _, e := range rule.When.Events {
			events[e] = true
		}
	}
	for name, e := range c.schemas[aggregateType].Events {
		if slices.Contains(e.Fields, out.field) && !all && !events[name] {
			return settled{}
		}
	}
	return out
}

// gives is how the rule gives a column to documents of a type; nil: not at all.
func (r *Rule) gives(aggregateType, column string) *Field {
	if !r.When.about(aggregateType) {
		return nil
	}
	i := slices.IndexFunc(r.Fields, func(f Field) bool { return f.Target == column })
	if i < 0 {
		return nil
	}
	return &r.Fields[i]
}

func (w *When) about(aggregateType string) bool {
	return len(w.Types) == 0 || slices.Contains(w.Types, aggregateType)
}

// alwaysGiven reports whether every change of the type that writes gives the column, or takes it out: a rule without a condition does, or all rules do.
func (m *Mapping) alwaysGiven(aggregateType, column string) bool {
	all := true
	for i := range m.Rules {
		rule := &m.Rules[i]
		if !rule.When.about(aggregateType) {
			continue
		}
		f := rule.gives(aggregateType, column)
		gives := f != nil && f.From.From != FromEvent
		if gives && len(rule.When.Events) == 0 && rule.When.If == "" {
			return true
		}
		all = all && gives
	}
	return all
}
