// Package reencrypt copies a site's store into a new data folder, under fresh keys, and proves the copy before the old folder is given up.
//
// Each stream of both accounts goes from one embedded server to another by JetStream's own snapshot and restore, which keeps sequences, gaps, headers, times,
// settings and consumers. Then every message of every stream is compared, and every log is verified in the new store. docs/adr/0004-reencrypt.md says why so.
//
// Side effects of Run in order, and what a crash behind each leaves: (1) the locks: nothing. (2) the new key file as keys.copying, and the account JWTs: the new
// folder is no data folder yet, and Run takes it up again. (3) streams, one after the other: one that is whole is kept, one that is not is copied again.
// (4) everything flushed, and config.toml. (5) Keep: the caller's. (6) the old folder says where it went: no server starts on it, nor on the new one yet.
// (7) keys.copying becomes keys.json: the new folder is the site's. Run again, it goes on from wherever it was.
package reencrypt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// copyingKeys is the new key file until the copy is proved.
const copyingKeys = "keys.copying"

// Config says what is copied where. All fields but Archive must be set.
type Config struct {
	From, To string                                // data folders, absolute; To is made, with mode 0700, and must be empty or of a copy that was cut short
	DEK      []byte                                // opens the key file, and will open the new one
	Limits   space.Limits                          // of free space, which the copy must leave
	Look     func(dir string) (space.Usage, error) // how much is free: space.Look
	Archive  run.Archive                           // where logs go on that were purged
	Keep     func() error                          // keeps the DEK for To
	Progress func(format string, args ...any)      // one line for people
	Log      zerolog.Logger                        // of the two servers
}

// Run makes the copy. The server of From must be stopped. The error is a *problem.Problem where somebody can do something about it; then From is as it was,
// and what was copied is kept for the next Run.
func Run(ctx context.Context, c Config) (err error) {
	done, err := c.check()
	if err != nil || done {
		return err
	}
	for _, dir := range []string{c.From, c.To} {
		lock, err := run.Acquire(dir)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Release() }() // nothing was written under it that a lock keeps
	}
	c.Progress("looking for room")
	if err := c.room(); err != nil {
		return err
	}
	c.Progress("making new keys")
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.copied(ctx); err != nil {
		return err
	}
	return c.settle()
}

// check refuses folders that do not fit. done: the copy was made, and there is nothing to do.
func (c Config) check() (done bool, err error) {
	if !run.Configured(c.From) {
		return false, problem.New(problem.NotFound, "%s is not configured", c.From).WithHint("name the right folder with --data-dir")
	}
	if overlap(c.From, c.To) {
		return false, problem.New(problem.Malformed, "%s and %s are not two folders side by side", c.From, c.To).WithHint("name a new folder outside the data folder with --to")
	}
	gone, err := run.MovedTo(c.From)
	if err != nil {
		return false, err
	}
	switch {
	case gone != "" && gone != c.To:
		return false, problem.New(problem.Conflict, "%s was copied to %s already", c.From, gone).WithHint("start the server there")
	case run.Configured(c.To) && gone == c.To:
		c.Progress("%s was copied to %s already", c.From, c.To)
		return true, nil
	}
	entries, err := os.ReadDir(c.To)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, problem.New(problem.Invalid, "the new folder cannot be read: %v", err)
	}
	if len(entries) > 0 && !exists(filepath.Join(c.To, copyingKeys)) && !onlyLock(entries) {
		return false, problem.New(problem.Conflict, "%s is not empty", c.To).WithHint("name a new folder with --to, or remove that one")
	}
	lost, _ := filepath.Glob(run.StateDir(c.From, "*.lost-*")) // the pattern is sound
	if len(lost) > 0 {
		return false, problem.New(problem.Damaged, "a log of %s lost its end: %s", c.From, filepath.Base(lost[0])).
			WithHint("put a backup back, or remove that folder to accept the loss, and begin again: the copy would hide it")
	}
	return false, nil
}

// onlyLock: a run was killed before it made anything but the lock of the new folder.
func onlyLock(entries []fs.DirEntry) bool {
	for _, e := range entries {
		if e.Name() != "lock" {
			return false
		}
	}
	return true
}

func overlap(a, b string) bool {
	inside := func(path, dir string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
	}
	return inside(a, b) || inside(b, a)
}

// room refuses a disk that the copy would fill: it takes what the store takes, and a tenth more while it is made.
func (c Config) room() error {
	store, err := sizeOf(run.StoreDir(c.From))
	if err != nil {
		return err
	}
	made, err := sizeOf(run.StoreDir(c.To)) // by a run that was cut short
	if err != nil {
		return err
	}
	u, err := c.Look(c.To)
	if err != nil {
		return fmt.Errorf("look for room: %w", err)
	}
	if u.Unwritable != nil {
		return problem.New(problem.Invalid, "%s cannot be written: %v", c.To, u.Unwritable).WithHint("name another folder with --to")
	}
	wanted := c.Limits.Again(u.Total)
	if full := store + store/10; full > made {
		wanted += full - made
	}
	if u.Free < wanted {
		return problem.New(problem.NoSpace, "the copy needs %s on the disk of %s, and %s are free", space.Format(wanted), c.To, space.Format(u.Free)).
			WithHint("make room, or name a folder on a larger disk with --to; what must stay free is set by --min-free and --min-free-percent")
	}
	return nil
}

// prepareKeys makes the new key file, or brings to one that is there what `config` did to the old one since.
func (c Config) prepareKeys(path string) error {
	keys, err := keyring.Load(filepath.Join(c.From, run.KeyFile))
	if err != nil {
		return err
	}
	if !exists(path) {
		return keys.CopyWithNewKeys(path, c.DEK, run.Me())
	}
	made, err := keyring.Load(path)
	if err != nil {
		return err
	}
	return made.CarryActs(keys)
}

// prepare makes the new key file and copies what the new server must know of accounts. Both are there already if a run was cut short.
func (c Config) prepare() error {
	if err := os.Chmod(c.To, 0o700); err != nil { // it may have been there before, empty
		return fmt.Errorf("make the new folder its owner's alone: %w", err)
	}
	path := filepath.Join(c.To, copyingKeys)
	if err := c.prepareKeys(path); err != nil {
		return run.KeyProblem(err)
	}
	from, to := run.AccountsDir(c.From), run.AccountsDir(c.To)
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("copy the accounts: %w", err)
	}
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy the accounts: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return fmt.Errorf("copy the accounts: %w", err)
			}
		}
	}
	return nil
}

// settle gives the old folder up and puts the new one in its place.
func (c Config) settle() error {
	c.Progress("flushing the new store")
	if err := flushAll(c.To); err != nil {
		return err
	}
	if config := filepath.Join(c.From, configFile); exists(config) {
		if err := copyFile(config, filepath.Join(c.To, configFile)); err != nil {
			return fmt.Errorf("copy the settings: %w", err)
		}
	}
	c.Progress("keeping the DEK for the new folder")
	if err := c.Keep(); err != nil {
		return err
	}
	c.Progress("giving up %s", c.From)
	if err := run.MoveTo(c.From, c.To); err != nil {
		return err
	}
	c.Progress("taking up %s", c.To)
	if err := os.Rename(filepath.Join(c.To, copyingKeys), filepath.Join(c.To, run.KeyFile)); err != nil {
		return fmt.Errorf("put the new key file in place: %w", err)
	}
	return flush(c.To)
}
