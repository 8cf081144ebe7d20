package schema

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Canonical is the definition as the system log stores it and as its digest covers it: JSON without blanks, keys in ascending order inside
// fields and events, lists sorted and free of repeats, defaults written out. Definitions that accept the same have the same
// canonical form. Parse reads it back. The definition must have passed Check: invalid UTF-8 would not survive.
func (d Definition) Canonical() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d.normal()); err != nil {
		panic("schema: " + err.Error()) // strings, booleans, integers, lists and maps of them always encode
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// normal is the definition with every default written out. It shares no memory with d.
func (d Definition) normal() Definition {
	if d.Log == "" {
		d.Log = d.Aggregate
	}
	fields := make(map[string]Field, len(d.Fields))
	for name, f := range d.Fields {
		fields[name] = f.normal()
	}
	events := make(map[string]Event, len(d.Events))
	for name, e := range d.Events {
		e.Fields, e.Required = sortedSet(e.Fields), sortedSet(e.Required)
		for _, f := range e.Fields {
			if _, declared := fields[f]; !declared {
				fields[f] = Field{}.normal()
			}
		}
		events[name] = e
	}
	d.Fields, d.Events = fields, events
	return d
}

func (f Field) normal() Field {
	if f.Type == "" {
		f.Type = String
	}
	f.Values = sortedSet(f.Values)
	return f
}

func sortedSet(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
