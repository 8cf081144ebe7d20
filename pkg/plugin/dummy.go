package plugin

import (
	"crypto/rand"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// DummyType is the aggregate type of Dummy: no type of anybody has this name.
const DummyType = "eventful-test"

// Dummy is a change that happened to nobody, for targets that get it in Test and cannot give it back. Its leaf is random, so that each has an id of its own.
func Dummy() Change {
	c := Change{Aggregate: event.AggregateID{Type: DummyType, ID: "dummy"}, Version: 1, EventType: "plugin-tested", Position: event.Position{Log: event.Reserved, Sequence: 1}}
	_, _ = rand.Read(c.Leaf[:]) // never fails (crypto/rand)
	c.Meta = Meta{Site: "test", Actor: "plugin:test", Command: "plugin:test", Time: event.Time(time.Now().UnixNano())}
	return c
}
