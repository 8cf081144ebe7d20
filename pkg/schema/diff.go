package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is one difference between two schemas of a type.
type Change struct {
	Text       string `json:"text"`       // for people: what changes, to what
	Compatible bool   `json:"compatible"` // false: a migration must refuse it
}

// Diff lists what changes from old to next, in a stable order; nothing if they accept the same. old is nil for a new type. Incompatible
// is only what would orphan stored events: another type or log, or an event type that is gone instead of removed (CarryOver mends
// that one). Whether stored events break a stricter rule is for CheckStored to count.
func Diff(old *Schema, next Definition) []Change {
	next = next.normal()
	if old == nil {
		old = &Schema{Definition: Definition{Aggregate: next.Aggregate, Log: next.Log}}
		c := &changes{}
		c.add("aggregate type %s is new, in the log %s", next.Aggregate, next.Log)
		return append(c.list, diff(old.Definition, next)...)
	}
	return diff(old.Definition.normal(), next)
}

// CarryOver gives next with every event type that old has and next lacks kept as a removed one, as stored events stay readable for ever.
// A removed event type that next names again is taken as next says. Where next names no log, the type keeps its own. old may be nil.
func CarryOver(old *Schema, next Definition) Definition {
	if old == nil {
		return next.normal()
	}
	if next.Log == "" {
		next.Log = old.Log
	}
	next = next.normal()
	for name, e := range old.Events {
		if _, there := next.Events[name]; there {
			continue
		}
		e.Removed = true
		next.Events[name] = e
		for _, f := range e.Fields {
			if _, declared := next.Fields[f]; !declared {
				next.Fields[f] = old.Fields[f]
			}
		}
	}
	return next.normal()
}

type changes struct{ list []Change }

func (c *changes) add(format string, args ...any) {
	c.list = append(c.list, Change{Text: fmt.Sprintf(format, args...), Compatible: true})
}

func (c *changes) refuse(format string, args ...any) {
	c.list = append(c.list, Change{Text: fmt.Sprintf(format, args...)})
}

func diff(old, next Definition) []Change {
	c := &changes{}
	if old.Aggregate != next.Aggregate {
		c.refuse("aggregate type %s becomes %s: a type keeps its name", old.Aggregate, next.Aggregate)
	}
	if old.Log != next.Log {
		c.refuse("log %s becomes %s: the log of a type is fixed", old.Log, next.Log)
	}
	if old.SnapshotThreshold != next.SnapshotThreshold {
		c.add("snapshot-threshold %d becomes %d", old.SnapshotThreshold, next.SnapshotThreshold)
	}
	c.flag("aggregate type "+next.Aggregate, old.Locked, next.Locked, "is locked", "is unlocked")
	for _, name := range union(old.Events, next.Events) {
		before, was := old.Events[name]
		after, is := next.Events[name]
		switch {
		case !is:
			c.refuse("event type %s is gone: a stored event type can be removed, not forgotten", name)
		case !was:
			c.newEvent(name, after)
		default:
			c.event(name, before, after)
		}
	}
	for _, name := range union(old.Fields, next.Fields) {
		before, was := old.Fields[name]
		after, is := next.Fields[name]
		switch {
		case !is:
			c.add("field %s is gone", name)
		case !was:
			c.add("field %s is new: %s", name, after.text())
		default:
			c.field(name, before, after)
		}
	}
	return c.list
}

func union[V any](a, b map[string]V) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	return sortedSet(names)
}

func (c *changes) flag(what string, before, after bool, on, off string) {
	switch {
	case !before && after:
		c.add("%s %s", what, on)
	case before && !after:
		c.add("%s %s", what, off)
	}
}

func (c *changes) newEvent(name string, e Event) {
	text := "without fields"
	if len(e.Fields) > 0 {
		text = "fields " + strings.Join(e.Fields, ", ")
	}
	if len(e.Required) > 0 {
		text += "; required " + strings.Join(e.Required, ", ")
	}
	if e.Deletes {
		text += "; ends the aggregate"
	}
	if e.Removed {
		text += "; removed"
	}
	c.add("event type %s is new: %s", name, text)
}

func (c *changes) event(name string, before, after Event) {
	what := "event type " + name
	c.flag(what, before.Removed, after.Removed, "is removed: it takes no new events", "takes events again")
	c.flag(what, before.Deletes, after.Deletes, "ends the aggregate", "no longer ends the aggregate")
	c.lists(what, before.Fields, after.Fields, "gets the field %s", "loses the field %s")
	c.lists(what, before.Required, after.Required, "requires the field %s", "no longer requires the field %s")
}

func (c *changes) lists(what string, before, after []string, added, removed string) {
	for _, f := range after {
		if !slices.Contains(before, f) {
			c.add("%s "+added, what, f)
		}
	}
	for _, f := range before {
		if !slices.Contains(after, f) {
			c.add("%s "+removed, what, f)
		}
	}
}

func (c *changes) field(name string, before, after Field) {
	what := "field " + name
	c.flag(what, before.Locked, after.Locked, "is locked", "is unlocked")
	before.Locked, after.Locked = false, false
	c.flag(what, before.Unique, after.Unique, "is unique", "is no longer unique")
	before.Unique, after.Unique = false, false
	c.flag(what, before.PII, after.PII, "is encrypted in new events; stored events stay as they are", "is no longer encrypted in new events; stored events stay as they are")
	before.PII, after.PII = false, false
	if old, next := before.text(), after.text(); old != next {
		c.add("%s: %s becomes %s", what, old, next)
	}
}

// text is the field's rules in words; equal rules have equal text.
func (f Field) text() string {
	out := string(f.Type)
	if f.Type == Enum {
		out += fmt.Sprintf(" of %q", f.Values)
	}
	if f.MaxLength > 0 {
		out += fmt.Sprintf(", at most %d characters", f.MaxLength)
	}
	if f.Pattern != "" {
		out += fmt.Sprintf(", pattern %q", f.Pattern)
	}
	if f.Locked {
		out += ", locked"
	}
	if f.Unique {
		out += ", unique"
	}
	if f.PII {
		out += ", encrypted"
	}
	return out
}
