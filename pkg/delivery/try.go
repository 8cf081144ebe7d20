package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
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
	begun, err := e.begun(ctx, p)
	if err != nil {
		return err
	}
	settings := plugin.Settings{Name: name, Site: e.cfg.Site, Options: values, Generation: layout.Generation, Begun: begun, Trial: true, Log: e.cfg.Log.With().Str("plugin", name).Logger()}
	settings.Schemas, _ = e.view.now().schemasFor(kind, settings)
	target, err := openSafely(ctx, kind, settings)
	if err != nil {
		return fmt.Errorf("open the target: %w", err)
	}
	return errors.Join(testSafely(ctx, kind, target), target.Close())
}

// begun reports whether changes went to the target of a plugin in its newest generation, and are not all about to come again.
func (e *Engine) begun(ctx context.Context, p *registry.Plugin) (bool, error) {
	bucket, err := e.cfg.Checkpoints(ctx)
	if err != nil {
		return false, fmt.Errorf("open the checkpoints: %w", err)
	}
	for number, layout := range slices.Backward(p.Layouts) {
		for i := range layout.Partitions {
			key := CheckpointKey(p.Name, number, i)
			value, revision, err := bucket.Get(ctx, key)
			if err != nil {
				return false, fmt.Errorf("read checkpoint %s: %w", key, err)
			}
			if revision == 0 {
				continue
			}
			c, err := DecodeCheckpoint(e.cfg.Secrets, key, value)
			if err == nil && len(c.Logs) > 0 && newestOfAll(p.ReplaysBehind(c.Replay)) == 0 {
				return true, nil
			}
		}
		if layout.Fresh {
			break
		}
	}
	return false, nil
}

// newestOfAll is the number of the newest replay that begins every log anew; 0: there is none.
func newestOfAll(replays []registry.Replay) uint64 {
	for _, r := range slices.Backward(replays) {
		if r.Scope == "" && r.Log == "" {
			return r.Number
		}
	}
	return 0
}

func testSafely(ctx context.Context, kind *plugin.Kind, target plugin.Plugin) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of plugin type %s: %v", kind.Name, r)
		}
	}()
	return target.Test(ctx)
}
