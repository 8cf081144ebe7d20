package aggregate

import (
	"maps"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Events by which EventfulDB brings an aggregate back to an earlier state (docs/spec/commands.md, section 13). They stand under the built-in schema
// schema.SystemRolledBack, whatever the schema of the aggregate's type is.
const (
	EventRolledBack      = "eventful-rolled-back"       // behind it the aggregate is as it was
	EventRolledBackEnded = "eventful-rolled-back-ended" // … and it had ended by then, or had not begun
)

// IsRollback reports whether EventfulDB wrote the event to bring its aggregate back to an earlier state.
func IsRollback(e *event.Event) bool { return e.SchemaDigest == schema.RolledBackDigest }

// EndsByRollback reports whether such an event ends its aggregate.
func EndsByRollback(e *event.Event) bool { return IsRollback(e) && e.Type == EventRolledBackEnded }

// KeptField is a field as an event of the past left it. Key is the commitment of the key that a sealed value is under.
type KeptField struct {
	event.Field
	Key event.Hash
}

// Past works out from an aggregate's events, newest first, how it is now and how it was at an earlier version. Only fields that may differ are kept. It is for
// one goroutine.
type Past struct {
	newest, then event.Version
	now, before  unfolded
	narrow       bool // only fields that events behind then touched count …
	missing      int  // … of which so many were not met in before yet
}

// NewPast begins at the newest version; then is the earlier one, 0 for before the first.
func NewPast(newest, then event.Version) *Past {
	p := &Past{newest: newest, then: then, now: unfolded{at: newest}, before: unfolded{at: then}}
	p.before.closed = then == 0
	return p
}

// unfolded is a state that is worked out backwards: the first word on a field counts.
type unfolded struct {
	at      event.Version
	fields  map[string]KeptField // those that are unset too
	deleted bool
	closed  bool // nothing older matters
}

func (u *unfolded) add(v event.Version, fields []KeptField, deletes bool, wanted func(string) bool) {
	if u.closed || v > u.at {
		return
	}
	if v < u.at && deletes {
		u.closed = true // what comes behind an end starts from empty fields
		return
	}
	if v == u.at {
		u.deleted = deletes
	}
	if u.fields == nil {
		u.fields = make(map[string]KeptField)
	}
	for _, f := range fields {
		if _, known := u.fields[f.Name]; !known && wanted(f.Name) {
			u.fields[f.Name] = f
		}
	}
	u.closed = v == 1
}

// Add takes the event at a version, which is one less than that of the event before; deletes says whether it ended the aggregate, and key is the commitment of
// its commit, if any. It reports whether older events are needed.
func (p *Past) Add(v event.Version, e event.Event, deletes bool, key []byte) (more bool) {
	fields := keptFields(e, key)
	if v == p.then {
		p.narrow = !p.now.closed && !p.now.deleted && !deletes
		p.missing = len(p.now.fields)
	}
	if !p.narrow {
		all := func(string) bool { return true }
		p.now.add(v, fields, deletes, all)
		p.before.add(v, fields, deletes, all)
		return !p.done()
	}
	met := len(p.before.fields)
	p.before.add(v, fields, deletes, func(name string) bool { _, touched := p.now.fields[name]; return touched })
	p.missing -= len(p.before.fields) - met
	return !p.done()
}

func (p *Past) done() bool {
	if p.narrow {
		return p.before.closed || p.missing == 0
	}
	return p.now.closed && p.before.closed
}

func keptFields(e event.Event, key []byte) []KeptField {
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return nil // cannot be in a decoded commit, see Fold
	}
	out := make([]KeptField, len(fields))
	for i, f := range fields {
		out[i].Field = f
		if f.Sealed && len(key) == len(out[i].Key) {
			out[i].Key = event.Hash(key)
		}
	}
	return out
}

// Size is about how many bytes of values are kept.
func (p *Past) Size() (n int) {
	for _, u := range []*unfolded{&p.now, &p.before} {
		for name, f := range u.fields {
			n += len(name) + len(f.Value) + 100
		}
	}
	return n
}

// Restoration is what brings an aggregate back to an earlier state.
type Restoration struct {
	Fields []KeptField // to set or unset, by name
	Ends   bool        // the aggregate had ended by then, or had not begun
	Lost   []string    // fields whose value cannot come back, as its key was forgotten; by name
}

// Restore says what brings the aggregate back, nil: nothing has to change. forgotten says which keys were forgotten: what is sealed under one of them
// stays forgotten, and its field is unset, unless it was never changed.
func (p *Past) Restore(forgotten func(event.Hash) bool) *Restoration {
	r := &Restoration{Ends: p.then == 0 || p.before.deleted}
	if r.Ends && p.now.deleted {
		return nil
	}
	base := p.now.fields
	if p.now.deleted {
		base = nil // what comes behind an end starts from empty fields
	}
	for _, name := range slices.Sorted(maps.Keys(p.before.fields)) {
		f := p.before.fields[name]
		if was := base[name]; !f.Set || was.Field == f.Field {
			continue
		}
		if f.Sealed && forgotten(f.Key) {
			r.Lost = append(r.Lost, name)
			continue
		}
		r.Fields = append(r.Fields, f)
	}
	for name, f := range base {
		if then := p.before.fields[name]; f.Set && (!then.Set || slices.Contains(r.Lost, name)) {
			r.Fields = append(r.Fields, KeptField{Field: event.Field{Name: name}})
		}
	}
	slices.SortFunc(r.Fields, func(a, b KeptField) int { return cmpText(a.Name, b.Name) })
	if len(r.Fields) == 0 && !r.Ends && !p.now.deleted {
		return nil
	}
	return r
}

func cmpText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Events are what the restoration stores: as few as hold its fields. They have no salt. The error wraps that of a payload which cannot be encoded.
func (r *Restoration) Events() ([]NewEvent, []event.Event, error) {
	var asked []NewEvent
	for from := 0; from == 0 || from < len(r.Fields); from += event.MaxFields {
		e := NewEvent{Type: EventRolledBack}
		for _, f := range r.Fields[from:min(from+event.MaxFields, len(r.Fields))] {
			e.Fields = append(e.Fields, f.Field)
		}
		asked = append(asked, e)
	}
	if r.Ends {
		asked[len(asked)-1].Type = EventRolledBackEnded
	}
	stored := make([]event.Event, len(asked))
	for i := range asked {
		payload, err := event.EncodePayload(asked[i].Fields)
		if err != nil {
			return nil, nil, err
		}
		stored[i] = event.Event{Type: asked[i].Type, SchemaDigest: schema.RolledBackDigest, SchemaVersion: 1, Payload: payload}
	}
	return asked, stored, nil
}
