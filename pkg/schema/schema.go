// Package schema is what an aggregate type accepts: its definition, the rules compiled from it, and the differences of two definitions.
//
// A Definition is what a user writes and the system log stores; a Schema is a definition that passed every check, with its version, its
// digest and its compiled rules. The authority for digests and for the built-in schemas is docs/spec/commands.md, section 9.
//
// Problems name fields and rules, never values: an error text may end in a log file, and a value may be a patient's.
//
// The package is pure. A Schema is immutable and safe for concurrent use.
package schema

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Limits of a definition. A canonical definition also has to fit into one field value (event.MaxValueLen).
const (
	MaxEvents            = 1024      // event types of an aggregate type, removed ones included
	MaxPatternLen        = 1000      // bytes
	MaxEnumValues        = 1024      // values of an enum
	MaxSnapshotThreshold = 1_000_000 // events
)

// FieldType is how a field's text must read. The zero value means String; the words are stored.
type FieldType string

const (
	String   FieldType = "string"   // any text
	Integer  FieldType = "integer"  // an optional "-", then digits, however many
	Decimal  FieldType = "decimal"  // a JSON number (RFC 8259, section 6) of any precision
	Date     FieldType = "date"     // full-date of RFC 3339
	DateTime FieldType = "datetime" // date-time of RFC 3339
	Bool     FieldType = "bool"     // true or false
	Email    FieldType = "email"    // an address without a display name, its local part not quoted
	UUID     FieldType = "uuid"     // the text form of RFC 9562
	Enum     FieldType = "enum"     // one of Field.Values
)

var fieldTypes = []FieldType{String, Integer, Decimal, Date, DateTime, Bool, Email, UUID, Enum}

// Field is what a field accepts, in whichever event it stands. The zero value accepts any text.
type Field struct {
	Type      FieldType `json:"type,omitempty"`
	MaxLength int       `json:"max-length,omitempty"` // in Unicode code points; 0: only the limit of the log
	Pattern   string    `json:"pattern,omitempty"`    // RE2 syntax, matched against the whole value; empty: none
	Values    []string  `json:"values,omitempty"`     // of an enum
	Locked    bool      `json:"locked,omitempty"`     // no event may set or unset the field
	Unique    bool      `json:"unique,omitempty"`     // no two aggregates of the type hold the same value at the same time
	PII       bool      `json:"pii,omitempty"`        // new values are stored sealed, under a key of the aggregate that can be destroyed
}

// Event is what an event type accepts.
type Event struct {
	Fields   []string `json:"fields,omitempty"`   // a field that Definition.Fields does not name accepts any text
	Required []string `json:"required,omitempty"` // those of Fields that each event must set
	Deletes  bool     `json:"deletes,omitempty"`  // the event ends the aggregate
	Removed  bool     `json:"removed,omitempty"`  // refuses new events; the stored ones stay readable
}

// Definition is the schema of one aggregate type as a user writes it. Canonical says which definitions mean the same.
type Definition struct {
	Aggregate         string           `json:"aggregate"`
	Log               string           `json:"log"`                          // empty: as the aggregate type; fixed once the type exists
	SnapshotThreshold int              `json:"snapshot-threshold,omitempty"` // events between two snapshots; 0: none are taken by number
	Locked            bool             `json:"locked,omitempty"`             // the type refuses every event
	Fields            map[string]Field `json:"fields,omitempty"`
	Events            map[string]Event `json:"events"`
}

// Schema is a definition with compiled rules. Its Definition is in canonical form: the log named, every field declared, lists sorted.
type Schema struct {
	Definition
	Version uint64     // 1, 2, 3 … of the aggregate type
	Digest  event.Hash // of the canonical definition
	rules   map[string]*eventRules
	unique  []string
	pii     []string
}

// Compile checks d and makes its schema. The error is a *problem.Problem that lists everything wrong with d.
func Compile(d Definition, version uint64) (*Schema, error) {
	if p := problem.Join(d.Check()); p != nil {
		return nil, p
	}
	return compile(d, version, Digest(d.Canonical()))
}

func compile(d Definition, version uint64, digest event.Hash) (*Schema, error) {
	s := &Schema{Definition: d.normal(), Version: version, Digest: digest}
	rules, err := compileRules(s.Definition)
	if err != nil {
		return nil, err
	}
	s.rules = rules
	for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
		if s.Fields[name].Unique {
			s.unique = append(s.unique, name)
		}
		if s.Fields[name].PII {
			s.pii = append(s.pii, name)
		}
	}
	return s, nil
}

// Digest is the digest of a stored definition: SHA-256("eventful.schema.v1" ‖ 0x00 ‖ canonical).
func Digest(canonical []byte) event.Hash {
	return sha256.Sum256(append([]byte("eventful.schema.v1\x00"), canonical...))
}

// Deletes reports whether an event of that type ends the aggregate. It is so for a removed type too, as stored events are folded.
func (s *Schema) Deletes(eventType string) bool { return s.Events[eventType].Deletes }

// UniqueFields are the names of the fields whose values are unique, in ascending order. The slice must not be changed.
func (s *Schema) UniqueFields() []string { return s.unique }

// EncryptedFields are the names of the fields whose new values are stored sealed, in ascending order. The slice must not be changed.
func (s *Schema) EncryptedFields() []string { return s.pii }

func known(t FieldType) bool { return t == "" || slices.Contains(fieldTypes, t) }
