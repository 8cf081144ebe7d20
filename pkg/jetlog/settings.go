package jetlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/streams"
)

// configOf makes the configuration of a stream from its settings, by way of the JSON that the JetStream API defines.
func configOf(settings []streams.Setting) (config jetstream.StreamConfig, err error) {
	fields := map[string]any{"metadata": map[string]string{streams.TopologyKey: strconv.Itoa(streams.TopologyVersion)}}
	for _, s := range settings {
		if s.Value != nil {
			fields[s.Name] = s.Value
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return config, fmt.Errorf("encode stream settings: %w", err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return config, fmt.Errorf("decode stream settings: %w", err)
	}
	return config, nil
}

// nameIn is the name of the stream that the settings describe.
func nameIn(settings []streams.Setting) string {
	for _, s := range settings {
		if name, ok := s.Value.(string); ok && s.Name == "name" {
			return name
		}
	}
	return ""
}

// checkSettings compares a stream with the settings it must have; the error names each difference. A newer topology is told first, as its settings may differ rightly.
// What came later is left alone unless all is checked.
func checkSettings(config jetstream.StreamConfig, settings []streams.Setting, all bool) error {
	if err := checkTopology(config.Metadata[streams.TopologyKey]); err != nil {
		return err
	}
	return compare(config, settings, all)
}

// compare is checkSettings of a stream of any topology, or none.
func compare(config jetstream.StreamConfig, settings []streams.Setting, all bool) error {
	raw, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode stream settings: %w", err)
	}
	actual := map[string]any{}
	if err := json.Unmarshal(raw, &actual); err != nil {
		return fmt.Errorf("decode stream settings: %w", err)
	}
	var differences []error
	for _, s := range settings {
		if got, want := actual[s.Name], plainJSON(s.Value); !s.Free && (all || !s.Later) && !same(got, want) {
			differences = append(differences, fmt.Errorf("%s is %v, not %v (%s)", s.Name, shown(got), shown(want), s.Reason))
		}
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w: %w", ErrSettings, errors.Join(differences...))
	}
	return nil
}

func checkTopology(version string) error {
	n, err := strconv.Atoi(version)
	switch {
	case err != nil || n < 1:
		return fmt.Errorf("%w: %s is %q, not %d", ErrSettings, streams.TopologyKey, version, streams.TopologyVersion)
	case n > streams.TopologyVersion:
		return fmt.Errorf("topology %d, this program knows %d: %w", n, streams.TopologyVersion, ErrNewer)
	}
	return nil
}

// plainJSON is a value as it comes back from JSON.
func plainJSON(value any) any {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list
	}
	return value
}

// same takes an absent setting for its zero value, as the API leaves zero values out.
func same(got, want any) bool { return reflect.DeepEqual(got, want) || empty(got) && empty(want) }

func empty(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }

func shown(v any) any {
	switch v := v.(type) {
	case nil:
		return "not set"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return v
}
