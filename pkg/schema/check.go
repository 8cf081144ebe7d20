package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Check lists everything wrong with the definition at once, in a stable order; nothing if it can be compiled. Each problem has the code
// invalid or too_large, and the path to the culprit as its Field.
func (d Definition) Check() []*problem.Problem {
	c := &checker{}
	c.head(d)
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		c.field(name, d.Fields[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.Events)) {
		c.event(name, d.Events[name])
	}
	if n := len(d.normal().Fields); n > event.MaxFields {
		c.tooLarge("fields", "%d fields, an aggregate type has at most %d", n, event.MaxFields)
	}
	if len(c.problems) == 0 {
		if n := len(d.Canonical()); n > event.MaxValueLen {
			c.tooLarge("", "the definition has %d bytes, at most %d can be stored", n, event.MaxValueLen)
		}
	}
	return c.problems
}

type checker struct{ problems []*problem.Problem }

func (c *checker) add(code problem.Code, path, format string, args ...any) *problem.Problem {
	p := problem.New(code, "schema: %s%s", where(path), fmt.Sprintf(format, args...))
	p.Field = path
	c.problems = append(c.problems, p)
	return p
}

func (c *checker) invalid(path, format string, args ...any) *problem.Problem {
	return c.add(problem.Invalid, path, format, args...)
}

func (c *checker) tooLarge(path, format string, args ...any) {
	c.add(problem.TooLarge, path, format, args...)
}

func (c *checker) err(path string, err error) bool {
	if err != nil {
		c.invalid(path, "%v", err)
	}
	return err == nil
}

func (c *checker) head(d Definition) {
	if c.err("aggregate", event.CheckType(d.Aggregate)) && event.IsReserved(d.Aggregate) {
		c.reserved("aggregate", d.Aggregate)
	}
	if d.Log != "" && c.err("log", event.CheckLog(d.Log)) && event.IsReserved(d.Log) {
		c.reserved("log", d.Log)
	}
	if d.SnapshotThreshold < 0 || d.SnapshotThreshold > MaxSnapshotThreshold {
		c.invalid("snapshot-threshold", "%d is not between 0 and %d", d.SnapshotThreshold, MaxSnapshotThreshold)
	}
	if len(d.Events) == 0 {
		c.invalid("events", "there is no event type").WithHint("name at least one: without it nothing can be written")
	}
	if len(d.Events) > MaxEvents {
		c.tooLarge("events", "%d event types, an aggregate type has at most %d", len(d.Events), MaxEvents)
	}
}

func (c *checker) reserved(path, name string) {
	c.invalid(path, "%q is reserved", name).WithHint("%q, and every name that begins with %q, belongs to EventfulDB itself", event.Reserved, event.ReservedPrefix)
}

func (c *checker) field(name string, f Field) {
	path := join("fields", name)
	c.err(path, event.CheckField(name))
	if !known(f.Type) {
		c.invalid(path+".type", "%q is no type", clip(string(f.Type))).WithHint("known types: %s", nearest(string(f.Type), typeNames()))
	}
	if f.MaxLength < 0 || f.MaxLength > event.MaxValueLen {
		c.invalid(path+".max-length", "%d is not between 0 and %d", f.MaxLength, event.MaxValueLen)
	}
	if len(f.Pattern) > MaxPatternLen {
		c.tooLarge(path+".pattern", "%d bytes, a pattern has at most %d", len(f.Pattern), MaxPatternLen)
	} else if _, err := compilePattern(f.Pattern); err != nil {
		c.invalid(path+".pattern", "%v", err).WithHint("RE2 syntax; the pattern must match the whole value")
	}
	c.values(path+".values", f)
}

func (c *checker) values(path string, f Field) {
	switch n := len(f.Values); {
	case f.Type == Enum && n == 0:
		c.invalid(path, "an enum without values accepts nothing")
	case f.Type != Enum && n > 0:
		c.invalid(path, "only an enum has values").WithHint("set the field's type to enum")
	case n > MaxEnumValues:
		c.tooLarge(path, "%d values, an enum has at most %d", n, MaxEnumValues)
	}
	for i, v := range f.Values {
		if len(v) > event.MaxValueLen || !utf8.ValidString(v) {
			c.invalid(fmt.Sprintf("%s[%d]", path, i), "no valid value: UTF-8 of at most %d bytes is wanted", event.MaxValueLen)
		}
	}
}

func typeNames() (names []string) {
	for _, t := range fieldTypes {
		names = append(names, string(t))
	}
	return names
}

func (c *checker) event(name string, e Event) {
	path := join("events", name)
	if c.err(path, event.CheckEventType(name)) && event.IsReserved(name) {
		c.reserved(path, name)
	}
	seen := map[string]bool{}
	for _, f := range e.Fields {
		c.err(path+".fields", event.CheckField(f))
		if seen[f] {
			c.invalid(path+".fields", "the field %q stands twice", clip(f))
		}
		seen[f] = true
	}
	for i, f := range e.Required {
		if !seen[f] {
			c.invalid(path+".required", "%q is no field of this event type", clip(f)).WithHint("its fields: %s", nearest(f, e.Fields))
		}
		if slices.Contains(e.Required[:i], f) {
			c.invalid(path+".required", "the field %q stands twice", clip(f))
		}
	}
}

// compilePattern compiles a pattern so that it matches whole values only; nil for none. It is compiled on its own too: a pattern such as
// "a)|(b" is none, though it would become one between the anchors.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("compile pattern: %w", err)
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("compile pattern between anchors: %w", err)
	}
	return re, nil
}
