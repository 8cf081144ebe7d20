package plugin

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/schema"
)

// Kind is a sort of plugin, as `plugin:config --type` names it.
type Kind struct {
	// Name is the type: a-z, 0-9 and hyphens, at most 20.
	Name string
	// Summary says in one line what it does.
	Summary string
	// Options are all that it knows; any other one is refused. Names of the options that every plugin has (package delivery) are taken.
	Options []Option
	// Check looks at what no single option can say, without I/O: options against each other, and names of types and fields against the schemas. It gives
	// everything that is wrong, one error each. It is called whatever single options hold, so it passes over what these are refused for. nil: nothing to look at.
	Check func(Settings) []error
	// Open makes a plugin ready. It may do I/O, and fails if the target cannot be used; it is tried again then.
	Open func(context.Context, Settings) (Plugin, error)
	// Ordered: a batch may hold several changes of one aggregate, in order; the plugin applies none that stands behind one of the same aggregate which is not
	// done, and gives Retry for it.
	Ordered bool
	// Rebuilds: what Open gives is a Rebuilder.
	Rebuilds bool
	// Show gives options as a person wants to see them, a mapping with everything written out for example; nil: as they were given. Secret ones are masked before.
	Show func(Settings) Values
	// State: the plugin cannot work without the folded state, so every change has it.
	State bool
}

// Settings are what a plugin is opened with.
type Settings struct {
	// Name of the configuration; several of one kind differ by it.
	Name string
	// Site is this installation.
	Site string
	// Options are checked, and complete: what was not given has its default, or is absent if it has none.
	Options Values
	// Schemas are those of all aggregate types now, in ascending order of their names. Those of older events may differ.
	Schemas []*schema.Schema
	// Generation counts how often the target was filled anew, from 0 (Rebuilder).
	Generation uint64
	// Begun: changes went to this target before, and are not all about to come again. What is to keep them and is not there is a loss to be told, not made anew without a word.
	Begun bool
	// Trial: the plugin is opened for Test alone, beside others that deliver, or before anybody does. What readers of the target see stays as it is, and what Test makes for itself goes again.
	Trial bool
	// Log is for facts an operator wants to see, without values of fields; `plugin:logs` shows them. The zero value is silent.
	Log zerolog.Logger
}

// Schema gives the schema of an aggregate type, or nil.
func (s *Settings) Schema(aggregateType string) *schema.Schema {
	for _, one := range s.Schemas {
		if one.Aggregate == aggregateType {
			return one
		}
	}
	return nil
}

// Examine holds given values against the kind's options, and those of more, and gives them complete with defaults. The error joins everything that is wrong.
// s.Options is what was given; it is not changed.
func (k *Kind) Examine(s Settings, more ...Option) (Values, error) {
	values, problems := examine(append(more[:len(more):len(more)], k.Options...), s.Options)
	if k.Check != nil {
		s.Options = values
		problems = append(problems, k.Check(s)...)
	}
	return values, errors.Join(problems...)
}
