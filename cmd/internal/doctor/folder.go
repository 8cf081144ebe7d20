package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/cmd/internal/space"
)

// permissions looks at what only its owner may touch.
func (x *examination) permissions() {
	type owned struct {
		path string
		mode fs.FileMode
	}
	all := []owned{
		{x.DataDir, 0o700},
		{filepath.Join(x.DataDir, run.KeyFile), 0o600},
		{filepath.Join(x.DataDir, settings.File), 0o600},
		{run.InfoPath(x.DataDir), 0o600},
	}
	if x.DEKFile != "" {
		all = append(all, owned{filepath.Dir(x.DEKFile), 0o700}, owned{x.DEKFile, 0o600})
	}
	if x.SessionKey != "" {
		all = append(all, owned{x.SessionKey, 0o600})
	}
	wide := 0
	for _, one := range all {
		info, err := os.Stat(one.path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing to protect
		case err != nil:
			wide++
			x.found(checkPermissions, "run doctor as the user who owns the data folder", "%v", err)
		case info.Mode().Perm()&^one.mode != 0:
			wide++
			x.found(checkPermissions, "chmod "+octal(one.mode)[1:]+" "+one.path+", and think about who could have read it",
				"%s has mode %s, it must be %s", one.path, octal(info.Mode().Perm()), octal(one.mode))
		}
	}
	if wide == 0 {
		x.ok(checkPermissions, "data folder, keys.json, %s, run.json, the kept DEK and the key of the session are their owner's alone", settings.File)
	}
}

func octal(m fs.FileMode) string {
	const digits = "01234567"
	return string([]byte{'0', digits[m>>6&7], digits[m>>3&7], digits[m&7]})
}

// versions compares this program with the server. Newer formats of config.toml and run.json were refused before.
func (x *examination) versions() {
	if x.Running == nil || x.Running.PID == 0 {
		x.ok(checkVersions, "eventful %s, config.toml format %d", x.Version, settings.Format)
		return
	}
	if x.Running.Version != x.Version {
		x.found(checkVersions, "use the eventful that started the server, or start it anew with this one: `eventful restart`",
			"the server is eventful %s, and this is eventful %s", x.Running.Version, x.Version)
		return
	}
	x.ok(checkVersions, "eventful %s, the server too; config.toml format %d, run.json format %d", x.Version, settings.Format, x.Running.Format)
}

// disk looks at the disks under the data folder. The running writer, which may have been started with other limits, is asked too (refusing).
func (x *examination) disk(ctx context.Context) {
	look := x.Look
	if look == nil {
		look = space.Look
	}
	if x.Running == nil && x.Limits == (space.Limits{}) {
		x.unguarded()
	}
	guard := space.New(space.Config{Folders: []space.Folder{{Name: "data folder", Dir: x.DataDir}}, Limits: x.Limits, Look: look})
	v := guard.Volumes()[0]
	if p := guard.Check(); p != nil {
		then := "writes are refused, reads are answered"
		if x.takesWrites(ctx) {
			then = "no writer refuses writes for that, as it has other limits or another disk; one that is started here with these settings does"
		}
		x.found(checkDisk, p.Hint, "%s: %s", p.Detail, then)
		return
	}
	x.ok(checkDisk, "%s", v)
}

// takesWrites reports whether a writer answers, and refuses none.
func (x *examination) takesWrites(ctx context.Context) bool {
	if x.URL == "" || x.KeyError != nil {
		return false
	}
	s, err := x.ask(ctx)
	return err == nil && s.Refusing == ""
}

func (x *examination) unguarded() {
	x.found(checkDisk, "set min-free or min-free-percent: `eventful restart --min-free=1GiB --min-free-percent=5`, and the same with `eventful config`",
		"the guard is off that refuses writes before the disk is full")
}

// storesAtRest says what local stores lie in the folder of a server that does not run.
func (x *examination) storesAtRest() {
	state, index := x.names(run.StateDir(x.DataDir, "")), x.names(run.IndexDir(x.DataDir, ""))
	if len(state)+len(index) == 0 {
		x.ok(checkStores, "no local stores: the next start makes them from the logs")
		return
	}
	x.ok(checkStores, "writer's states of %s; indexes of %s; the next start makes what is missing from the logs", list(state), list(index))
}

func (x *examination) names(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.found(checkStores, "run doctor as the user who owns the data folder", "%v", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func list(names []string) string {
	if len(names) == 0 {
		return "no log"
	}
	return strings.Join(names, ", ")
}
