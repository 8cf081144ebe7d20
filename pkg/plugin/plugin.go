// Package plugin is the contract that a plugin implements: changes come in batches, and one outcome for each goes back.
//
// A plugin carries what happened in EventfulDB into another system. It gives a Kind, which declares its options and opens a Plugin; the engine
// (package delivery) reads the logs, keeps the order, repeats what failed for a while, parks what cannot succeed, and remembers how far it came. A plugin
// has to do none of that. What it must do: be idempotent by aggregate and version, since a change may come again after a crash, and say the
// truth about each change. Package plugintest holds the suite that every plugin passes.
//
// Everything is text, as in the log. Values of encrypted fields are there only if the configuration says so, and never sealed; those of
// forgotten aggregates are absent. The memory of a batch belongs to the engine: a plugin reads it until Deliver returns, and copies what it keeps.
package plugin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// ErrNotAllowed: the host does not let plugins do what a configuration asks for.
var ErrNotAllowed = errors.New("this host does not let plugins run")

// Plugin is an open target. Deliver is called by several goroutines at a time; Test may be called beside it; Close is the last call, behind
// the return of all others.
type Plugin interface {
	// Deliver brings changes to the target and gives one outcome for each, in the order of the batch. It returns soon after ctx ends; what it did
	// not get to is Retry. The changes of one aggregate never are in two calls at the same time.
	Deliver(ctx context.Context, b Batch) []Outcome
	// Test shows that a change would really arrive: it brings a dummy one to the target and removes it again. The error says what is wrong, for a person, and holds no secret.
	Test(ctx context.Context) error
	// Close releases what the plugin holds. It need not bring anything to the target any more.
	Close() error
}

// Rebuilder is a Plugin that can be filled anew beside what readers of the target use (`plugin:replay --rebuild`). It is opened with a higher
// Settings.Generation, gets every change from the start of the logs, and is told when it has them; the generation before goes on meanwhile.
type Rebuilder interface {
	Plugin
	// Publish makes this generation the one that readers of the target use, with no gap, and removes older ones. It may be repeated.
	Publish(ctx context.Context) error
}

// Batch is what one call delivers: at least one change. Of one aggregate there is at most one, unless Kind.Ordered.
type Batch struct {
	// Partition is the number, from 0, of the partition that all changes belong to.
	Partition int
	// Changes are the plugin's until Deliver comes back, and not a moment longer: their memory is used again.
	Changes []Change
}

// Change is one event, and what goes with it.
type Change struct {
	// Position is where the event's commit lies in its log. Several events of a commit have the same one, and different versions.
	Position  event.Position
	Aggregate event.AggregateID
	// Version numbers the events of the aggregate: 1, 2, 3 … without gaps; 0 if it is Forgotten. A target that knows a higher one has this change, or a later one.
	Version   event.Version
	EventType string
	// Deletes: the event ends the aggregate. A later one may begin it anew.
	Deletes bool
	// Forgotten: somebody had the encrypted fields of the aggregate forgotten (data:forget). It is no event of the aggregate: Version is 0, there is no State, and
	// Fields unset every field of the type that is encrypted or ever was. A target takes out what it holds of these, whatever version it has, and keeps the rest.
	Forgotten bool
	// Fields are those that the event sets or unsets (Set is false), in ascending order of their names. Sealed is never true.
	Fields []event.Field
	// State is the folded state of the aggregate behind this event; nil unless the configuration asks for it (--state).
	State *State
	Meta  Meta
	// Leaf is the leaf hash of the event: the same at every site, for ever. Use it where a target wants an id.
	Leaf event.Hash
	// Again: this change was, or may have been, delivered before: after a failure, a crash, or in a replay.
	Again bool
	// Data is what a mapping made of the change for a plugin that hands it on (AppendData); nil: Fields and State are handed on.
	Data []byte
}

// Meta is what stands around an event. Empty texts: the command gave none.
type Meta struct {
	Site        string // where the event was written
	Actor       string // who, as the token named it
	Command     string // id of the command
	Correlation string
	Causation   string
	Traceparent string
	Time        event.Time  // writer time: when it was stored
	OccurredAt  *event.Time // when it happened, as the command said; nil: it did not say
	Schema      uint64      // version of the schema that the event was checked against
	Transaction event.Transaction
}

// State is the folded state of an aggregate: last writer wins for each field.
type State struct {
	// Deleted: the aggregate is ended. Fields are those it ended with.
	Deleted bool
	// Fields are set, and in ascending order of their names.
	Fields []event.Field
}

// Field gives the field of that name, or false: the event neither sets nor unsets it.
func (c *Change) Field(name string) (event.Field, bool) { return find(c.Fields, name) }

// Field gives the value of a field that is set.
func (s *State) Field(name string) (value string, set bool) {
	f, ok := find(s.Fields, name)
	return f.Value, ok && f.Set
}

func find(fields []event.Field, name string) (event.Field, bool) {
	i, ok := slices.BinarySearchFunc(fields, name, func(f event.Field, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return event.Field{}, false
	}
	return fields[i], true
}
