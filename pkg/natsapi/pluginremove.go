package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// pluginDisable comes back when nothing is under way any more, or says that it does not know.
func (a *API) pluginDisable(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	if p := a.cfg.Writer.EnablePlugin(ctx, c, b.Name, false); p != nil {
		return nil, p
	}
	if p := a.drained(ctx, b.Name); p != nil {
		return nil, p
	}
	return a.pluginShow(ctx, c, b)
}

const (
	drainPatience = 4 * time.Second // shorter than who asks waits for one answer; it asks again
	drainPause    = 50 * time.Millisecond
)

// drained waits until every partition that was begun is closed, or says that it does not know yet.
func (a *API) drained(ctx context.Context, name string) *problem.Problem {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	for {
		one, p := a.cfg.Writer.Plugin(name)
		if p != nil {
			return p
		}
		open, err := a.cfg.Plugins.Desk.Open(ctx, one)
		if err == nil && len(open) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return problem.New(problem.UnknownOutcome, "plugin %s is disabled; of its partitions %v nobody said in time that nothing is under way", name, open).
				WithHint("a plugin-runner that is gone says nothing; `eventful plugin:show %s`", name)
		case <-time.After(drainPause):
		}
	}
}

// pluginRemove drops what is parked, and takes the configuration back. It waits until nothing is under way, whoever disabled the plugin: what a runner parked behind that would outlive it, and one that takes
// its name could deliver beside it. With force it does not wait.
func (a *API) pluginRemove(ctx context.Context, c *token.Claims, b pluginBody) (any, *problem.Problem) {
	if b.Disable {
		if p := a.cfg.Writer.EnablePlugin(ctx, c, b.Name, false); p != nil {
			return nil, p
		}
	}
	one, p := a.cfg.Writer.Plugin(b.Name)
	if p != nil {
		return nil, p
	}
	var purged uint64
	if !one.Enabled { // else it is refused
		if p = a.drained(ctx, b.Name); p != nil && !b.Force {
			return nil, p.WithHint("a plugin-runner that is gone for good says nothing, ever: `eventful plugin:remove %s --force` does not wait for it; `eventful plugin:show %s`", b.Name, b.Name)
		}
		if purged, p = a.purge(ctx, c, b.Name, 0); p != nil {
			return nil, p
		}
	}
	if p := a.cfg.Writer.RemovePlugin(ctx, c, b.Name); p != nil {
		return nil, p
	}
	return map[string]uint64{"purged": purged}, nil
}
