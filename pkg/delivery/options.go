package delivery

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// Names of the options that every plugin has.
const (
	OptionPartitions  = "partitions"
	OptionOnError     = "on-error"
	OptionTypes       = "types"
	OptionState       = "state"
	OptionPII         = "pii"
	OptionBatch       = "batch"
	OptionConcurrency = "concurrency"
	OptionRate        = "rate"
	OptionTimeout     = "call-timeout"
	OptionBackoff     = "max-backoff"
)

// Common are the options that every plugin has, whatever its kind.
func Common() []plugin.Option {
	return []plugin.Option{
		{Name: OptionPartitions, Help: "parts that the aggregates are divided into; each is worked on by one process at a time", Form: plugin.Integer, Default: "1", Min: 1, Max: registry.MaxPartitions},
		{Name: OptionOnError, Help: "what the later changes of an aggregate do when one is parked: park (they pass) or block (they are parked behind it)", Form: plugin.Choice, Default: "park", Values: []string{"park", "block"}},
		{Name: OptionTypes, Help: "aggregate types, separated by commas; all if not given", Form: plugin.List},
		{Name: OptionState, Help: "hand over the folded state with each change", Form: plugin.Boolean, Default: "false"},
		{Name: OptionPII, Help: "hand over the plain text of encrypted fields; else they are left out", Form: plugin.Boolean, Default: "false"},
		{Name: OptionBatch, Help: "changes delivered in one call at most", Form: plugin.Integer, Default: "500", Min: 1, Max: 10000},
		{Name: OptionConcurrency, Help: "calls under way at a time in each partition", Form: plugin.Integer, Default: "4", Min: 1, Max: 64},
		{Name: OptionRate, Help: "changes a second at most, over all partitions; 0: as fast as the target takes them", Form: plugin.Integer, Default: "0", Min: 0, Max: 10_000_000},
		{Name: OptionTimeout, Help: "how long one call may take", Form: plugin.Duration, Default: "30s", Min: 10, Max: 3_600_000},
		{Name: OptionBackoff, Help: "the longest pause before what failed is tried again", Form: plugin.Duration, Default: "10s", Min: 10, Max: 3_600_000},
	}
}

// behaviour is how the engine treats a plugin.
type behaviour struct {
	partitions  int
	generation  uint64 // of the target
	begun       bool   // changes went there before
	block       bool
	types       []string
	state, pii  bool
	batch       int
	concurrency int
	rate        float64 // changes a second in each partition; 0: no limit
	timeout     time.Duration
	backoff     time.Duration
}

// takes reports whether the plugin gets aggregates of a type.
func (b *behaviour) takes(aggregateType string) bool {
	return len(b.types) == 0 || slices.Contains(b.types, aggregateType)
}

func behaviourOf(k *plugin.Kind, v plugin.Values) behaviour {
	n := max(v.Int(OptionPartitions), 1)
	return behaviour{
		partitions: n, block: v[OptionOnError] == "block", types: v.List(OptionTypes), state: v.Bool(OptionState) || k.State, pii: v.Bool(OptionPII),
		batch: v.Int(OptionBatch), concurrency: v.Int(OptionConcurrency), rate: float64(v.Int(OptionRate)) / float64(n),
		timeout: v.Duration(OptionTimeout), backoff: v.Duration(OptionBackoff),
	}
}

// CheckCommon says what of the common options the schemas contradict.
func CheckCommon(s plugin.Settings) (problems []error) {
	for _, t := range s.Options.List(OptionTypes) {
		if s.Schema(t) == nil || event.IsReserved(t) {
			problems = append(problems, fmt.Errorf("--%s: there is no aggregate type %.60q", OptionTypes, t))
		}
	}
	return problems
}

// Secrets seals the values of secret options, and parked changes.
type Secrets struct{ Options, Parked [32]byte }

// Split divides options into those that may be shown and the others, sealed for the plugin of that name; nil if there are none.
func (s Secrets) Split(k *plugin.Kind, name string, values plugin.Values) (open map[string]string, sealed []byte, err error) {
	open, secret := map[string]string{}, map[string]string{}
	for option, value := range values {
		if slices.ContainsFunc(k.Options, func(o plugin.Option) bool { return o.Name == option && o.Secret }) {
			secret[option] = value
			continue
		}
		open[option] = value
	}
	if len(secret) == 0 {
		return open, nil, nil
	}
	plain, err := json.Marshal(secret)
	if err != nil {
		return nil, nil, fmt.Errorf("encode secret options: %w", err)
	}
	return open, encode64(keyring.Seal(s.Options, "plugin options\x00"+name, plain)), nil
}

// Join is the inverse of Split.
func (s Secrets) Join(p *registry.Plugin) (plugin.Values, error) {
	values := plugin.Values{}
	for option, value := range p.Options {
		values[option] = value
	}
	if len(p.Secrets) == 0 {
		return values, nil
	}
	sealed, err := decode64(p.Secrets)
	if err != nil {
		return nil, fmt.Errorf("secret options of %s: %w", p.Name, err)
	}
	plain, err := keyring.Unseal(s.Options, "plugin options\x00"+p.Name, sealed)
	if err != nil {
		return nil, fmt.Errorf("secret options of %s: %w", p.Name, err)
	}
	if err := json.Unmarshal(plain, (*map[string]string)(&values)); err != nil {
		return nil, fmt.Errorf("secret options of %s: %w", p.Name, err)
	}
	return values, nil
}
