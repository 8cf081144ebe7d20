package natsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// Plugins is what the acts on plugins need besides the writer.
type Plugins struct {
	Desk *delivery.Desk
	// Ask has any one plugin-runner answer; an error: nobody did.
	Ask func(ctx context.Context, verb string, body []byte) ([]byte, error)
	// Prepare makes what a plugin needs of the site before it is configured or enabled; all are those that there are.
	Prepare func(ctx context.Context, p *registry.Plugin, all []*registry.Plugin) error
}

// pluginBody is the body of all acts on plugins (docs/spec/plugins.md); each act reads what it needs.
type pluginBody struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Options  map[string]string `json:"options"`
	Disable  bool              `json:"disable"`
	Force    bool              `json:"force"`
	Scope    string            `json:"scope"`
	Log      string            `json:"log"`
	Sequence uint64            `json:"sequence"`
	Time     *time.Time        `json:"time"`
	Rebuild  bool              `json:"rebuild"`
	Number   uint64            `json:"number"`
	After    uint64            `json:"after"`
	Take     int               `json:"take"`

	request string // the sender's id, the same where the request comes again
}

// shownPlugin is a plugin as it is shown.
type shownPlugin struct {
	Name    string            `json:"name"`
	Type    string            `json:"type"`
	Enabled bool              `json:"enabled"`
	Options map[string]string `json:"options,omitempty"`
	*delivery.Standing
}

type pluginDo func(a *API, ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem)

// pluginAct checks who asks, and reads the body.
func pluginAct(do pluginDo) act {
	return func(a *API, ctx context.Context, r request, h headers) (any, *problem.Problem) {
		if a.cfg.Plugins == nil {
			return nil, problem.New(problem.Unavailable, "this process looks after no plugins")
		}
		var b pluginBody
		c, p := a.who(h, true)
		if p == nil {
			p = r.body(&b)
		}
		if p != nil {
			return nil, p
		}
		b.request = h.get(streams.HeaderCommandID)
		return do(a, ctx, c, b)
	}
}

func (a *API) pluginConfig(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	before, _ := a.cfg.Writer.Plugin(b.Name)
	if b.Type == "" {
		b.Type = b.Name
		if before != nil {
			b.Type = before.Kind
		}
	}
	schemas, p := a.schemas()
	if p != nil {
		return nil, p
	}
	given := plugin.Values(b.Options)
	if given == nil {
		given = plugin.Values{}
	}
	one, partitions, err := a.cfg.Plugins.Desk.Examine(registry.Plugin{Name: b.Name, Kind: b.Type}, given, before, schemas)
	if err != nil {
		return nil, configProblem(err)
	}
	if err := a.cfg.Plugins.Desk.Make(ctx); err != nil {
		return nil, problem.New(problem.Unavailable, "%v", err).WithHint("try again in a moment")
	}
	if p := a.prepare(ctx, &one); p != nil {
		return nil, p
	}
	if p := a.cfg.Writer.ConfigurePlugin(ctx, c, one, partitions); p != nil {
		return nil, p
	}
	if before == nil { // an earlier version left what was parked under the name
		if _, p := a.purge(ctx, c, b.Name, 0); p != nil {
			return nil, p
		}
	}
	return a.pluginShow(ctx, c, b)
}

// prepare has what a plugin needs of the site made. It may be repeated, and does no harm to who has it already.
func (a *API) prepare(ctx context.Context, one *registry.Plugin) *problem.Problem {
	if err := a.cfg.Plugins.Prepare(ctx, one, a.cfg.Writer.Plugins()); err != nil {
		return problem.New(problem.Unavailable, "plugin %s: %v", one.Name, err).WithHint("try again in a moment; if another plugin has it, remove that first")
	}
	return nil
}

// configProblem lists everything that is wrong with a configuration.
func configProblem(err error) *problem.Problem {
	var problems []*problem.Problem
	for _, one := range flatten(err) {
		problems = append(problems, problem.New(problem.Invalid, "%v", one))
	}
	p := problem.Join(problems)
	if errors.Is(err, plugin.ErrNotAllowed) {
		return p.WithHint("whoever runs the server names the programs: `eventful config --plugin-programs=PATH,…`, then `eventful restart`")
	}
	return p.WithHint("`eventful plugin:config --help` lists the options of each type")
}

// flatten gives the errors that were joined.
func flatten(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// schemas are those of all types, compiled.
func (a *API) schemas() (all []*schema.Schema, p *problem.Problem) {
	for _, t := range a.cfg.Writer.Schemas() {
		if t.Version == 0 {
			continue
		}
		var d schema.Definition
		if err := json.Unmarshal(t.Definition, &d); err != nil {
			return nil, problem.New(problem.Internal, "schema of %s: %v", t.Type, err)
		}
		s, err := schema.Compile(d, t.Version)
		if err != nil {
			return nil, problem.From(err)
		}
		all = append(all, s)
	}
	return all, nil
}

func (a *API) pluginList(ctx context.Context, _ *token.Claims, _ pluginBody) (any, *problem.Problem) {
	list := []shownPlugin{}
	for _, one := range a.cfg.Writer.Plugins() {
		s, p := a.shown(ctx, one)
		if p != nil {
			return nil, p
		}
		s.Options = nil
		list = append(list, s)
	}
	return map[string]any{"plugins": list}, nil
}

func (a *API) pluginShow(ctx context.Context, _ *token.Claims, b pluginBody) (any, *problem.Problem) {
	one, p := a.cfg.Writer.Plugin(b.Name)
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.shown(ctx, one))
}

func (a *API) shown(ctx context.Context, one *registry.Plugin) (shownPlugin, *problem.Problem) {
	s := shownPlugin{Name: one.Name, Type: one.Kind, Enabled: one.Enabled}
	var err error
	schemas, p := a.schemas()
	if p != nil {
		return s, p
	}
	if s.Options, err = a.cfg.Plugins.Desk.Shown(one, schemas); err == nil {
		var standing delivery.Standing
		standing, err = a.cfg.Plugins.Desk.Standing(ctx, one, a.logsOfTypes(plugin.Values(one.Options).List(delivery.OptionTypes)))
		s.Standing = &standing
	}
	if err != nil {
		return s, problem.New(problem.Unavailable, "plugin %s: %v", one.Name, err).WithHint("try again in a moment")
	}
	return s, nil
}

func (a *API) logsOfTypes(types []string) []string { return LogsOfTypes(a.cfg.Writer, types) }

// LogsOfTypes are the logs of some types, or of all, in ascending order.
func LogsOfTypes(w *writer.Writer, types []string) (logs []string) {
	for _, t := range w.Schemas() {
		if t.Version > 0 && (len(types) == 0 || slices.Contains(types, t.Type)) && !slices.Contains(logs, t.Log) {
			logs = append(logs, t.Log)
		}
	}
	slices.Sort(logs)
	return logs
}

func (a *API) pluginEnable(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	one, p := a.cfg.Writer.Plugin(b.Name)
	if p == nil {
		p = a.prepare(ctx, one)
	}
	if p != nil {
		return nil, p
	}
	if p := a.cfg.Writer.EnablePlugin(ctx, c, b.Name, true); p != nil {
		return nil, p
	}
	return a.pluginShow(ctx, c, b)
}

func (a *API) pluginTest(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	if p := a.cfg.Writer.TestedPlugin(ctx, c, b.Name, b.request); p != nil {
		return nil, p
	}
	body, err := json.Marshal(delivery.TestRequest{V: 1, Plugin: b.Name})
	if err != nil {
		return nil, problem.From(err)
	}
	data, err := a.cfg.Plugins.Ask(ctx, "test", body)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "no plugin-runner answered: %v", err).WithHint("start one: `eventful start` has it, or `plugin-runner`")
	}
	var answer delivery.TestAnswer
	if err := json.Unmarshal(data, &answer); err != nil || answer.V != 1 {
		return nil, problem.New(problem.Internal, "the answer of the plugin-runner cannot be read: %v", fmt.Errorf("version %d: %w", answer.V, err))
	}
	if answer.Error != "" {
		return nil, problem.New(problem.Unavailable, "plugin %s: %s", b.Name, answer.Error).WithHint("`eventful plugin:logs %s` may say more", b.Name)
	}
	return map[string]string{"plugin": b.Name, "outcome": "a dummy change reached the target"}, nil
}

// shownParked is a parked change with its number.
type shownParked struct {
	Number uint64 `json:"number"`
	delivery.Parked
}

func (a *API) pluginParked(ctx context.Context, _ *token.Claims, b pluginBody) (any, *problem.Problem) {
	if _, p := a.cfg.Writer.Plugin(b.Name); p != nil {
		return nil, p
	}
	take := min(max(b.Take, 1), maxRefusedPage)
	if b.Number > 0 {
		b.After, take = b.Number-1, 1
	}
	var answer struct {
		Parked []shownParked `json:"parked"`
		Cursor uint64        `json:"cursor"` // 0: nothing follows
	}
	answer.Parked = []shownParked{}
	_, err := a.cfg.Plugins.Desk.Parked(ctx, b.Name, b.After+1, func(number uint64, one delivery.Parked) bool {
		if b.Number > 0 && number != b.Number {
			return false
		}
		if len(answer.Parked) == take {
			answer.Cursor = answer.Parked[take-1].Number
			return false
		}
		answer.Parked = append(answer.Parked, shownParked{number, one})
		return true
	})
	if err != nil {
		return nil, problem.New(problem.Unavailable, "%v", err).WithHint("try again in a moment")
	}
	if b.Number > 0 {
		answer.Cursor = 0
		if len(answer.Parked) == 0 {
			return nil, problem.New(problem.NotFound, "plugin %s has no parked change %d", b.Name, b.Number).WithHint("`eventful plugin:parked %s` lists them", b.Name)
		}
	}
	return answer, nil
}

func (a *API) pluginRetry(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	if b.Number > 0 {
		if _, p := a.pluginParked(ctx, c, b); p != nil {
			return nil, p
		}
	}
	return done{}, a.cfg.Writer.RetryPlugin(ctx, c, b.Name, b.Number)
}

func (a *API) pluginPurge(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	if _, p := a.cfg.Writer.Plugin(b.Name); p != nil {
		return nil, p
	}
	if b.Number > 0 {
		if _, p := a.pluginParked(ctx, c, b); p != nil {
			return nil, p
		}
	}
	n, p := a.purge(ctx, c, b.Name, b.Number)
	if p != nil {
		return nil, p
	}
	return map[string]uint64{"purged": n}, nil
}

// purge drops parked changes, the one with a number, or with 0 all, and records how many.
func (a *API) purge(ctx context.Context, c *token.Claims, name string, only uint64) (uint64, *problem.Problem) {
	n, err := a.cfg.Plugins.Desk.Purge(ctx, name, only)
	if err != nil {
		return n, problem.New(problem.Unavailable, "%v", err).WithHint("run it again: it goes on where it was")
	}
	if n == 0 {
		return 0, nil
	}
	return n, a.cfg.Writer.PurgedPlugin(ctx, c, name, only, n)
}
