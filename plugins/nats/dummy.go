package nats

import (
	"crypto/rand"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Dummy change: no aggregate type of anybody has this name.
const (
	dummyType  = "eventful-test"
	dummyEvent = "plugin-tested"
)

// dummy is a change that happened to nobody. Its leaf is random, so that each has an id of its own.
func dummy() plugin.Change {
	c := plugin.Change{Aggregate: event.AggregateID{Type: dummyType, ID: "dummy"}, Version: 1, EventType: dummyEvent, Position: event.Position{Log: event.Reserved, Sequence: 1}}
	_, _ = rand.Read(c.Leaf[:]) // never fails (crypto/rand)
	c.Meta = plugin.Meta{Site: "test", Actor: "plugin:test", Command: "plugin:test", Time: event.Time(time.Now().UnixNano())}
	return c
}
