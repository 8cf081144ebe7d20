package run

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Engines are the engines of one site in this process, on connections in its accounts: those of the node in the same process, or of any NATS cluster.
type Engines struct {
	Site            string
	Dir             string               // folder that holds the folders of writer states and index; both can be rebuilt
	Secrets         *keyring.Secrets     // encrypt them
	Connect         Connect              // connects each engine with its own rights
	Make            Make                 // connects to make one stream
	Operators       []string             // public keys that may sign the account APP
	Confirmed       func() error         // makes an updated account durable before anybody is told
	Writer          bool                 // run the writer
	Projector       bool                 // run the projector
	Runner          bool                 // deliver to plugins
	Programs        []string             // that plugins may run, absolute
	PluginPII       bool                 // a plugin-runner without writer and projector opens encrypted fields for plugins with --pii
	Replicas        int                  // of the streams that the writer makes: 1, 3 or 5; 0: 1
	MemoryThreshold int                  // decoded events that the projector keeps in memory
	UnsafeNoSync    bool                 // accept servers that do not flush each write
	Limits          space.Limits         // of free space, below which nothing is written
	LogDir          string               // where the logs lie; empty: on other machines, whose servers are asked
	Fault           func() error         // why the logs cannot be written though there is room; nil: unknown here
	Guarded         func(*space.Watcher) // default none: gets the guard of the writer before anything is started
	Written         func(*writer.Writer) // default none: gets the writer before anything is started
	Kept            func(*inbox.Inbox)   // default none: gets the inbox before anything is started
	Archive         *archive.Archive     // default none: where logs go on behind what their streams have
	Policies        Policies             // what is archived without being asked
	ArchiveEvery    time.Duration        // how often that is looked for; default a minute
	Log             zerolog.Logger
	Metrics         prometheus.Registerer

	instance string // of this start
}

// engine is one part that runs until its context ends.
type engine struct {
	name  string
	run   func(context.Context) error // nil when the context ended
	ready <-chan struct{}
}

// running is an engine with its goroutine.
type running struct {
	engine
	cancel context.CancelFunc
	ended  chan struct{} // closed when run has returned
	err    error         // of run; read after ended
}

// Run starts the engines and holds them until ctx ends (nil) or one of them fails. up is called once, when all are ready. They are started in
// the order of assemble and stopped in the opposite one, each waited for, so that the doors close before what stands behind them.
func (e Engines) Run(ctx context.Context, up func() error) error {
	e.instance, e.ArchiveEvery = rand.Text(), cmp.Or(e.ArchiveEvery, time.Minute)
	if err := roomToStart(e.Dir); err != nil {
		return err
	}
	if err := e.makeFolders(); err != nil {
		return err
	}
	engines, release, err := e.assemble(ctx)
	if err != nil {
		return engineProblem(err)
	}
	defer release()
	failed := make(chan struct{}, len(engines))
	started := make([]*running, len(engines))
	for i, one := range engines {
		started[i] = start(ctx, one, failed)
	}
	err = e.watch(ctx, engines, failed, up)
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].ended
		err = errors.Join(err, started[i].err)
		e.Log.Debug().Str(fieldEngine, started[i].name).Msg("engine stopped")
	}
	return engineProblem(err)
}

// makeFolders says at once what an engine, which takes its folder for one that comes back, would try for ever.
func (e Engines) makeFolders() error {
	for name, wanted := range map[string]bool{stateDir: e.Writer, indexDir: e.Projector, runnerDir: e.Runner} {
		if !wanted {
			continue
		}
		if err := os.MkdirAll(filepath.Join(e.Dir, name), 0o700); err != nil {
			return notWritable(e.Dir, err)
		}
	}
	return nil
}

// engineProblem turns what ends the engines for good into a problem for people, where they can do something about it; other errors, and nil, pass.
func engineProblem(err error) error {
	switch {
	case errors.Is(err, jetlog.ErrNewer), errors.Is(err, event.ErrNewerFormat):
		return problem.New(problem.Invalid, "%v", err).WithHint("use the eventful that wrote it, or a newer one")
	case errors.Is(err, writer.ErrDamaged):
		return problem.New(problem.Damaged, "%v", err).WithHint("the log of schemas, keys and tokens must be whole: put back the newest backup of the data folder")
	case errors.Is(err, lease.ErrSameMember):
		return problem.New(problem.Conflict, "%v", err).
			WithHint("give every writer a --data-dir of its own, with a copy of keys.json and nothing else: the folder %q beside it belongs to one process", stateDir)
	case errors.Is(err, jetlog.ErrSettings):
		return problem.New(problem.Invalid, "%v", err).WithHint("somebody changed the stream: set back what the error names")
	}
	return err
}

// watch returns when ctx ends or an engine does.
func (e Engines) watch(ctx context.Context, engines []engine, failed <-chan struct{}, up func() error) error {
	for _, one := range engines {
		select {
		case <-one.ready:
			e.Log.Debug().Str(fieldEngine, one.name).Msg("engine ready")
		case <-failed:
			return nil // its error is collected when it is stopped
		case <-ctx.Done():
			return nil
		}
	}
	if err := up(); err != nil {
		return err
	}
	select {
	case <-failed:
	case <-ctx.Done():
	}
	return nil
}

// start runs an engine under a context of its own, which outlives ctx until the engine's turn to stop comes.
func start(ctx context.Context, one engine, failed chan<- struct{}) *running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{engine: one, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		if r.err = one.run(ctx); r.err != nil {
			r.err = fmt.Errorf("run the %s: %w", one.name, r.err)
		} else if ctx.Err() == nil {
			r.err = fmt.Errorf("the %s ended by itself", one.name)
		}
		failed <- struct{}{}
	}()
	return r
}
