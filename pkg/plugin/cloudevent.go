package plugin

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// AppendCloudEvent appends the change as one CloudEvent 1.0 in the JSON format, on one line without a line break: what process and webhook plugins send, and what the
// nats plugin publishes. docs/spec/plugins.md says what each attribute holds.
func AppendCloudEvent(b []byte, c *Change) []byte {
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(c.Leaf.AppendTo(b), '"')
	b = appendText(b, "source", "/eventful/", c.Meta.Site, "/", c.Position.Log)
	b = appendText(b, "type", c.Aggregate.Type, ".", c.EventType)
	b = appendText(b, "subject", c.Aggregate.Type, "/", c.Aggregate.ID)
	b = appendTime(b, "time", happened(c))
	b = appendText(b, "datacontenttype", "application/json")
	b = appendExtensions(b, c)
	b = append(b, `,"data":`...)
	return append(AppendData(b, c), '}')
}

// appendExtensions appends what Extensions gives, without making it: every event of a feed passes here.
func appendExtensions(b []byte, c *Change) []byte {
	b = appendText(b, "aggregatetype", c.Aggregate.Type)
	b = appendText(b, "aggregateid", c.Aggregate.ID)
	b = append(strconv.AppendUint(append(b, `,"aggregateversion":"`...), uint64(c.Version), 10), '"')
	b = appendText(b, "eventtype", c.EventType)
	b = append(c.Position.AppendTo(append(b, `,"position":"`...)), '"')
	b = appendTime(b, "recordedtime", c.Meta.Time)
	b = appendText(b, "actor", c.Meta.Actor)
	b = appendText(b, "commandid", c.Meta.Command)
	b = append(strconv.AppendUint(append(b, `,"schemaversion":"`...), c.Meta.Schema, 10), '"')
	for _, x := range [...]Extension{{"correlationid", c.Meta.Correlation}, {"causationid", c.Meta.Causation}, {"traceparent", c.Meta.Traceparent}} {
		if x.Value != "" {
			b = appendText(b, x.Name, x.Value)
		}
	}
	for _, x := range [...]struct {
		is   bool
		text string
	}{{c.Deletes, `,"deletes":true`}, {c.Forgotten, `,"forgotten":true`}, {c.Again, `,"again":true`}} {
		if x.is {
			b = append(b, x.text...)
		}
	}
	return b
}

// Source is the CloudEvents source of a change: `/eventful/<site>/<log>`.
func Source(c *Change) string { return "/eventful/" + c.Meta.Site + "/" + c.Position.Log }

// CloudEventTime is when the event happened, or was stored if nobody said, in RFC 3339 with UTC.
func CloudEventTime(c *Change) string { return rfc3339(happened(c)) }

func happened(c *Change) event.Time {
	if c.Meta.OccurredAt != nil {
		return *c.Meta.OccurredAt
	}
	return c.Meta.Time
}

func rfc3339(t event.Time) string { return string(appendRFC3339(nil, t)) }

func appendRFC3339(b []byte, t event.Time) []byte {
	return time.Unix(0, int64(t)).UTC().AppendFormat(b, time.RFC3339Nano)
}

func appendTime(b []byte, name string, t event.Time) []byte {
	b = append(append(append(b, ',', '"'), name...), `":"`...)
	return append(appendRFC3339(b, t), '"')
}

// Extension is an extension attribute of a CloudEvent.
type Extension struct{ Name, Value string }

// Extensions are the extension attributes of a change. Those with nothing to say are left out.
func Extensions(c *Change) []Extension {
	all := []Extension{
		{"aggregatetype", c.Aggregate.Type}, {"aggregateid", c.Aggregate.ID}, {"aggregateversion", strconv.FormatUint(uint64(c.Version), 10)},
		{"eventtype", c.EventType}, {"position", c.Position.String()}, {"recordedtime", rfc3339(c.Meta.Time)},
		{"actor", c.Meta.Actor}, {"commandid", c.Meta.Command}, {"schemaversion", strconv.FormatUint(c.Meta.Schema, 10)},
	}
	for _, x := range []Extension{{"correlationid", c.Meta.Correlation}, {"causationid", c.Meta.Causation}, {"traceparent", c.Meta.Traceparent}} {
		if x.Value != "" {
			all = append(all, x)
		}
	}
	if c.Deletes {
		all = append(all, Extension{"deletes", "true"})
	}
	if c.Forgotten {
		all = append(all, Extension{"forgotten", "true"})
	}
	if c.Again {
		all = append(all, Extension{"again", "true"})
	}
	return all
}

// AppendData appends what the CloudEvent carries: `{"fields":{…},"state":{…}}`. A field that is unset is null; there is no state if none was asked for, and null
// for a deleted aggregate. With a mapping it is Change.Data.
func AppendData(b []byte, c *Change) []byte {
	if c.Data != nil {
		return append(b, c.Data...)
	}
	b = appendFields(append(b, `{"fields":`...), c.Fields)
	switch {
	case c.State == nil:
	case c.State.Deleted:
		b = append(b, `,"state":null`...)
	default:
		b = appendFields(append(b, `,"state":`...), c.State.Fields)
	}
	return append(b, '}')
}

func appendFields(b []byte, fields []event.Field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, f.Name), ':')
		if !f.Set {
			b = append(b, "null"...)
			continue
		}
		b = appendJSON(b, f.Value)
	}
	return append(b, '}')
}

// appendText appends an attribute whose value is the parts, one behind the other.
func appendText(b []byte, name string, parts ...string) []byte {
	b = append(append(append(b, ',', '"'), name...), `":"`...)
	for _, part := range parts {
		b = appendContent(b, part)
	}
	return append(b, '"')
}

// appendJSON appends s as a JSON string.
func appendJSON(b []byte, s string) []byte { return append(appendContent(append(b, '"'), s), '"') }

// appendContent appends what stands between the quotes of s as a JSON string.
func appendContent(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // of a string: it cannot fail
			return append(b, quoted[1:len(quoted)-1]...)
		}
	}
	return append(b, s...)
}
