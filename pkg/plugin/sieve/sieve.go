// Package sieve gives plugins that hand whole events on a mapping, which says which events these are and what they hold.
//
// Kind puts the option --mapping on a kind. The kind itself gets changes that the mapping is about alone, with Change.Data, and has nothing else to do.
package sieve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Names of options.
const (
	optionMapping = "mapping"

	optionState = "state" // of every plugin
	optionTypes = "types" // so is this
)

// Kind gives a kind that hands whole events on the option --mapping. Without the option nothing is different. k is not changed.
func Kind(k *plugin.Kind) *plugin.Kind {
	kind := *k
	kind.Options = append(slices.Clone(k.Options), plugin.Option{Name: optionMapping, Form: plugin.File, Help: "file that says which events are handed on, and which fields they have then; without one, all of them as they are"})
	kind.Check = func(s plugin.Settings) (problems []error) {
		if k.Check != nil {
			problems = k.Check(s)
		}
		return append(problems, checkHandedOn(s)...)
	}
	kind.Show = func(s plugin.Settings) plugin.Values {
		if k.Show != nil {
			s.Options = k.Show(s)
		}
		if m, err := mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options)); err == nil {
			if whole, err := m.YAML(); err == nil {
				s.Options[optionMapping] = string(whole)
			}
		}
		return s.Options
	}
	kind.Open = func(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
		if s.Options[optionMapping] == "" {
			return k.Open(ctx, s)
		}
		m, err := mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))
		if err != nil {
			return nil, fmt.Errorf("read the mapping: %w", err)
		}
		inner, err := k.Open(ctx, s)
		if err != nil {
			return nil, err
		}
		return &sieve{inner, m}, nil
	}
	return &kind
}

func mappedTo(v plugin.Values) mapping.Target {
	return mapping.Target{HandedOn: true, Types: v.List(optionTypes)}
}

func checkHandedOn(s plugin.Settings) []error {
	text, given := s.Options[optionMapping]
	if !given {
		return nil
	}
	m, err := mapping.Compile([]byte(text), s.Schemas, mappedTo(s.Options))
	switch {
	case err != nil:
		return mapping.Check([]byte(text), s.Schemas, mappedTo(s.Options))
	case m.LooksAtState() && !s.Options.Bool(optionState):
		return []error{errors.New("mapping: it looks at the state: give --" + optionState + ", by which the state goes along with each change")}
	}
	return nil
}

// sieve is a plugin that hands on what its mapping is about.
type sieve struct {
	plugin.Plugin
	mapping *mapping.Mapping
}

var errBehind = errors.New("an earlier change of the aggregate was not done")

// Deliver hands the changes that the mapping is about to the plugin. Others are done; one that cannot be mapped is parked.
func (s *sieve) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	outcomes, stopped := make([]plugin.Outcome, len(b.Changes)), map[event.AggregateID]bool{}
	handed, places := make([]plugin.Change, 0, len(b.Changes)), make([]int, 0, len(b.Changes))
	for i := range b.Changes {
		c := b.Changes[i]
		if stopped[c.Aggregate] {
			outcomes[i] = plugin.Retry(errBehind)
			continue
		}
		data, about, err := s.mapping.Data(&c)
		switch {
		case err != nil:
			outcomes[i], stopped[c.Aggregate] = plugin.Park(fmt.Errorf("map the change: %w", err)), true
		case !about:
			outcomes[i] = plugin.Done()
		default:
			c.Data = data
			handed, places = append(handed, c), append(places, i)
		}
	}
	if len(handed) == 0 {
		return outcomes
	}
	got := s.Plugin.Deliver(ctx, plugin.Batch{Partition: b.Partition, Changes: handed})
	if len(got) != len(handed) {
		return nil // a fault of the plugin, which the engine names
	}
	for n, o := range got {
		outcomes[places[n]] = o
	}
	return outcomes
}
