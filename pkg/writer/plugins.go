package writer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/token"
)

func applyPlugin(v *view, name, eventType string, f map[string]string) ([]byte, error) {
	p, err := registry.Apply(v.plugins[name], name, eventType, f)
	if err != nil {
		return nil, err
	}
	v.plugins = maps.Clone(v.plugins)
	v.plugins[name] = p
	return json.Marshal(p)
}

// Plugins lists the plugins by name. What is given must not be changed.
func (w *Writer) Plugins() []*registry.Plugin {
	var all []*registry.Plugin
	for _, p := range w.sys.now.Load().plugins {
		if !p.Removed {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *registry.Plugin) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Plugin gives one plugin: not_found if none has the name.
func (w *Writer) Plugin(name string) (*registry.Plugin, *problem.Problem) {
	if p := w.sys.now.Load().plugins[name]; p != nil && !p.Removed {
		return p, nil
	}
	return nil, problem.New(problem.NotFound, "there is no plugin %.60q", name).WithHint("`eventful plugin:list` shows all; `eventful plugin:config` makes one")
}

// ConfigurePlugin records a configuration that was checked. One that changes nothing is not recorded. A plugin keeps its kind.
func (w *Writer) ConfigurePlugin(ctx context.Context, c *token.Claims, p registry.Plugin, partitions int) *problem.Problem {
	options, err := json.Marshal(p.Options)
	if err != nil {
		return problem.From(err)
	}
	return w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if old, p2 := w.Plugin(p.Name); p2 == nil && old.Kind != p.Kind {
			return nil, problem.New(problem.Conflict, "plugin %s is of type %s", p.Name, old.Kind).WithHint("give it another name, or remove the one that is there first")
		}
		return oneEvent(typePlugin, p.Name, registry.Configured, map[string]string{
			"kind": p.Kind, "options": string(options), "secrets": string(p.Secrets), "partitions": strconv.Itoa(partitions),
		}), nil
	})
}

// EnablePlugin lets a plugin run, or drains and stops it. A repeat changes nothing.
func (w *Writer) EnablePlugin(ctx context.Context, c *token.Claims, name string, on bool) *problem.Problem {
	return w.pluginAct(ctx, c, name, func(p *registry.Plugin) (string, map[string]string, *problem.Problem) {
		switch {
		case p.Enabled == on:
			return "", nil, nil
		case on:
			return registry.Enabled, nil, nil
		}
		return registry.Disabled, nil, nil
	})
}

// RemovePlugin takes a configuration back; an enabled plugin is refused.
func (w *Writer) RemovePlugin(ctx context.Context, c *token.Claims, name string) *problem.Problem {
	return w.pluginAct(ctx, c, name, func(p *registry.Plugin) (string, map[string]string, *problem.Problem) {
		if p.Enabled {
			return "", nil, problem.New(problem.Conflict, "plugin %s is enabled", name).WithHint("`eventful plugin:disable %s` first, or plugin:remove --disable", name)
		}
		return registry.Removed, nil, nil
	})
}

// ReplayPlugin asks for changes to be delivered again.
func (w *Writer) ReplayPlugin(ctx context.Context, c *token.Claims, name string, r registry.Replay) *problem.Problem {
	if err := r.Check(); err != nil {
		return problem.New(problem.Malformed, "%v", err)
	}
	return w.pluginAct(ctx, c, name, func(*registry.Plugin) (string, map[string]string, *problem.Problem) {
		return registry.Replayed, r.Fields(), nil
	})
}

// RetryPlugin asks for parked changes to be tried again: the one with a number, or with 0 all.
func (w *Writer) RetryPlugin(ctx context.Context, c *token.Claims, name string, only uint64) *problem.Problem {
	return w.pluginAct(ctx, c, name, func(*registry.Plugin) (string, map[string]string, *problem.Problem) {
		f := map[string]string{}
		if only > 0 {
			f["number"] = decimal(only)
		}
		return registry.Retried, f, nil
	})
}

// PurgedPlugin records that so many parked changes are dropped: the one with a number, or with 0 all.
func (w *Writer) PurgedPlugin(ctx context.Context, c *token.Claims, name string, only, count uint64) *problem.Problem {
	return w.pluginAct(ctx, c, name, func(*registry.Plugin) (string, map[string]string, *problem.Problem) {
		f := map[string]string{"count": decimal(count)}
		if only > 0 {
			f["number"] = decimal(only)
		}
		return registry.Purged, f, nil
	})
}

// TestedPlugin records that somebody has a dummy change sent to the plugin's target, before it is. A request that comes again is one act: it has the id of the first, which is the
// sender's; an empty one makes each an act of its own.
func (w *Writer) TestedPlugin(ctx context.Context, c *token.Claims, name, request string) *problem.Problem {
	id := ""
	if request != "" {
		digest := sha256.Sum256([]byte(strings.Join([]string{c.ID, name, request}, "\x00")))
		id = "test-" + hex.EncodeToString(digest[:])
	}
	return w.actOnce(ctx, id, c, w.pluginDecides(name, func(*registry.Plugin) (string, map[string]string, *problem.Problem) {
		return registry.Tested, nil, nil
	}))
}

func (w *Writer) pluginAct(ctx context.Context, c *token.Claims, name string, decide func(*registry.Plugin) (string, map[string]string, *problem.Problem)) *problem.Problem {
	return w.actBy(ctx, c, w.pluginDecides(name, decide))
}

func (w *Writer) pluginDecides(name string, decide func(*registry.Plugin) (string, map[string]string, *problem.Problem)) func(*submission) ([]aggregate.Change, *problem.Problem) {
	return func(*submission) ([]aggregate.Change, *problem.Problem) {
		p, wrong := w.Plugin(name)
		if wrong != nil {
			return nil, wrong
		}
		eventType, fields, wrong := decide(p)
		if wrong != nil || eventType == "" {
			return nil, wrong
		}
		return oneEvent(typePlugin, name, eventType, fields), nil
	}
}
