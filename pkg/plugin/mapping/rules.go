package mapping

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/pkg/schema"
)

// rule resolves one rule. A field whose type cannot be found is left out; the problem is told.
func (c *compiler) rule(d draftRule) Rule {
	rule := Rule{When: c.when(d.when)}
	for _, f := range append(c.copied(d, rule.When), d.fields...) {
		if made, ok := c.field(f, rule.When); ok {
			c.add(&rule, made, f.line)
		}
	}
	slices.SortFunc(rule.Fields, func(a, b Field) int { return strings.Compare(a.Target, b.Target) })
	return rule
}

func (c *compiler) add(rule *Rule, f Field, line int) {
	if slices.ContainsFunc(rule.Fields, func(other Field) bool { return other.Target == f.Target }) {
		c.wrong(line, "the rule gives %s twice", f.Target)
		return
	}
	if t, other := c.columns[f.Target]; other && t != f.Type {
		c.wrong(line, "%s is of the type %s here and %s in another rule", f.Target, f.Type, t)
		return
	}
	c.columns[f.Target] = f.Type
	rule.Fields = append(rule.Fields, f)
}

// copied are the fields that `copy` stands for. One that `fields` gives too is left to that, and documents of events get no encrypted ones.
func (c *compiler) copied(d draftRule, w When) (out []draftField) {
	if d.copy.text == "" {
		return nil
	}
	all := c.fields(From(d.copy.text), w)
	names := map[string]string{}
	for name := range all {
		if c.mayForget() || !c.pii[name] {
			names[name] = name
		}
	}
	for _, p := range d.rename {
		if all[p.name] == nil {
			c.wrong(p.line, "rename: %s is no field of these events; known are %s", clip(p.name), some(near(p.name, slices.Sorted(maps.Keys(all)))))
			continue
		}
		to := c.text(p.value, "rename: "+clip(p.name))
		c.target(to, p.line)
		names[p.name] = to
	}
	for _, w := range d.except {
		if all[w.text] == nil {
			c.wrong(w.line, "except: %s is no field of these events; known are %s", clip(w.text), some(near(w.text, slices.Sorted(maps.Keys(all)))))
		}
		delete(names, w.text)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !slices.ContainsFunc(d.fields, func(f draftField) bool { return f.target == names[name] }) {
			out = append(out, draftField{target: names[name], line: d.copy.line, from: d.copy.text + "." + name})
		}
	}
	return out
}

func (c *compiler) field(d draftField, w When) (Field, bool) {
	if d.constant != nil {
		return c.constant(d)
	}
	if d.from == "" {
		return Field{}, false
	}
	source, fields, ok := c.source(word{d.from, d.line}, clip(d.target)+": ", w)
	if !ok {
		return Field{}, false
	}
	if !c.mayForget() && source.From != FromMeta && c.pii[source.Name] {
		c.wrong(d.line, "%s: %s is encrypted, and a document of an event could not be made to forget it: leave it out, or use document: aggregate", clip(d.target), d.from)
		return Field{}, false
	}
	t, ok := c.fieldType(d, source, fields)
	return Field{Target: d.target, Type: t, From: source}, ok
}

// mayForget reports whether documents can be made to forget a field.
func (c *compiler) mayForget() bool { return c.m.Document == OfAggregate || c.m.forgetsEvents() }

func (c *compiler) fieldType(d draftField, s Source, fields []schema.Field) (Type, bool) {
	t := Type(d.kind.text)
	if s.From == FromMeta {
		own := metaTypes[s.Name]
		if t != "" && t != own && t != Keyword && t != Text {
			c.wrong(d.line, "%s: %s is %s and cannot become %s", d.target, d.from, own, t)
			return t, false
		}
		return either(t, own), true
	}
	if t == "" {
		own, same := naturalOf(fields)
		if !same {
			c.wrong(d.line, "%s: %s has different types in different aggregate types: say which one it becomes, {from: %s, type: keyword}", clip(d.target), d.from, d.from)
		}
		return own, same
	}
	for _, f := range fields {
		if !t.possible(f) {
			c.wrong(d.line, "%s: %s is of the type %s in the schema and cannot become %s", clip(d.target), d.from, f.Type, t)
			return t, false
		}
	}
	return t, true
}

func either(t, otherwise Type) Type {
	if t == "" {
		return otherwise
	}
	return t
}

// constantTypes are the types of constants by what YAML takes them for.
var constantTypes = map[string]Type{"!!int": Integer, "!!float": Decimal, "!!bool": Boolean}

func (c *compiler) constant(d draftField) (Field, bool) {
	t := either(Type(d.kind.text), either(constantTypes[d.constant.Tag], Keyword))
	if d.constant.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && d.kind.text == "" {
		t = Keyword
	}
	v, err := t.convert(d.constant.Value)
	if err != nil {
		c.wrong(d.line, "%s: the constant is not of the type %s", clip(d.target), t)
	}
	return Field{Target: d.target, Type: t, From: Source{From: FromConstant}, Constant: v}, err == nil
}

// remove resolves which events delete a document.
func (c *compiler) remove(d *draft) {
	c.m.Never = d.never || d.document == OfEvent
	if d.remove != nil {
		c.m.Delete = c.when(*d.remove)
	}
}

func (c *compiler) finish(d *draft) {
	c.m.whole = len(d.rules) > 0 && d.rules[0].bare
	names := slices.Sorted(maps.Keys(c.columns))
	if len(names) > MaxFields {
		c.wrong(d.line, "%d fields, a document has at most %d", len(names), MaxFields)
	}
	for _, name := range names {
		c.m.columns = append(c.m.columns, Column{name, c.columns[name]})
		for outer := name; strings.Contains(outer, "."); {
			outer = outer[:strings.LastIndexByte(outer, '.')]
			if c.columns[outer] != "" {
				c.wrong(d.line, "%s is a field, so it cannot hold the field %s", outer, name)
			}
		}
	}
	if len(c.problems) == 0 {
		c.settle()
	}
}
