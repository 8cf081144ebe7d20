package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Desk is where operators look after plugins: it checks configurations, and says from what is stored how plugins stand. It delivers nothing, and is safe for
// concurrent use. All fields are required.
type Desk struct {
	Site        string
	Store       eventlog.Store
	Kinds       []*plugin.Kind
	Secrets     Secrets
	Make        func(context.Context) error // makes the bucket of checkpoints and the stream of parked changes
	Checkpoints func(context.Context) (Bucket, error)
	Dead        func(context.Context) (Dead, error)
	Now         func() time.Time
}

// Examine checks a configuration whole. before is the one that it takes the place of, or nil: a secret option that is given as it is shown keeps its value. The error
// joins everything that is wrong.
func (d *Desk) Examine(p registry.Plugin, given plugin.Values, before *registry.Plugin, schemas []*schema.Schema) (registry.Plugin, int, error) {
	var problems []error
	if err := registry.CheckName(p.Name); err != nil {
		problems = append(problems, err)
	}
	kind := d.kind(p.Kind)
	if kind == nil {
		return p, 0, errors.Join(append(problems, fmt.Errorf("there is no plugin type %.40q; there are %s", p.Kind, d.names()))...)
	}
	kept, err := d.keep(p, kind, given, before)
	if err != nil {
		return p, 0, err
	}
	problems = append(problems, kept...)
	s := plugin.Settings{Name: p.Name, Site: d.Site, Options: given, Schemas: schemas}
	values, err := kind.Examine(s, Common()...)
	if err != nil {
		problems = append(problems, err)
	}
	s.Options = values
	if problems = append(problems, CheckCommon(s)...); len(problems) > 0 {
		return p, 0, errors.Join(problems...)
	}
	p.Options, p.Secrets, err = d.Secrets.Split(kind, p.Name, values)
	return p, values.Int(OptionPartitions), err
}

// keep gives secret options that are given as they are shown the values of before, and says of which that may not be: what is kept is sent nowhere else than it was.
func (d *Desk) keep(p registry.Plugin, kind *plugin.Kind, given plugin.Values, before *registry.Plugin) (problems []error, err error) {
	if before == nil {
		return nil, nil
	}
	former, err := d.Secrets.Join(before)
	if err != nil {
		return nil, err
	}
	elsewhere := before.Kind != p.Kind || slices.ContainsFunc(kind.Options, func(o plugin.Option) bool { return o.Address && given[o.Name] != former[o.Name] })
	for _, option := range slices.Sorted(maps.Keys(given)) {
		old, there := former[option]
		if given[option] != plugin.Masked || !there || !secret(kind, option) {
			continue
		}
		if given[option] = old; elsewhere {
			problems = append(problems, fmt.Errorf("--%s: give it anew: the one that is kept is for the type and the address of before alone", option))
		}
	}
	return problems, nil
}

func secret(k *plugin.Kind, option string) bool {
	return slices.ContainsFunc(k.Options, func(o plugin.Option) bool { return o.Name == option && o.Secret })
}

func (d *Desk) kind(name string) *plugin.Kind {
	for _, k := range d.Kinds {
		if k.Name == name {
			return k
		}
	}
	return nil
}

func (d *Desk) names() string {
	var all []string
	for _, k := range d.Kinds {
		all = append(all, k.Name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Shown gives the options as they may be shown: secret ones masked, others as their plugin type words them.
func (d *Desk) Shown(p *registry.Plugin, schemas []*schema.Schema) (map[string]string, error) {
	values, err := d.Secrets.Join(p)
	if err != nil {
		return nil, err
	}
	for option := range values {
		if _, open := p.Options[option]; !open {
			values[option] = plugin.Masked
		}
	}
	if k := d.kind(p.Kind); k != nil && k.Show != nil {
		values = k.Show(plugin.Settings{Name: p.Name, Site: d.Site, Options: values, Schemas: schemas})
	}
	return values, nil
}

// Standing is how a plugin stands.
type Standing struct {
	State      string           `json:"state"`                // disabled, starting, rebuilding, delivering, retrying or stopped
	Generation uint64           `json:"generation,omitempty"` // how often the target was to be filled anew; positions and lag are of that
	Rebuilding bool             `json:"rebuilding,omitempty"` // and readers use the one before
	Positions  []string         `json:"positions"`
	LagEvents  uint64           `json:"lag-events"`  // of its logs, not looked at yet
	LagSeconds float64          `json:"lag-seconds"` // since the oldest of these was stored
	Parked     uint64           `json:"parked"`
	Error      string           `json:"error,omitempty"` // the last one of the partition that is worst off: what keeps one from delivering goes before what was parked
	Partitions []PartitionState `json:"partitions"`
}

// PartitionState is how one partition stands.
type PartitionState struct {
	Partition int       `json:"partition"`
	State     string    `json:"state"`
	Owner     string    `json:"owner,omitempty"`
	Epoch     uint64    `json:"epoch"`
	Saved     time.Time `json:"saved,omitzero"`
	Error     string    `json:"error,omitempty"`

	LagEvents  uint64  `json:"lag-events"` // as those of the plugin
	LagSeconds float64 `json:"lag-seconds"`

	logs map[string]Mark
}

// Standing says how a plugin stands, by what its runners stored last, which they do each second at most. logs are the logs of its types.
func (d *Desk) Standing(ctx context.Context, p *registry.Plugin, logs []string) (Standing, error) {
	s := Standing{State: stateDisabled, Positions: []string{}, Partitions: []PartitionState{}}
	bucket, err := d.Checkpoints(ctx)
	if err != nil {
		return s, err
	}
	slowestOf, err := d.readPartitions(ctx, bucket, p, &s)
	if err != nil {
		return s, err
	}
	if err := d.generation(ctx, bucket, p, &s); err != nil {
		return s, err
	}
	if err := d.lag(ctx, logs, slowestOf, &s); err != nil {
		return s, err
	}
	s.Parked, err = d.Parked(ctx, p.Name, 1, nil)
	return s, err
}

// Open gives the partitions on which somebody may still be at work, by what is stored.
func (d *Desk) Open(ctx context.Context, p *registry.Plugin) (open []int, err error) {
	bucket, err := d.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	for number, layout := range slices.Backward(p.Layouts) { // who works under an earlier one may not have come to its end
		more, err := d.openOf(ctx, bucket, p, number, layout)
		if err != nil {
			return nil, err
		}
		open = append(open, more...)
	}
	slices.Sort(open)
	return slices.Compact(open), nil
}

// openOf gives those of one layout.
func (d *Desk) openOf(ctx context.Context, bucket Bucket, p *registry.Plugin, number int, layout registry.Layout) (open []int, err error) {
	for i := range layout.Partitions {
		key := CheckpointKey(p.Name, number, i)
		value, revision, err := bucket.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if revision == 0 {
			continue
		}
		c, err := DecodeCheckpoint(d.Secrets, key, value)
		if errors.Is(err, errUnreadable) {
			continue // nobody can work under it
		}
		if err != nil {
			return nil, err
		}
		if !c.Closed && c.State != stateStopped {
			open = append(open, i)
		}
	}
	return open, nil
}

// generation says which one is delivered to.
func (d *Desk) generation(ctx context.Context, bucket Bucket, p *registry.Plugin, s *Standing) error {
	_, layout := p.Layout()
	if s.Generation = layout.Generation; s.Generation == 0 {
		return nil
	}
	now, _, err := loadTakeover(ctx, bucket, d.Secrets, p.Name)
	s.Rebuilding = now.Generation < layout.Generation || !now.Published
	if s.Rebuilding && s.State == stateDelivering {
		s.State = "rebuilding"
	}
	return err
}

// Rebuilds reports whether targets of a plugin type can be filled anew.
func (d *Desk) Rebuilds(kind string) bool {
	k := d.kind(kind)
	return k != nil && k.Rebuilds
}

// readPartitions reads the checkpoints, and gives of each log the place of the slowest partition.
func (d *Desk) readPartitions(ctx context.Context, bucket Bucket, p *registry.Plugin, s *Standing) (map[string]Mark, error) {
	number, layout := p.Layout()
	var merged map[string]Mark
	var of string // the state of the partition whose error is shown
	if p.Enabled {
		s.State = stateStarting
	}
	for i := range layout.Partitions {
		key := CheckpointKey(p.Name, number, i)
		value, revision, err := bucket.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		c := Checkpoint{State: stateStarting, Logs: map[string]Mark{}}
		if revision > 0 {
			c, err = DecodeCheckpoint(d.Secrets, key, value)
			if errors.Is(err, errUnreadable) {
				c, err = Checkpoint{State: stateStopped, Error: err.Error() + "; `eventful plugin:remove " + p.Name + " --disable` and a new `plugin:config` begin at the start of the logs"}, nil
			}
			if err != nil {
				return nil, err
			}
		}
		if merged == nil {
			merged = maps.Clone(c.Logs)
		} else if err := slowest(merged, c.Logs); err != nil {
			return nil, err
		}
		state := PartitionState{Partition: i, State: c.State, Owner: c.Owner, Epoch: c.Epoch, Error: c.Error, logs: c.Logs}
		if !p.Enabled {
			state.State = stateDisabled
		}
		if c.Saved != 0 {
			state.Saved = time.Unix(0, int64(c.Saved)).UTC()
		}
		s.Partitions = append(s.Partitions, state)
		if c.Error != "" && (s.Error == "" || worse(c.State, of)) {
			s.Error, of = c.Error, c.State
		}
		if p.Enabled && worse(c.State, s.State) {
			s.State = c.State
		}
	}
	return merged, nil
}

// worse reports whether one state says more than another.
func worse(a, b string) bool {
	order := []string{stateDisabled, stateStarting, stateDelivering, stateRetrying, stateStopped}
	return slices.Index(order, a) > slices.Index(order, b)
}

// header reads the header of one block; nil: it cannot be read.
func header(ctx context.Context, source eventlog.Log, sequence uint64) (*event.Block, error) {
	m, err := source.Get(ctx, sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return nil, nil // it is damaged
	}
	return b, nil
}

// Parked calls visit with what a plugin has parked, from a number on, until it gives false; without visit it only counts.
func (d *Desk) Parked(ctx context.Context, name string, from uint64, visit func(number uint64, one Parked) (more bool)) (n uint64, err error) {
	dead, err := d.Dead(ctx)
	if err != nil {
		return 0, err
	}
	if counting, ok := dead.(interface {
		Count(ctx context.Context, plugin string) (uint64, error)
	}); ok && visit == nil {
		return counting.Count(ctx, name)
	}
	for {
		number, data, err := dead.Next(ctx, name, from)
		if errors.Is(err, eventlog.ErrNotFound) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		from = number + 1
		n++
		if visit == nil {
			continue
		}
		one, err := DecodeParked(d.Secrets, name, data)
		if errors.Is(err, errUnreadable) {
			one, err = Parked{Plugin: name, Cause: err.Error() + "; it can only be purged"}, nil
		}
		if err != nil {
			return n, err
		}
		if !visit(number, one) {
			return n, nil
		}
	}
}

// Purge drops parked changes of a plugin: the one with a number, or with 0 all. It gives how many.
func (d *Desk) Purge(ctx context.Context, name string, only uint64) (n uint64, err error) {
	dead, err := d.Dead(ctx)
	if err != nil {
		return 0, err
	}
	var failed error
	_, err = d.Parked(ctx, name, max(only, 1), func(number uint64, _ Parked) bool {
		if only > 0 && number != only {
			return false
		}
		if failed = dead.Remove(ctx, number); failed == nil {
			n++
		}
		return failed == nil && only == 0
	})
	return n, errors.Join(err, failed)
}
