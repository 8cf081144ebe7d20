package mapping

import (
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// compiler holds a draft against the schemas.
type compiler struct {
	*reader
	m       *Mapping
	schemas map[string]*schema.Schema
	columns map[string]Type
	pii     map[string]bool // fields that are encrypted in one of the types
}

func compile(text []byte, schemas []*schema.Schema, target Target) (*Mapping, []error) {
	r := &reader{handedOn: target.HandedOn}
	root := r.document(text)
	if root == nil {
		return nil, r.problems
	}
	d := r.mapping(root)
	c := &compiler{r, &Mapping{Document: d.document, byType: map[string]bool{}, target: target}, map[string]*schema.Schema{}, map[string]Type{}, map[string]bool{}}
	for _, s := range schemas {
		if !event.IsReserved(s.Aggregate) {
			c.schemas[s.Aggregate] = s
		}
	}
	c.types(d)
	if !r.handedOn {
		c.templates(d)
	}
	for _, rule := range d.rules {
		c.m.Rules = append(c.m.Rules, c.rule(rule))
	}
	c.remove(d)
	c.finish(d)
	return c.m, r.problems
}

func (c *compiler) types(d *draft) {
	for _, w := range d.types {
		if c.schemas[w.text] == nil {
			c.wrong(w.line, "there is no aggregate type %q; known are %s", clip(w.text), some(slices.Sorted(maps.Keys(c.schemas))))
			continue
		}
		c.m.Types = append(c.m.Types, w.text)
	}
	if d.types == nil {
		for t := range c.schemas {
			if d.ruled || c.m.target.takes(t) { // a rule may name what is never handed over
				c.m.Types = append(c.m.Types, t)
			}
		}
	}
	if len(c.schemas) == 0 {
		c.wrong(d.line, "there is no aggregate type yet: create one first")
	}
	slices.Sort(c.m.Types)
	for _, t := range c.m.Types {
		c.m.byType[t] = true
		for _, f := range c.schemas[t].EncryptedFields() {
			c.pii[f] = true
		}
	}
}

func (c *compiler) templates(d *draft) {
	places := placesOfTarget
	if d.document == OfEvent {
		places = placesOfDay
	}
	c.m.Target = c.template(d.target, "{type}", places, "target")
	apart := len(c.m.Types) < 2 || c.m.Target.Holds("type")
	key := "{id}"
	if !apart {
		key = "{type}/{id}"
	}
	if d.document == OfEvent {
		key += "/{version}"
	}
	c.m.key, c.m.Key = key, c.template(d.key, key, placesOfKey, "key")
	if d.key != nil {
		c.key(d.key.line, apart)
	}
}

func (c *compiler) template(w *word, otherwise string, places []string, what string) Template {
	if w == nil {
		w = &word{otherwise, 0}
	}
	t, err := parseTemplate(w.text, places)
	if err != nil {
		c.wrong(w.line, "%s: %v", what, err)
	}
	return t
}

// key sees to it that no two documents get the same key, and that a document keeps its key.
func (c *compiler) key(line int, apart bool) {
	k := c.m.Key
	if len(k.parts) == 0 {
		return // told already
	}
	if c.m.Document == OfAggregate {
		if k.Holds("version") || k.Holds("leaf") {
			c.wrong(line, "key: the document of an aggregate has one key, so it holds neither {version} nor {leaf}")
		}
	} else if !k.Holds("leaf") && !(k.Holds("id") && k.Holds("version")) {
		c.wrong(line, "key: events would share a document: it wants {leaf}, or {id} and {version}")
	}
	if !k.Holds("id") && !k.Holds("leaf") {
		c.wrong(line, "key: aggregates would share a document: it wants {id}")
	}
	if !apart && !k.Holds("type") && !k.Holds("leaf") {
		c.wrong(line, "key: aggregates of different types would share a document: key or target wants {type}")
	}
	if err := k.distinct(); err != nil {
		c.wrong(line, "key: %v", err)
	}
}

// when resolves which events a rule is about.
func (c *compiler) when(d draftWhen) When {
	w := When{If: d.condition.text}
	for _, t := range d.types {
		if !slices.Contains(c.m.Types, t.text) {
			c.wrong(t.line, "%q is none of the mapping's types, which are %s", clip(t.text), some(c.m.Types))
			continue
		}
		w.Types = append(w.Types, t.text)
	}
	slices.Sort(w.Types)
	for _, e := range d.events {
		known := c.events(w.Types)
		if !slices.Contains(known, e.text) {
			c.wrong(e.line, "there is no event type %q; known are %s", clip(e.text), some(known))
			continue
		}
		w.Events = append(w.Events, e.text)
	}
	slices.Sort(w.Events)
	w.condition = c.condition(d.condition, w)
	return w
}

// events are the event types of aggregate types, of all for none.
func (c *compiler) events(aggregateTypes []string) (out []string) {
	for _, t := range c.of(aggregateTypes) {
		out = slices.AppendSeq(out, maps.Keys(t.Events))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// of gives the schemas of aggregate types, of all that the mapping is about for none.
func (c *compiler) of(aggregateTypes []string) (out []*schema.Schema) {
	if len(aggregateTypes) == 0 {
		aggregateTypes = c.m.Types
	}
	for _, t := range aggregateTypes {
		out = append(out, c.schemas[t])
	}
	return out
}

// fields are what a source can name in a rule, with what the schemas say of them.
func (c *compiler) fields(from From, w When) map[string][]schema.Field {
	out := map[string][]schema.Field{}
	for _, s := range c.of(w.Types) {
		names := map[string]bool{}
		for name, e := range s.Events {
			if from == FromState || len(w.Events) == 0 || slices.Contains(w.Events, name) {
				for _, f := range e.Fields {
					names[f] = true
				}
			}
		}
		for f := range names {
			out[f] = append(out[f], s.Fields[f])
		}
	}
	return out
}

// source reads `event.FIELD` and checks that it is there. fields are nil for meta.
func (c *compiler) source(w word, what string, when When) (s Source, fields []schema.Field, ok bool) {
	from, name, dotted := strings.Cut(w.text, ".")
	s = Source{From(from), name}
	switch {
	case dotted && s.From == FromMeta:
		if _, known := metaTypes[name]; !known {
			c.wrong(w.line, "%sthere is no %s; known are meta.{%s}", what, clip(w.text), strings.Join(MetaNames(), ", "))
			return s, nil, false
		}
		return s, nil, true
	case dotted && (s.From == FromEvent || s.From == FromState):
		all := c.fields(s.From, when)
		if fields = all[name]; fields == nil {
			c.wrong(w.line, "%s%s is no field of these events; known are %s", what, clip(w.text), some(near(name, slices.Sorted(maps.Keys(all)))))
		}
		return s, fields, fields != nil
	}
	c.wrong(w.line, "%s%q is none of event.FIELD, state.FIELD and meta.NAME; a fixed value is written {constant: ...}", what, clip(w.text))
	return s, nil, false
}

// near puts the names that begin like name first.
func near(name string, names []string) []string {
	like := func(n string) int {
		same := 0
		for same < min(len(n), len(name)) && n[same]|0x20 == name[same]|0x20 {
			same++
		}
		return same
	}
	slices.SortStableFunc(names, func(a, b string) int { return like(b) - like(a) })
	return names
}

func (c *compiler) condition(w word, when When) *condition {
	if w.text == "" {
		return nil
	}
	looks, err := parseCondition(w.text)
	if err != nil {
		c.wrong(w.line, "if: %v", err)
		return nil
	}
	known := true
	for i, l := range looks {
		_, fields, ok := c.source(word{l.String(), w.line}, "if: ", when)
		known = known && ok
		if looks[i].as = Keyword; l.From == FromMeta {
			looks[i].as = metaTypes[l.Name]
		} else if t, same := naturalOf(fields); same {
			looks[i].as = t
		}
	}
	if !known {
		return nil
	}
	made, err := compileCondition(w.text, looks)
	if err != nil {
		c.wrong(w.line, "if: %v", err)
	}
	return made
}

// naturalOf is the type that fields of several schemas have, if it is the same.
func naturalOf(fields []schema.Field) (Type, bool) {
	t := Keyword
	for i, f := range fields {
		if i > 0 && natural(f.Type) != t {
			return Keyword, false
		}
		t = natural(f.Type)
	}
	return t, true
}
