package client

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Plugin is a configured plugin, and how it stands. Times are nanoseconds since the Unix epoch.
type Plugin struct {
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Enabled    bool              `json:"enabled"`
	Options    map[string]string `json:"options,omitempty"`    // not in a list; secret ones are masked
	State      string            `json:"state"`                // disabled, starting, rebuilding, delivering, retrying or stopped
	Generation uint64            `json:"generation,omitempty"` // how often the target was to be filled anew; positions and lag are of that
	Rebuilding bool              `json:"rebuilding,omitempty"` // and its readers use the one before
	Positions  []string          `json:"positions"`            // up to which everything is settled, one for each log
	LagEvents  uint64            `json:"lag-events"`
	LagSeconds float64           `json:"lag-seconds"`
	Parked     uint64            `json:"parked"`
	Error      string            `json:"error,omitempty"` // the last one
	Partitions []PluginPartition `json:"partitions"`
}

// PluginPartition is how one partition of a plugin stands.
type PluginPartition struct {
	Partition int       `json:"partition"`
	State     string    `json:"state"`
	Owner     string    `json:"owner,omitempty"` // the process that has it
	Epoch     uint64    `json:"epoch"`
	Saved     time.Time `json:"saved,omitzero"` // when it last noted how far it is
	Error     string    `json:"error,omitempty"`

	LagEvents  uint64  `json:"lag-events"` // as those of the plugin
	LagSeconds float64 `json:"lag-seconds"`
}

// PluginConfig is a configuration. Options are texts; what an option is, `eventful plugin:config --help` says.
type PluginConfig struct {
	Name    string            `json:"name"`
	Type    string            `json:"type,omitempty"` // empty: the name is the type, or the type stays
	Options map[string]string `json:"options"`
}

// PluginReplay says what a plugin delivers again: everything, or only what a scope names, or from a sequence of a log or a time on.
type PluginReplay struct {
	Name     string     `json:"name,omitempty"`  // empty: every enabled plugin
	Scope    string     `json:"scope,omitempty"` // type/id or type
	Log      string     `json:"log,omitempty"`
	Sequence uint64     `json:"sequence,omitempty"`
	Time     *time.Time `json:"time,omitempty"`
	Rebuild  bool       `json:"rebuild,omitempty"` // fill the target anew beside what its readers use, with everything
}

// ParkedChange is a change that a target refused for good. What it held stands in the log.
type ParkedChange struct {
	Number    uint64 `json:"number"`
	Aggregate string `json:"aggregate"`
	Version   uint64 `json:"version"`
	Event     string `json:"event"`
	Position  string `json:"position"`
	Hash      string `json:"hash"`
	Cause     string `json:"cause"`
	Behind    bool   `json:"behind,omitempty"` // never tried: an earlier one of the aggregate is parked
	Time      int64  `json:"time"`             // when it was parked, in nanoseconds since the Unix epoch
}

type pluginBody struct {
	Name    string `json:"name,omitempty"`
	Disable bool   `json:"disable,omitempty"`
	Force   bool   `json:"force,omitempty"`
	Number  uint64 `json:"number,omitempty"`
	After   uint64 `json:"after,omitempty"`
	Take    int    `json:"take,omitempty"`
}

// ConfigurePlugin configures a plugin, or changes its configuration whole. A new one is disabled.
func (c *Client) ConfigurePlugin(ctx context.Context, config PluginConfig) (*Plugin, error) {
	p := &Plugin{}
	return p, c.act(ctx, "plugin", "config", config, p)
}

// Plugins lists the plugins by name.
func (c *Client) Plugins(ctx context.Context) ([]Plugin, error) {
	var answer struct {
		Plugins []Plugin `json:"plugins"`
	}
	err := c.act(ctx, "plugin", "list", pluginBody{}, &answer)
	return answer.Plugins, err
}

// Plugin shows one plugin with its options.
func (c *Client) Plugin(ctx context.Context, name string) (*Plugin, error) {
	p := &Plugin{}
	return p, c.act(ctx, "plugin", "show", pluginBody{Name: name}, p)
}

// EnablePlugin lets a plugin run.
func (c *Client) EnablePlugin(ctx context.Context, name string) (*Plugin, error) {
	p := &Plugin{}
	return p, c.act(ctx, "plugin", "enable", pluginBody{Name: name}, p)
}

// DisablePlugin stops a plugin, and comes back when nothing of it is under way.
func (c *Client) DisablePlugin(ctx context.Context, name string) (*Plugin, error) {
	p := &Plugin{}
	return p, c.act(ctx, "plugin", "disable", pluginBody{Name: name}, p)
}

// PluginRemoval says how a plugin is removed.
type PluginRemoval struct {
	Disable bool // it is disabled first; an enabled plugin is refused otherwise
	Force   bool // it is not waited long until nothing of it is under way: a plugin-runner is gone for good
}

// RemovePlugin takes a configuration back, once nothing of the plugin is under way. It drops what is parked, and says how many changes that were.
func (c *Client) RemovePlugin(ctx context.Context, name string, how PluginRemoval) (purged uint64, err error) {
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	err = c.act(ctx, "plugin", "remove", pluginBody{Name: name, Disable: how.Disable, Force: how.Force}, &answer)
	return answer.Purged, err
}

// TestPlugin has a dummy change brought to the target of a plugin, and removed again.
func (c *Client) TestPlugin(ctx context.Context, name string) error {
	return c.act(ctx, "plugin", "test", pluginBody{Name: name}, &struct{}{})
}

// ReplayPlugin has changes delivered again, and names the plugins that do.
func (c *Client) ReplayPlugin(ctx context.Context, r PluginReplay) ([]string, error) {
	var answer struct {
		Plugins []string `json:"plugins"`
	}
	err := c.act(ctx, "plugin", "replay", r, &answer)
	return answer.Plugins, err
}

// ParkedChanges lists up to take parked changes of a plugin behind the number after. cursor is the next page's after; 0: nothing follows.
func (c *Client) ParkedChanges(ctx context.Context, name string, after uint64, take int) (page []ParkedChange, cursor uint64, err error) {
	var answer struct {
		Parked []ParkedChange `json:"parked"`
		Cursor uint64         `json:"cursor"`
	}
	err = c.act(ctx, "plugin", "parked", pluginBody{Name: name, After: after, Take: take}, &answer)
	return answer.Parked, answer.Cursor, err
}

// ParkedChange gives one parked change.
func (c *Client) ParkedChange(ctx context.Context, name string, number uint64) (*ParkedChange, error) {
	var answer struct {
		Parked []ParkedChange `json:"parked"`
		Cursor uint64         `json:"cursor"`
	}
	if err := c.act(ctx, "plugin", "parked", pluginBody{Name: name, Number: number}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Parked) != 1 {
		return nil, problem.New(problem.Internal, "the answer holds %d parked changes", len(answer.Parked))
	}
	return &answer.Parked[0], nil
}

// RetryParked has parked changes tried again: the one with a number, or with 0 all.
func (c *Client) RetryParked(ctx context.Context, name string, number uint64) error {
	return c.act(ctx, "plugin", "retry", pluginBody{Name: name, Number: number}, &struct{}{})
}

// PurgeParked drops parked changes: the one with a number, or with 0 all. It says how many.
func (c *Client) PurgeParked(ctx context.Context, name string, number uint64) (uint64, error) {
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	err := c.act(ctx, "plugin", "purge", pluginBody{Name: name, Number: number}, &answer)
	return answer.Purged, err
}
