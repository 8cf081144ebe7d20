// Package mapping says which changes become what in a plugin's target: one language for all plugins, in YAML, checked whole against the schemas.
//
// A mapping makes documents. With `document: aggregate` there is one for each aggregate, and a change of the aggregate writes the fields that the
// rules name; with `document: event` there is one for each event, which never changes. Where the documents lie and what they are called are
// templates. docs/plugins-mapping.md is the manual of the language.
//
// Compile checks a mapping and gives everything that is wrong with it, each with its line. Map applies it to one change. A condition is an
// expression of expr-lang without its functions that loop or look at the clock. Errors name fields and rules, never values.
//
// The package is pure. A Mapping is immutable and safe for concurrent use.
package mapping

import (
	"errors"
	"slices"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Limits of a mapping.
const (
	MaxBytes     = 256 << 10 // of its text
	MaxRules     = 64
	MaxFields    = 1024 // different fields of a document
	MaxCondition = 1000 // bytes of a condition
	MaxProblems  = 100  // that Compile tells
	MaxKey       = 512  // bytes of a document's key
)

// Version of the language.
const Version = "1"

// Document is what a document stands for. The words are those of the YAML.
type Document string

// The two sorts of documents.
const (
	OfAggregate Document = "aggregate" // one for each aggregate, as it is now
	OfEvent     Document = "event"     // one for each event, never changed
)

// Mapping is a checked mapping. Compile makes one.
type Mapping struct {
	Document Document
	Types    []string // the aggregate types that it is about, in ascending order
	Target   Template // where a document lies: an index, a table
	Key      Template // its name there
	Rules    []Rule
	Delete   When // which events delete the document of their aggregate
	Never    bool // none does; Delete is empty then

	byType  map[string]bool
	columns []Column
	settled map[string][]settled // by aggregate type, for each of columns
	keeps   bool
	key     string // that a document gets if the YAML names none
	target  Target
	whole   bool // with HandedOn: no rule gives fields, events go on as they are
}

// Target is what a plugin makes of documents beyond writing them one by one. The zero value: nothing.
type Target struct {
	// ForgetsEvents: it finds all documents of events that are about one aggregate, so these may hold encrypted fields. What is forgotten has the Action Forget and no
	// Key then: it is about all of them.
	ForgetsEvents bool
	// HandedOn: documents lie nowhere, each event is handed to somebody. They are documents of events without target and key; a rule may give no fields, if none does.
	HandedOn bool
	// Types: the plugin gets changes of these types alone, so a mapping that has no rules and names none is about these; empty: it gets all.
	Types []string
}

// takes reports whether the plugin gets changes of a type.
func (t Target) takes(aggregateType string) bool {
	return len(t.Types) == 0 || slices.Contains(t.Types, aggregateType)
}

// Rule gives fields of the document for the events that it is about.
type Rule struct {
	When   When
	Fields []Field // in ascending order of their targets
}

// When chooses events. Empty lists: all; but a Delete without events means the event types that end an aggregate by their schema.
type When struct {
	Types  []string
	Events []string
	If     string // an expression; empty: no condition

	condition *condition
}

// Field is one field of a document.
type Field struct {
	Target   string
	Type     Type
	From     Source
	Constant Value // if From is FromConstant
}

// From is where a value comes from. The words are those of the YAML.
type From string

// The four origins of a value.
const (
	FromEvent    From = "event"    // a field that the event sets or unsets
	FromState    From = "state"    // a field of the folded state behind the event
	FromMeta     From = "meta"     // what stands around the event
	FromConstant From = "constant" // the same in each document
)

// Source is where a value comes from.
type Source struct {
	From From
	Name string
}

// String is the text of the YAML, `event.status`.
func (s Source) String() string { return string(s.From) + "." + s.Name }

// Column is a field that documents may have, over all rules.
type Column struct {
	Name string
	Type Type
}

// Columns are the fields that documents may have, in ascending order of their names. The slice must not be changed.
func (m *Mapping) Columns() []Column { return m.columns }

// KeyOf gives the key of the document that a change is about.
func (m *Mapping) KeyOf(c *plugin.Change) string { return m.Key.expand(c) }

// OwnKey reports whether documents have another key than a mapping gets that names none.
func (m *Mapping) OwnKey() bool { return m.Key.String() != m.key }

// Compile reads a mapping and checks it against the schemas. The error joins everything that is wrong, up to MaxProblems, each with its line.
func Compile(text []byte, schemas []*schema.Schema, target Target) (*Mapping, error) {
	m, problems := compile(text, schemas, target)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return m, nil
}

// Check gives everything that is wrong with a mapping, one error each; nothing if Compile takes it.
func Check(text []byte, schemas []*schema.Schema, target Target) []error {
	_, problems := compile(text, schemas, target)
	return problems
}

// Keeps reports whether a document can hold a value that neither its newest change nor the state behind that gives: then it has to be read before it is
// written, and a change that others passed cannot be made up for later. It is so for what depends on a condition, and for fields that a rule takes from
// some event types and others have too.
func (m *Mapping) Keeps() bool { return m.keeps }
