package mapping

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// metaTypes are the names behind `meta.`, with their types.
var metaTypes = map[string]Type{
	"type": Keyword, "id": Keyword, "version": Integer, "event": Keyword, "site": Keyword, "log": Keyword, "position": Keyword, "leaf": Keyword,
	"actor": Keyword, "command": Keyword, "correlation": Keyword, "causation": Keyword, "traceparent": Keyword, "transaction": Keyword,
	"time": Date, "occurred_at": Date, "schema": Integer,
}

// MetaNames are the names that may stand behind `meta.`, in ascending order.
func MetaNames() []string { return slices.Sorted(maps.Keys(metaTypes)) }

// Meta gives what stands around an event, as text: times in RFC 3339, UTC. ok is false if there is nothing by that name.
func Meta(name string, c *plugin.Change) (text string, ok bool) {
	switch name {
	case "type":
		text = c.Aggregate.Type
	case "id":
		text = c.Aggregate.ID
	case "version":
		text = strconv.FormatUint(uint64(c.Version), 10)
	case "event":
		text = c.EventType
	case "log":
		text = c.Position.Log
	case "position":
		text = c.Position.String()
	case "leaf":
		text = c.Leaf.String()
	case "time":
		text = instant(c.Meta.Time)
	case "occurred_at":
		if c.Meta.OccurredAt != nil {
			text = instant(*c.Meta.OccurredAt)
		}
	case "schema":
		text = strconv.FormatUint(c.Meta.Schema, 10)
	default:
		text = context(name, &c.Meta)
	}
	return text, text != ""
}

func context(name string, m *plugin.Meta) string {
	switch name {
	case "site":
		return m.Site
	case "actor":
		return m.Actor
	case "command":
		return m.Command
	case "correlation":
		return m.Correlation
	case "causation":
		return m.Causation
	case "traceparent":
		return m.Traceparent
	case "transaction":
		return m.Transaction.ID.String()
	}
	return ""
}

func instant(t event.Time) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }
