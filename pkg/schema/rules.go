package schema

import (
	"maps"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// fieldSet is a set of fields of one event type by their index.
type fieldSet [event.MaxFields / 64]uint64

func (s *fieldSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *fieldSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// eventRules is an event type ready for use.
type eventRules struct {
	removed  bool
	fields   map[string]fieldRules
	required []string // ascending
}

// fieldRules is a field of one event type ready for use.
type fieldRules struct {
	*valueRules
	index int
}

// valueRules is what a field accepts wherever it stands.
type valueRules struct {
	kind      FieldType
	accepts   func(string) bool // nil: any text
	maxLength int
	pattern   *regexp.Regexp // nil: none
	values    map[string]struct{}
	locked    bool
}

func compileRules(d Definition) (map[string]*eventRules, error) {
	fields := make(map[string]*valueRules, len(d.Fields))
	for name, f := range d.Fields {
		re, err := compilePattern(f.Pattern)
		if err != nil {
			return nil, err
		}
		v := &valueRules{kind: f.Type, accepts: accepts[f.Type], maxLength: f.MaxLength, pattern: re, locked: f.Locked}
		if f.Type == Enum {
			v.values = make(map[string]struct{}, len(f.Values))
			for _, value := range f.Values {
				v.values[value] = struct{}{}
			}
		}
		fields[name] = v
	}
	rules := make(map[string]*eventRules, len(d.Events))
	for name, e := range d.Events {
		r := &eventRules{removed: e.Removed, fields: make(map[string]fieldRules, len(e.Fields)), required: e.Required}
		for i, f := range e.Fields {
			r.fields[f] = fieldRules{valueRules: fields[f], index: i}
		}
		rules[name] = r
	}
	return rules, nil
}

// CheckEvent lists every rule that a new event would break; nothing if it may be written. The codes are locked (type or field) and invalid.
// Each problem about a field names it. An event that breaks no rule costs no allocation.
func (s *Schema) CheckEvent(eventType string, fields []event.Field) []*problem.Problem {
	var problems []*problem.Problem
	if s.Locked {
		problems = append(problems, problem.New(problem.Locked, "the aggregate type %s is locked", s.Aggregate).
			WithHint("it takes events again after `schema:alter %s --lock=false` and a migration", s.Aggregate))
	}
	if r := s.rules[eventType]; r != nil && r.removed {
		return append(problems, problem.New(problem.Invalid, "the event type %s of %s was removed; it takes no new events", clip(eventType), s.Aggregate).
			WithHint("event types of %s: %s", s.Aggregate, nearest(eventType, s.liveEvents())))
	}
	return append(problems, s.check(eventType, fields, true)...)
}

// CheckStored lists every rule that an event stored under another schema breaks, locks and removals apart: those refuse new events only.
func (s *Schema) CheckStored(eventType string, fields []event.Field) []*problem.Problem {
	return s.check(eventType, fields, false)
}

func (s *Schema) check(eventType string, fields []event.Field, locks bool) (problems []*problem.Problem) {
	r := s.rules[eventType]
	if r == nil {
		return []*problem.Problem{problem.New(problem.Invalid, "the aggregate type %s has no event type %q", s.Aggregate, clip(eventType)).
			WithHint("event types of %s: %s", s.Aggregate, nearest(eventType, s.liveEvents()))}
	}
	var seen, set fieldSet
	hinted := false
	for i := range fields {
		f := &fields[i]
		rule, ok := r.fields[f.Name]
		switch {
		case !ok:
			p := about(f.Name, problem.Invalid, "the event type %s has no field %q", eventType, clip(f.Name))
			if !hinted { // ranking the names is worth it once
				p.Hint, hinted = "fields of "+eventType+": "+nearest(f.Name, slices.Collect(maps.Keys(r.fields))), true
			}
			problems = append(problems, p)
			continue
		case seen.has(rule.index):
			problems = append(problems, about(f.Name, problem.Invalid, "the field %q stands twice", f.Name))
		}
		seen.add(rule.index)
		if f.Set {
			set.add(rule.index)
		}
		if locks && rule.locked {
			problems = append(problems, about(f.Name, problem.Locked, "the field %q of %s is locked", f.Name, s.Aggregate).
				WithHint("leave it out; it is writable again after `schema:alter %s --field=%s --lock=false` and a migration", s.Aggregate, f.Name))
		} else if p := rule.check(f); p != nil {
			problems = append(problems, p)
		}
	}
	for _, name := range r.required {
		if i := r.fields[name].index; !set.has(i) {
			problems = append(problems, missing(eventType, name, seen.has(i)))
		}
	}
	return problems
}

func missing(eventType, name string, unset bool) *problem.Problem {
	if unset {
		return about(name, problem.Invalid, "the field %q is required in %s and cannot be unset by it", name, eventType)
	}
	return about(name, problem.Invalid, "the field %q is required in %s", name, eventType)
}

// check says which rule the field's value breaks: the first of type, length, pattern. A sealed value was checked before it was sealed.
func (v *valueRules) check(f *event.Field) *problem.Problem {
	if !f.Set || f.Sealed {
		return nil
	}
	if v.accepts != nil && !v.accepts(f.Value) {
		return about(f.Name, problem.Invalid, "the field %q is no %s", f.Name, v.kind).WithHint("%s", grammar[v.kind])
	}
	if v.kind == Enum {
		if _, ok := v.values[f.Value]; !ok {
			return about(f.Name, problem.Invalid, "the field %q is none of the values it may have", f.Name).
				WithHint("its values: %s", nearest(f.Value, slices.Collect(maps.Keys(v.values))))
		}
	}
	if v.maxLength > 0 && len(f.Value) > v.maxLength {
		if n := utf8.RuneCountInString(f.Value); n > v.maxLength {
			return about(f.Name, problem.Invalid, "the field %q has %d characters, at most %d are allowed", f.Name, n, v.maxLength)
		}
	}
	if v.pattern != nil && !v.pattern.MatchString(f.Value) {
		return about(f.Name, problem.Invalid, "the field %q does not match its pattern", f.Name).WithHint("the whole value must match %s", v.pattern)
	}
	return nil
}

func about(field string, code problem.Code, format string, args ...any) *problem.Problem {
	p := problem.New(code, format, args...)
	p.Field = clip(field)
	return p
}

// liveEvents are the event types that take new events.
func (s *Schema) liveEvents() (names []string) {
	for name, e := range s.Events {
		if !e.Removed {
			names = append(names, name)
		}
	}
	return names
}
