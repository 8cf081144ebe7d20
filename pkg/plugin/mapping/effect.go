package mapping

import (
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Action is what a change does to a document.
type Action string

// The four actions.
const (
	Nothing Action = "nothing"
	Write   Action = "write"
	Remove  Action = "remove"
	// Forget takes Unset out of the document as it stands, whatever version it has; a document that is not there stays away.
	Forget Action = "forget"
)

// Effect is what a change does in the target. Fields of the document that stand neither in Set nor in Unset stay as they are.
type Effect struct {
	Action Action
	Target string
	Key    string
	Set    []Cell   // in ascending order of their names
	Unset  []string // in ascending order
	Whole  bool     // Set and Unset name every field that the document may have
}

// Cell is one field of a document with its value.
type Cell struct {
	Name  string
	Value Value
}

// slot is what the rules say of one column.
type slot struct {
	given, set bool
	value      Value
}

// Map gives what the change does. A later rule wins over an earlier one. The error says that this change cannot be mapped, as an event under an
// older schema cannot whose value is not of the type; it names the field, not the value.
func (m *Mapping) Map(c *plugin.Change) (Effect, error) {
	e := Effect{Action: Nothing}
	if !m.byType[c.Aggregate.Type] {
		return e, nil
	}
	if c.Forgotten {
		return m.forget(c), nil
	}
	removes, err := m.removes(c)
	if err != nil {
		return e, fmt.Errorf("delete: %w", err)
	}
	slots, err := []slot(nil), error(nil)
	if !removes {
		if slots, err = m.slots(c); err != nil {
			return e, err
		}
		if err := m.settle(c, slots); err != nil {
			return e, err
		}
	}
	if !removes && slots == nil {
		return e, nil
	}
	if e.Action = Write; removes {
		e.Action = Remove
	}
	e.Target, e.Key = m.Target.expand(c), m.Key.expand(c)
	if len(e.Key) > MaxKey {
		return Effect{Action: Nothing}, fmt.Errorf("the key has %d bytes, at most %d are possible", len(e.Key), MaxKey)
	}
	m.fill(&e, slots)
	e.Whole = e.Whole || m.Document == OfEvent
	return e, nil
}

// forgetsEvents reports whether documents of events may hold encrypted fields: all those of an aggregate can be found, or whoever has them is told.
func (m *Mapping) forgetsEvents() bool {
	return m.target.ForgetsEvents || m.target.HandedOn
}

// forget is the effect of forgetting encrypted fields: what comes from one, or depends on one by a condition, goes. Documents of events mostly hold none (compiler.mayForget).
func (m *Mapping) forget(c *plugin.Change) Effect {
	var columns []string
	secret := func(s Source) bool {
		_, is := c.Field(s.Name)
		return is && (s.From == FromEvent || s.From == FromState)
	}
	for i := range m.Rules {
		rule := &m.Rules[i]
		if !rule.When.about(c.Aggregate.Type) {
			continue
		}
		asks := rule.When.condition != nil && slices.ContainsFunc(rule.When.condition.looksAt, func(l look) bool { return secret(l.Source) })
		for _, f := range rule.Fields {
			if asks || secret(f.From) {
				columns = append(columns, f.Target)
			}
		}
	}
	if len(columns) == 0 || m.Document == OfEvent && !m.forgetsEvents() {
		return Effect{Action: Nothing}
	}
	slices.Sort(columns)
	e := Effect{Action: Forget, Target: m.Target.expand(c), Unset: slices.Compact(columns)}
	if m.Document == OfAggregate {
		e.Key = m.Key.expand(c)
	}
	return e
}

func (m *Mapping) fill(e *Effect, slots []slot) {
	n := 0
	for i := range slots {
		if slots[i].set {
			n++
		}
	}
	e.Whole, e.Set = true, make([]Cell, 0, n)
	for i := range slots {
		switch s := &slots[i]; {
		case !s.given:
			e.Whole = false
		case s.set:
			e.Set = append(e.Set, Cell{m.columns[i].Name, s.value})
		default:
			e.Unset = append(e.Unset, m.columns[i].Name)
		}
	}
}

func (m *Mapping) removes(c *plugin.Change) (bool, error) {
	if m.Never {
		return false, nil
	}
	if (len(m.Delete.Events) == 0 || event.IsReserved(c.EventType)) && !c.Deletes {
		return false, nil
	}
	return m.Delete.matches(c)
}

// slots gives what all rules say, or nil if none is about the change.
func (m *Mapping) slots(c *plugin.Change) ([]slot, error) {
	var slots []slot
	for i := range m.Rules {
		rule := &m.Rules[i]
		applies, err := rule.When.matches(c)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		if !applies {
			continue
		}
		if slots == nil {
			slots = make([]slot, len(m.columns))
		}
		if err := m.apply(rule, c, slots); err != nil {
			return nil, err
		}
	}
	return slots, nil
}

// settle gives what no rule gave from the state, where that comes to the same.
func (m *Mapping) settle(c *plugin.Change, slots []slot) (err error) {
	of := m.settled[c.Aggregate.Type]
	for i := range slots {
		if slots[i].given || !of[i].known || m.Document == OfEvent {
			continue
		}
		f := Field{Target: m.columns[i].Name, Type: m.columns[i].Type, From: Source{FromState, of[i].field}}
		if slots[i], err = f.slot(c); err != nil {
			return fmt.Errorf("%s from %s: %w %s", f.Target, f.From, err, f.Type)
		}
	}
	return nil
}

func (m *Mapping) apply(rule *Rule, c *plugin.Change, slots []slot) error {
	column, named := 0, rule.When.names(c.EventType)
	for i := range rule.Fields {
		f := &rule.Fields[i]
		for m.columns[column].Name != f.Target {
			column++
		}
		if !named && (f.From.From == FromMeta || f.From.From == FromConstant) {
			continue // they say something of the events that the rule names
		}
		s, err := f.slot(c)
		if err != nil {
			return fmt.Errorf("%s from %s: %w %s", f.Target, f.From, err, f.Type)
		}
		if s.given {
			slots[column] = s
		}
	}
	return nil
}

// slot gives what the field becomes. It is not given by an event that neither sets nor unsets it.
func (f *Field) slot(c *plugin.Change) (slot, error) {
	if f.From.From == FromConstant {
		return slot{given: true, set: true, value: f.Constant}, nil
	}
	text, set := f.From.text(c)
	if !set {
		given := true
		if f.From.From == FromEvent {
			_, given = c.Field(f.From.Name)
		}
		return slot{given: given}, nil
	}
	v, err := f.Type.convert(text)
	return slot{given: true, set: true, value: v}, err
}

// matches reports whether the change is one that the rule is about. An event of EventfulDB itself, by which a rollback brings an aggregate back to what it was,
// changes fields whatever events a rule names.
func (w *When) matches(c *plugin.Change) (bool, error) {
	if !w.about(c.Aggregate.Type) || !w.names(c.EventType) && !event.IsReserved(c.EventType) {
		return false, nil
	}
	if w.condition == nil {
		return true, nil
	}
	return w.condition.holds(c)
}

// names reports whether the rule names an event type, or is about all.
func (w *When) names(eventType string) bool {
	return len(w.Events) == 0 || slices.Contains(w.Events, eventType)
}
