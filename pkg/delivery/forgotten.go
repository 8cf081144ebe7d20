package delivery

import (
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// forget takes up that the log says of a key that it is destroyed. The key itself may be there for a moment more, so its
// commitment is remembered: what is prepared from now on is not opened with it.
func (f *feed) forget(c *event.Commit) {
	a, commitment := forgottenOf(c)
	f.w.e.forgotten.add(commitment)
	if f.w.e.cfg.Keys != nil {
		f.w.e.cfg.Keys.Drop(a)
	}
}

// forgottenOf is the aggregate of which a commit of eventful-forgotten says that its encrypted fields are forgotten, and the commitment of their key.
func forgottenOf(c *event.Commit) (a event.AggregateID, commitment event.Hash) {
	fields, err := event.DecodePayload(c.Events[len(c.Events)-1].Payload) // a commit has an event
	if err != nil {
		return event.AggregateID{Type: event.Reserved}, commitment // it cannot be in a decoded commit
	}
	for _, f := range fields {
		switch f.Name {
		case "type":
			a.Type = f.Value
		case "id":
			a.ID = f.Value
		case "commitment":
			commitment, _ = event.ParseHash(f.Value) // the writer reads it too, before it stores it
		}
	}
	return a, commitment
}

// forgottenItem tells a target that the encrypted fields of an aggregate are forgotten.
func forgottenItem(seen *seen, c *event.Commit, at event.Position) *item {
	a, _ := forgottenOf(c)
	i := &item{size: 512, change: plugin.Change{Position: at, Aggregate: a, EventType: schema.SystemForgotten, Forgotten: true, Meta: metaOf(c), Leaf: c.Leaf(len(c.Events) - 1)}}
	for _, name := range seen.sealed[a.Type] {
		i.change.Fields = append(i.change.Fields, event.Field{Name: name})
	}
	return i
}

func metaOf(c *event.Commit) plugin.Meta {
	return plugin.Meta{Site: c.Site, Actor: c.Actor, Command: c.CommandID, Correlation: c.Correlation, Causation: c.Causation, Traceparent: c.Traceparent, Time: c.Time, Transaction: c.Transaction}
}

// maxForgotten is the number of commitments that are remembered. A key is erased moments after its record, so the newest suffice.
const maxForgotten = 65536

// commitments are the newest ones of keys that are forgotten. The zero value is ready.
type commitments struct {
	mu           sync.Mutex // guards what follows
	newer, older map[event.Hash]bool
}

func (c *commitments) add(h event.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newer == nil || len(c.newer) >= maxForgotten/2 {
		c.older, c.newer = c.newer, map[event.Hash]bool{}
	}
	c.newer[h] = true
}

func (c *commitments) has(h event.Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newer[h] || c.older[h]
}
