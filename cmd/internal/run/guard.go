package run

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Names of what is watched, as messages have them.
const (
	dataFolder  = "data folder"
	logFolder   = "logs"
	stateFolder = "writer's states"
	indexFolder = "index"
)

// guardSpace watches the disks that these engines write to, and the stores of servers elsewhere as far as they tell.
func (e Engines) guardSpace(c *connections) *space.Watcher {
	config := space.Config{Folders: []space.Folder{{Name: dataFolder, Dir: e.Dir, Held: true}}, Limits: e.Limits, Fault: e.Fault, Log: e.Log, Metrics: e.Metrics}
	if e.LogDir != "" {
		config.Folders = append(config.Folders, space.Folder{Name: logFolder, Dir: e.LogDir, Held: true})
	} else {
		config.Stores = func(ctx context.Context) ([]space.Store, error) { return stores(ctx, c) }
	}
	if e.Writer {
		config.Folders = append(config.Folders, space.Folder{Name: stateFolder, Dir: filepath.Join(e.Dir, stateDir)})
	}
	if e.Projector {
		config.Folders = append(config.Folders, space.Folder{Name: indexFolder, Dir: filepath.Join(e.Dir, indexDir)})
	}
	w := space.New(config)
	if e.Guarded != nil && e.Writer {
		e.Guarded(w)
	}
	return w
}

// roomOf tells whether this process has room where another writer could have some: in its own folders. Beside a server of its own these lie on the disk of the logs, which
// is full for whoever writes them: then nothing is told (docs/adr/0016-room.md).
func (e Engines) roomOf(guard *space.Watcher) func() bool {
	if e.LogDir != "" {
		return nil
	}
	return guard.Room
}

// stores asks the nats-servers. They tell how much their JetStream holds and may hold, and nothing of their disks.
func stores(ctx context.Context, c *connections) ([]space.Store, error) {
	servers, err := jetlog.Servers(ctx, c.asking, time.Now)
	if err != nil {
		return nil, err
	}
	var all []space.Store
	for _, s := range servers {
		if s.JetStream {
			all = append(all, space.Store{Server: s.Name, Used: s.Used, Max: s.MaxStore})
		}
	}
	return all, nil
}

// roomForIndex ends the growth of an index at half of what must stay free: what was stored before writes were refused finds room in it.
func roomForIndex(guard *space.Watcher) error {
	for _, v := range guard.Volumes() {
		if v.Folder == indexFolder && v.Free < v.Limit/2 {
			return fmt.Errorf("%s are free, and an index does not grow below %s: %w", space.Format(v.Free), space.Format(v.Limit/2), syscall.ENOSPC)
		}
	}
	return nil
}

// usable tells whether the store of a server that failed to write can be written again: there is room, with something to spare, and a file can be written.
func usable(dir string, limits space.Limits) error {
	u, err := space.Look(dir)
	if err != nil {
		return err
	}
	if least := max(limits.Again(u.Total), spare); u.Free < least {
		return fmt.Errorf("%s are free, %s are wanted: %w", space.Format(u.Free), space.Format(least), syscall.ENOSPC)
	}
	return space.Probe(dir)
}

// spare is what must be free for a server that failed to write to be started anew: else it would fail again at once.
const spare = 32 << 20

// roomToStart refuses to start where everything that starts would wait for room.
func roomToStart(dir string) error {
	u, err := space.Look(dir)
	if err != nil {
		return notWritable(dir, err)
	}
	if u.Unwritable != nil {
		return notWritable(dir, u.Unwritable)
	}
	if u.Free < spare {
		return problem.New(problem.NoSpace, "the disk of the data folder has %s free of %s, and a start needs %s", space.Format(u.Free), space.Format(u.Total), space.Format(spare)).
			WithHint("make room, or move the data folder to a larger disk, and start again: nothing is lost")
	}
	return nil
}
