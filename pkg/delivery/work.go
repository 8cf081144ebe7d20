package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// workKey names a plugin under one configuration.
type workKey struct {
	name       string
	change     uint64
	generation uint64
	replay     uint64 // the newest one of everything: for that what a target lost may be made anew
}

// work is what the partitions of one plugin in this process share: the open target, and one reader for each log.
type work struct {
	e    *Engine
	key  workKey
	kind *plugin.Kind
	how  behaviour
	log  zerolog.Logger

	users int // guarded by Engine.mu

	opening sync.Mutex // guards target
	target  plugin.Plugin

	mu      sync.Mutex // guards feeds
	feeds   map[string]*feed
	reading sync.WaitGroup
	ctx     context.Context // of the feeds
	cancel  context.CancelFunc
}

func newWork(e *Engine, key workKey, kind *plugin.Kind, how behaviour) *work {
	w := &work{e: e, key: key, kind: kind, how: how, log: e.cfg.Log.With().Str("plugin", key.name).Logger(), feeds: map[string]*feed{}}
	w.ctx, w.cancel = context.WithCancel(e.stop)
	return w
}

// open opens the target, once.
func (w *work) open(ctx context.Context, s plugin.Settings) (err error) {
	w.opening.Lock()
	defer w.opening.Unlock()
	if w.target != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.how.timeout)
	defer cancel()
	w.target, err = openSafely(ctx, w.kind, s)
	return err
}

// openSafely turns a panic of a plugin into an error: its faults are no reason to end the process.
func openSafely(ctx context.Context, kind *plugin.Kind, s plugin.Settings) (p plugin.Plugin, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("a fault of plugin type %s: %v", kind.Name, r)
		}
	}()
	if p, err = kind.Open(ctx, s); err == nil && p == nil {
		err = errors.New("the plugin gave nothing")
	}
	return p, err
}

// close ends the readers and closes the target; no partition uses it any more.
func (w *work) close() {
	w.cancel()
	w.reading.Wait()
	w.opening.Lock()
	defer w.opening.Unlock()
	if w.target == nil {
		return
	}
	if err := w.target.Close(); err != nil {
		w.log.Warn().Err(err).Msg("target was not closed cleanly")
	}
}

// feedOf gives the reader of a log, and starts it if there is none.
func (w *work) feedOf(log string) *feed {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.feeds[log]
	if f == nil {
		f = &feed{w: w, name: log, rejoined: make(chan struct{}, 1), members: map[*member]bool{}, folder: newFolder(log, w.log)}
		w.feeds[log] = f
		w.reading.Go(func() { f.run(w.ctx) })
	}
	return f
}
