package mapping

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The written mapping, before it is held against the schemas.
type (
	draft struct {
		line     int
		document Document
		types    []word
		target   *word
		key      *word
		rules    []draftRule
		ruled    bool       // by the text, and not as they are without any
		remove   *draftWhen // delete; nil: by the schema
		never    bool
	}
	draftRule struct {
		line   int
		what   string
		bare   bool // it gives no fields, not even none
		when   draftWhen
		copy   word
		except []word
		rename []pair
		fields []draftField
	}
	draftWhen struct {
		types, events []word
		condition     word
	}
	draftField struct {
		target   string
		line     int
		from     string
		constant *yaml.Node
		kind     word // type; empty: the natural one
	}
)

var targetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*$`)

const maxTargetName = 128

func (r *reader) mapping(n *yaml.Node) *draft {
	keys := r.keys(n, "the mapping", "version", "document", "types", "target", "key", "rules", "delete")
	d := &draft{line: n.Line, document: OfAggregate}
	if r.handedOn {
		d.document = OfEvent
	}
	if v := keys["version"]; v != nil && r.text(v, "version") != Version {
		r.wrong(v.Line, "version %s of the mapping language is not known here; known is %s", clip(v.Value), Version)
	}
	if v := keys["document"]; v != nil {
		if d.document = Document(r.text(v, "document")); d.document != OfAggregate && d.document != OfEvent {
			r.wrong(v.Line, "document is %s or %s, not %q", OfAggregate, OfEvent, clip(v.Value))
		}
	}
	if v := keys["types"]; v != nil {
		d.types = r.words(v, "types")
	}
	if r.handedOn {
		r.homeless(keys, d)
	}
	d.target, d.key = r.optional(keys["target"], "target"), r.optional(keys["key"], "key")
	if v := keys["rules"]; v != nil {
		d.rules, d.ruled = r.rules(v), true
	} else if r.handedOn {
		d.rules = []draftRule{{line: n.Line, what: "rules", bare: true}}
	} else {
		d.rules = []draftRule{{line: n.Line, what: "rules", copy: word{everything[d.document], n.Line}}}
	}
	if v := keys["delete"]; v != nil {
		r.delete(v, d)
	}
	return d
}

// homeless refuses what is said of documents that lie somewhere.
func (r *reader) homeless(keys map[string]*yaml.Node, d *draft) {
	for _, name := range []string{"target", "key"} {
		if keys[name] != nil {
			r.wrong(keys[name].Line, "this plugin hands each event on, which has no %s", name)
		}
	}
	if d.document == OfAggregate {
		r.wrong(keys["document"].Line, "this plugin hands each event on: document is %s", OfEvent)
	}
}

// everything is what a mapping without rules copies.
var everything = map[Document]string{OfAggregate: string(FromState), OfEvent: string(FromEvent)}

func (r *reader) optional(n *yaml.Node, what string) *word {
	if n == nil {
		return nil
	}
	return &word{r.text(n, what), n.Line}
}

func (r *reader) delete(n *yaml.Node, d *draft) {
	if n.Kind == yaml.ScalarNode {
		if d.never = n.Value == "never"; !d.never {
			r.wrong(n.Line, "delete is never, or says when: {events: [...]}")
		}
		return
	}
	if d.document == OfEvent {
		r.wrong(n.Line, "delete: a document of an event is never deleted")
	}
	when := r.when(n, "delete")
	d.remove = &when
}

func (r *reader) rules(n *yaml.Node) (out []draftRule) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.wrong(n.Line, "rules must be a list with at least one rule; leave it out to copy every field")
		return nil
	}
	if len(n.Content) > MaxRules {
		r.wrong(n.Line, "%d rules, a mapping has at most %d", len(n.Content), MaxRules)
		return nil
	}
	for _, one := range n.Content {
		out = append(out, r.rule(one))
	}
	for _, one := range out[1:] {
		if one.bare != out[0].bare && r.handedOn {
			r.wrong(one.line, "one rule hands events on whole and another gives fields: give fields in all rules (copy: event gives all of them), or in none")
		}
	}
	return out
}

func (r *reader) rule(n *yaml.Node) draftRule {
	d := draftRule{line: n.Line, what: "the rule"}
	keys := r.keys(n, d.what, "when", "copy", "except", "rename", "fields")
	if v := keys["when"]; v != nil {
		d.when = r.when(v, "when")
	}
	if v := keys["copy"]; v != nil {
		d.copy = word{r.text(v, "copy"), v.Line}
		if d.copy.text != string(FromState) && d.copy.text != string(FromEvent) {
			r.wrong(v.Line, "copy is state or event: every field of it, under its own name")
		}
	}
	if v := keys["except"]; v != nil {
		d.except = r.words(v, "except")
	}
	if v := keys["rename"]; v != nil {
		d.rename = r.each(v, "rename")
	}
	if (d.except != nil || d.rename != nil) && d.copy.text == "" {
		r.wrong(n.Line, "except and rename belong to copy")
	}
	if v := keys["fields"]; v != nil {
		for _, one := range r.each(v, "fields") {
			d.fields = append(d.fields, r.field(one))
		}
	} else if d.bare = d.copy.text == ""; d.bare && !r.handedOn {
		r.wrong(n.Line, "the rule gives nothing: it wants fields, or copy")
	}
	return d
}

func (r *reader) when(n *yaml.Node, what string) (d draftWhen) {
	keys := r.keys(n, what, "types", "events", "if")
	if v := keys["types"]; v != nil {
		d.types = r.words(v, what+": types")
	}
	if v := keys["events"]; v != nil {
		d.events = r.words(v, what+": events")
	}
	if v := keys["if"]; v != nil {
		d.condition = word{r.text(v, what+": if"), v.Line}
	}
	return d
}

func (r *reader) field(p pair) draftField {
	f := draftField{target: p.name, line: p.line}
	r.target(p.name, p.line)
	if p.value.Kind == yaml.ScalarNode {
		f.from = r.text(p.value, p.name)
		return f
	}
	keys := r.keys(p.value, clip(p.name), "from", "constant", "type")
	if v := keys["from"]; v != nil {
		f.from = r.text(v, clip(p.name)+": from")
	}
	if v := keys["constant"]; v != nil {
		f.constant = v
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			r.wrong(v.Line, "%s: constant must be a text, a number, true or false", clip(p.name))
			f.constant = nil
		}
	}
	if (keys["from"] == nil) == (keys["constant"] == nil) {
		r.wrong(p.line, "%s wants one of from and constant", clip(p.name))
	}
	if v := keys["type"]; v != nil {
		f.kind = word{r.text(v, clip(p.name)+": type"), v.Line}
		if !slices.Contains(allTypes, Type(f.kind.text)) {
			r.wrong(v.Line, "%s: there is no type %q; known are %s", clip(p.name), clip(f.kind.text), typeNames())
			f.kind = word{}
		}
	}
	return f
}

func (r *reader) target(name string, line int) {
	if len(name) > maxTargetName || !targetName.MatchString(name) {
		r.wrong(line, "%q is no field of a document: letters, digits, _ and -, first a letter, at most %d; points between the names of nested fields", clip(name), maxTargetName)
	}
}

func typeNames() string {
	names := make([]string, len(allTypes))
	for i, t := range allTypes {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}
