package natsapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

func (a *API) pluginReplay(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	r := registry.Replay{Scope: b.Scope, Log: b.Log, Sequence: b.Sequence, Rebuild: b.Rebuild}
	if r.Rebuild || b.Name != "" {
		one, p := a.cfg.Writer.Plugin(b.Name)
		if p != nil {
			return nil, a.noPlugin(b.Name)
		}
		if r.Rebuild && !a.cfg.Plugins.Desk.Rebuilds(one.Kind) {
			p = problem.New(problem.Conflict, "targets of type %s cannot be filled anew", one.Kind).WithHint("without --rebuild all changes are delivered again to what is there")
		}
		if p != nil {
			return nil, p
		}
	}
	if b.Time != nil && b.Time.After(time.Now()) { // far enough ahead it would not fit into an event.Time
		return nil, problem.New(problem.Invalid, "nothing was stored from %s on: that is in the future", b.Time.UTC().Format(time.RFC3339)).WithHint("give a time that has been")
	}
	if b.Time != nil {
		r.Time = event.Time(b.Time.UnixNano())
	}
	if p := a.replayable(ctx, b.Name, r); p != nil {
		return nil, p
	}
	names, p := a.replaying(b.Name, r)
	if p != nil {
		return nil, p
	}
	for _, name := range names {
		if p := a.cfg.Writer.ReplayPlugin(ctx, c, name, r); p != nil {
			return nil, p
		}
	}
	return map[string]any{"plugins": names}, nil
}

// replaying are the plugins that a replay is for: the one with the name, or all that are enabled and take the type.
func (a *API) replaying(name string, r registry.Replay) (names []string, _ *problem.Problem) {
	aggregateType, _, _ := strings.Cut(r.Scope, "/")
	takes := func(one *registry.Plugin) bool {
		types := plugin.Values(one.Options).List(delivery.OptionTypes)
		return aggregateType == "" || len(types) == 0 || slices.Contains(types, aggregateType)
	}
	if name != "" {
		one, p := a.cfg.Writer.Plugin(name)
		if p == nil && !takes(one) {
			p = problem.New(problem.Invalid, "plugin %s gets no changes of the type %s: its types are %s", name, aggregateType, one.Options[delivery.OptionTypes]).
				WithHint("`eventful plugin:config %s --types=…` names others", name)
		}
		return []string{name}, p
	}
	for _, one := range a.cfg.Writer.Plugins() {
		if one.Enabled && takes(one) {
			names = append(names, one.Name)
		}
	}
	if len(names) == 0 && aggregateType != "" {
		return nil, problem.New(problem.NotFound, "no enabled plugin gets changes of the type %s", aggregateType).WithHint("`eventful plugin:list` shows all")
	}
	return names, nil
}

// lookPatience is how long it is waited for the index to say whether there is an aggregate.
const lookPatience = 5 * time.Second

// missing says that there is no such aggregate, as far as the projector beside this writer knows. Without one, or while that reads its index, nobody looks.
func (a *API) missing(ctx context.Context, scope string) *problem.Problem {
	about, err := streams.ParseAggregate(scope)
	if err != nil || a.cfg.Projector == nil {
		return nil // a type, or what the record of the replay refuses
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	log, _ := a.cfg.Projector.LogOf(about.Type)
	if a.cfg.Projector.WaitForLatest(ctx, log) != nil {
		return nil
	}
	if _, _, _, err := a.cfg.Projector.Newest(ctx, about); err != nil {
		if p := problem.From(err); p.Code == problem.NotFound {
			return p
		}
	}
	return nil
}

// noPlugin says that no plugin has a name, and which there are.
func (a *API) noPlugin(name string) *problem.Problem {
	return problem.New(problem.NotFound, "there is no plugin %.60q", name).WithHint("%s", a.pluginNames())
}

// maxNames is how many plugins a hint names.
const maxNames = 10

func (a *API) pluginNames() string {
	var names []string
	for _, one := range a.cfg.Writer.Plugins() {
		names = append(names, one.Name)
	}
	switch n := len(names); {
	case n == 0:
		return "there are no plugins; `eventful plugin:config` makes one"
	case n > maxNames:
		names = append(names[:maxNames:maxNames], fmt.Sprintf("%d more, which `eventful plugin:list` shows", n-maxNames))
	}
	return "the plugins are " + strings.Join(names, ", ")
}

// replayable refuses a replay of what is not there: it would be told to have begun, and deliver nothing. Without the name of a plugin, what stands for the type may be meant for one.
func (a *API) replayable(ctx context.Context, name string, r registry.Replay) *problem.Problem {
	aggregateType, _, _ := strings.Cut(r.Scope, "/")
	known := slices.ContainsFunc(a.cfg.Writer.Schemas(), func(t writer.TypeInfo) bool { return t.Type == aggregateType && t.Version > 0 })
	switch {
	case name == "" && r.Scope != "" && r.Scope == aggregateType && !known:
		return problem.New(problem.NotFound, "there is no plugin %.60q, and no aggregate type of that name either", r.Scope).WithHint("%s; `eventful schema:list` shows the types", a.pluginNames())
	case r.Scope != "" && (!known || event.IsReserved(aggregateType)):
		return problem.New(problem.NotFound, "there is no aggregate type %.60q", aggregateType).WithHint("`eventful schema:list` shows all")
	case r.Log == "":
		return a.missing(ctx, r.Scope)
	}
	logs := a.logsOfTypes(nil)
	if !slices.Contains(logs, r.Log) {
		return problem.New(problem.NotFound, "there is no log %.60q", r.Log).WithHint("plugins get what is in %s", strings.Join(logs, ", "))
	}
	log, err := a.cfg.Plugins.Desk.Store.Open(ctx, r.Log)
	var last uint64
	if err == nil {
		_, last, err = log.Bounds(ctx)
	}
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		last = 0 // nothing was ever written to it
	case err != nil:
		return problem.New(problem.Unavailable, "log %s: %v", r.Log, err).WithHint("try again in a moment")
	}
	if r.Sequence > last {
		return problem.New(problem.Invalid, "log %s ends at %d, %d is beyond it", r.Log, last, r.Sequence).WithHint("`eventful plugin:list` shows how far plugins are")
	}
	return nil
}
