// Package registry is what plugins a site has, as the events of its system log say: configuration, state, and what operators asked for.
//
// The writer keeps it to decide acts, and every plugin-runner follows the system log to learn of them; both apply the same events by the same rules, so they
// agree. The authority is docs/spec/plugins.md. The package is pure. A Plugin is not changed once it was given; Apply makes another one.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Event types of eventful-plugin/<name>.
const (
	Configured = "plugin-configured"
	Enabled    = "plugin-enabled"
	Disabled   = "plugin-disabled"
	Removed    = "plugin-removed"
	Replayed   = "plugin-replayed"
	Retried    = "plugin-retried"
	Purged     = "plugin-purged"
	Tested     = "plugin-tested" // changes nothing
)

// MaxPartitions is the highest number of partitions.
const MaxPartitions = 256

// maxReplays is how many replays are told apart. Of more than these the oldest stand as one of everything: what comes again too often does no harm.
const maxReplays = 256

// Plugin is one configured plugin.
type Plugin struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Options map[string]string `json:"options"`           // those that are not secret
	Secrets []byte            `json:"secrets,omitempty"` // the others, sealed by whoever configured
	Enabled bool              `json:"enabled"`
	Removed bool              `json:"removed,omitempty"`
	// Change counts the events that ask for the plugin to be opened anew.
	Change  uint64   `json:"change"`
	Layouts []Layout `json:"layouts"`
	// Replay is the newest one that was asked for; Number 0: none ever was.
	Replay Replay `json:"replay"`
	// Replays are those that were asked for, the newest last. What whoever reads the whole system log knows: nobody else needs them.
	Replays []Replay `json:"-"`
	Retry   Retry    `json:"retry"`
	// Purges counts the purges of parked changes.
	Purges uint64 `json:"purges,omitempty"`
}

// Layout is a way of dividing the aggregates; its number is its index.
type Layout struct {
	Partitions int `json:"partitions"`
	// Fresh: it begins at the start of every log, and not where the one before stood.
	Fresh bool `json:"fresh,omitempty"`
	// Generation counts how often the target was asked to be filled anew.
	Generation uint64 `json:"generation,omitempty"`
}

// Replay says what is delivered again.
type Replay struct {
	Number uint64 `json:"number"`
	// Scope is `type/id` or `type`; empty: everything.
	Scope string `json:"scope,omitempty"`
	// Log and Sequence: from there on, in that log alone.
	Log      string `json:"log,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	// Time: what was stored from then on; 0: from the start.
	Time event.Time `json:"time,omitempty"`
	// Rebuild: the target is filled anew, beside what its readers use. It goes alone, and is kept as a layout of the next generation.
	Rebuild bool `json:"-"`
}

// Retry says which parked changes are tried again.
type Retry struct {
	Number uint64 `json:"number"`
	// Only is the number of one parked change; 0: all.
	Only uint64 `json:"only,omitempty"`
}

// Layout is the present one, and its number.
func (p *Plugin) Layout() (number int, l Layout) {
	n := len(p.Layouts) - 1
	if n < 0 {
		return 0, Layout{Partitions: 1, Fresh: true}
	}
	return n, p.Layouts[n]
}

// LayoutOf is the newest layout of a generation, and its number; false: there is none.
func (p *Plugin) LayoutOf(generation uint64) (number int, l Layout, ok bool) {
	for n, one := range slices.Backward(p.Layouts) {
		if one.Generation == generation {
			return n, one, true
		}
	}
	return 0, Layout{}, false
}

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,29}$`)

// CheckName says why a name is none of a plugin.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%.60q is no name of a plugin: a-z, 0-9 and hyphens, beginning with a letter, at most 30", name)
	}
	return nil
}

// Apply gives the plugin behind an event; old is nil before the first. An event of a type that this program does not know changes nothing.
func Apply(old *Plugin, name, eventType string, fields map[string]string) (*Plugin, error) {
	if old == nil {
		old = &Plugin{Name: name}
	}
	p := *old
	p.Layouts = slices.Clone(old.Layouts)
	var err error
	switch eventType {
	case Configured:
		err = p.configure(fields)
	case Enabled, Disabled:
		p.Enabled = eventType == Enabled
		p.Change++
	case Removed:
		p.Removed, p.Enabled, p.Options, p.Secrets = true, false, nil, nil
		p.Change++
	case Replayed:
		err = p.replay(fields)
	case Retried:
		only, bad := number(fields["number"])
		p.Retry, err = Retry{Number: old.Retry.Number + 1, Only: only}, bad
	case Purged:
		p.Purges++
	}
	if err != nil {
		return nil, fmt.Errorf("%s of plugin %s: %w", eventType, name, err)
	}
	return &p, nil
}

func (p *Plugin) configure(fields map[string]string) error {
	partitions, err := strconv.Atoi(fields["partitions"])
	if err != nil || partitions < 1 || partitions > MaxPartitions {
		return fmt.Errorf("partitions %.40q are not 1 to %d", fields["partitions"], MaxPartitions)
	}
	options := map[string]string{}
	if err := json.Unmarshal([]byte(fields["options"]), &options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	fresh := p.Removed || len(p.Layouts) == 0
	if _, now := p.Layout(); fresh || now.Partitions != partitions {
		p.Layouts = append(p.Layouts, Layout{Partitions: partitions, Fresh: fresh, Generation: now.Generation})
	}
	if p.Removed {
		p.Enabled = false
	}
	p.Kind, p.Options, p.Secrets, p.Removed = fields["kind"], maps.Clone(options), []byte(fields["secrets"]), false
	p.Change++
	return nil
}

func (p *Plugin) replay(fields map[string]string) error {
	r, err := replayOf(fields)
	if r.Rebuild {
		_, now := p.Layout()
		p.Layouts = append(p.Layouts, Layout{Partitions: now.Partitions, Fresh: true, Generation: now.Generation + 1})
		p.Change++
		return err
	}
	r.Number = p.Replay.Number + 1
	p.Replay = r
	p.Replays = append(slices.Clone(p.Replays), r)
	if len(p.Replays) > maxReplays {
		p.Replays = p.Replays[1:]
		p.Replays[0] = Replay{Number: p.Replays[0].Number}
	}
	return err
}

// ReplaysBehind gives the replays that were asked for behind the one with a number, in their order.
func (p *Plugin) ReplaysBehind(number uint64) []Replay {
	first := slices.IndexFunc(p.Replays, func(r Replay) bool { return r.Number > number })
	if first < 0 {
		return nil
	}
	return p.Replays[first:]
}

func replayOf(fields map[string]string) (r Replay, err error) {
	r.Scope, r.Rebuild = fields["scope"], fields["rebuild"] == "true"
	if r.Log = fields["log"]; r.Log != "" {
		if r.Sequence, err = number(fields["sequence"]); err != nil {
			return r, err
		}
		return r, event.CheckLog(r.Log)
	}
	if fields["time"] != "" {
		n, err := strconv.ParseInt(fields["time"], 10, 64)
		if err != nil {
			return r, fmt.Errorf("time: %w", err)
		}
		r.Time = event.Time(n)
	}
	return r, nil
}

func number(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// Fields are those of the event that asks for a replay.
func (r Replay) Fields() map[string]string {
	f := map[string]string{"scope": r.Scope, "log": r.Log}
	if r.Log != "" {
		f["sequence"] = strconv.FormatUint(r.Sequence, 10)
	}
	if r.Time != 0 {
		f["time"] = strconv.FormatInt(int64(r.Time), 10)
	}
	if r.Rebuild {
		f["rebuild"] = "true"
	}
	return f
}

// Covers reports whether the scope of a replay takes in an aggregate.
func (r Replay) Covers(a event.AggregateID) bool {
	aggregateType, id, one := strings.Cut(r.Scope, "/")
	return r.Scope == "" || aggregateType == a.Type && (!one || id == a.ID)
}

// Asks reports whether a replay is about what was stored at a time, at a sequence of a log.
func (r Replay) Asks(a event.AggregateID, log string, sequence uint64, at event.Time) bool {
	if r.Log != "" {
		return r.Log == log && sequence >= r.Sequence
	}
	return r.Covers(a) && (r.Time == 0 || at >= r.Time)
}

// Check says why nothing can be replayed like this.
func (r Replay) Check() error {
	aggregateType, id, one := strings.Cut(r.Scope, "/")
	switch {
	case r.Rebuild && (r.Scope != "" || r.Log != "" || r.Time != 0):
		return errors.New("a rebuild is of everything: neither a type, nor a sequence, nor a time goes with it")
	case r.Log != "" && (r.Time != 0 || r.Scope != ""):
		return errors.New("a sequence of a log goes alone: neither with a time nor with a type")
	case r.Log != "" && r.Sequence == 0:
		return errors.New("sequences begin with 1")
	case r.Log != "":
		return event.CheckLog(r.Log)
	case r.Scope == "":
		return nil
	case one:
		return event.AggregateID{Type: aggregateType, ID: id}.Check()
	}
	return event.CheckType(aggregateType)
}

// Partition is the partition of an aggregate under a layout of n: FNV-1a (64 bits) of `type/id`, modulo n. Checkpoints rest on it: it never changes.
func Partition(a event.AggregateID, n int) int {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, part := range [...]string{a.Type, "/", a.ID} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * prime
		}
	}
	return int(h % uint64(max(n, 1)))
}
