package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// TestRequest asks a plugin-runner to try a plugin; TestAnswer is what it says.
type (
	TestRequest struct {
		V      int    `json:"v"`
		Plugin string `json:"plugin"`
	}
	TestAnswer struct {
		V     int    `json:"v"`
		Error string `json:"error,omitempty"`
	}
)

// Try opens the target of a plugin in its newest generation, has a dummy change reach it, and closes it again.
func (e *Engine) Try(ctx context.Context, name string) error {
	p := e.view.now().plugins[name]
	if p == nil || p.Removed {
		return fmt.Errorf("this plugin-runner knows no plugin %.60q yet", name)
	}
	kind := e.kinds[p.Kind]
	if kind == nil {
		return fmt.Errorf("this plugin-runner has no plugin type %s", p.Kind)
	}
	values, err := e.cfg.Secrets.Join(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, behaviourOf(kind, values).timeout)
	defer cancel()
	_, layout := p.Layout()
	settings := plugin.Settings{Name: name, Site: e.cfg.Site, Options: values, Schemas: e.view.now().all(), Generation: layout.Generation, Trial: true, Log: e.cfg.Log.With().Str("plugin", name).Logger()}
	target, err := openSafely(ctx, kind, settings)
	if err != nil {
		return fmt.Errorf("open the target: %w", err)
	}
	return errors.Join(testSafely(ctx, kind, target), target.Close())
}

func testSafely(ctx context.Context, kind *plugin.Kind, target plugin.Plugin) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of plugin type %s: %v", kind.Name, r)
		}
	}()
	return target.Test(ctx)
}
