package run

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const (
	actLook     = time.Second      // between two looks at the key file
	actRetry    = 5 * time.Second  // until acts that could not be entered are sent again
	actReturn   = 10 * time.Minute // until an act that was refused is sent again: the writer of the system log may have been of an older version
	actPatience = 30 * time.Second // for one act: whoever writes the system log may be changing
)

// enteredFormat is the version of the file that says which acts were entered.
const enteredFormat = 1

// entered is its content.
type entered struct {
	Format int      `json:"format"`
	Acts   []string `json:"acts"` // ids
}

// Me is who runs this program.
func Me() keyring.By {
	by := keyring.By{User: fmt.Sprintf("(%d)", os.Getuid())}
	if me, err := user.Current(); err == nil {
		by.User = fmt.Sprintf("%s(%s)", me.Username, me.Uid)
	}
	by.Host, _ = os.Hostname() // it says nothing then
	return by
}

// EnteredActs are ids of acts in the key file that stand in the system log, as the writer on this data folder noted them. Without that note there are none.
func EnteredActs(dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, enteredFile))
	var e entered
	if err != nil || json.Unmarshal(text, &e) != nil || e.Format != enteredFormat {
		return nil
	}
	return e.Acts
}

// EntersActs reports whether acts in the key file of a data folder get into the system log by themselves: a server with a writer runs on it, or a writer ran on it before.
func EntersActs(dir string) bool {
	if infoOf(filepath.Join(dir, enteredFile)) != nil {
		return true
	}
	info, err := Find(dir)
	return err == nil && info != nil && info.PID != 0 && !info.NoEngines
}

// actEntry enters what `config` did into the system log: acts that lie in the key file of this process.
//
// Side effects in order, and what a crash behind each leaves: (1) the act in the system log: it is sent again at the next start, and not stored again. (2) the note that it
// was entered, so that `config` can leave it out of the file: nothing is open.
type actEntry struct {
	dir   string
	app   string // public id of the account APP: acts are of this site
	log   zerolog.Logger
	enter func(context.Context, writer.ConfigAct) *problem.Problem

	seen    [2]os.FileInfo  // key file and config.toml as they were read
	done    map[string]bool // ids that were entered
	refused map[string]bool // ids that were refused
	noted   []string        // ids in the note; nil: not read yet
}

func (e Engines) enterActs(ctx context.Context, w *writer.Writer) error {
	select {
	case <-w.Ready():
	case <-ctx.Done():
		return nil
	}
	a := &actEntry{dir: e.Dir, app: e.Secrets.Accounts[keyring.APP].ID, log: e.Log, enter: w.EnterConfig, done: map[string]bool{}, refused: map[string]bool{}}
	again := time.NewTicker(actReturn)
	defer again.Stop()
	for said := ""; ; {
		wait, why := actLook, ""
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			wait, why = actRetry, err.Error()
		}
		if why != said && why != "" { // not again while it lasts
			e.Log.Warn().Str(zerolog.ErrorFieldName, why).Msg("acts of config could not be entered into the system log yet")
		}
		said = why
		select {
		case <-time.After(wait):
		case <-again.C:
			a.sendAgain()
		case <-ctx.Done():
			return nil
		}
	}
}

// look enters what is new in the key file. An error: something is left to do.
func (a *actEntry) look(ctx context.Context) error {
	path := filepath.Join(a.dir, KeyFile)
	now := [2]os.FileInfo{infoOf(path), infoOf(filepath.Join(a.dir, settings.File))}
	if a.seen[0] != nil && same(a.seen[0], now[0]) && same(a.seen[1], now[1]) {
		return nil
	}
	keys, err := keyring.Load(path)
	if err != nil {
		return err
	}
	if keys.AccountID(keyring.APP) != a.app {
		return fmt.Errorf("%s is of another site than this process", path)
	}
	acts, err := keys.Acts()
	if err != nil {
		a.log.Error().Err(err).Msg("acts of config could not be read")
	}
	if err := a.enterAll(ctx, acts); err != nil {
		return err
	}
	a.seen = now
	return nil
}

// sendAgain has acts that were refused sent again at the next look.
func (a *actEntry) sendAgain() {
	if len(a.refused) > 0 {
		clear(a.refused)
		a.seen = [2]os.FileInfo{}
	}
}

// infoOf is a file as it is now; nil: there is none.
func infoOf(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (a *actEntry) enterAll(ctx context.Context, acts []keyring.Act) error {
	if a.noted == nil {
		a.noted = EnteredActs(a.dir)
	}
	var here []string
	for _, act := range acts {
		if act.Pending && !settings.InForce(a.dir, act.Settings) {
			continue // config is at it, or was cut short before it changed anything
		}
		if !a.done[act.ID] && !a.refused[act.ID] {
			if err := a.enterOne(ctx, act); err != nil {
				a.note(here)
				return err
			}
		}
		if a.done[act.ID] {
			here = append(here, act.ID)
		}
	}
	a.note(here)
	return nil
}

// enterOne enters one act; what is refused is logged, and holds up no others.
func (a *actEntry) enterOne(ctx context.Context, act keyring.Act) error {
	ctx, cancel := context.WithTimeout(ctx, actPatience)
	defer cancel()
	fields := map[string]string{"user": act.User, "host": act.Host, "proved": act.Proved, "proof": act.Proof}
	if act.Settings != nil {
		text, err := json.Marshal(act.Settings)
		if err != nil {
			return fmt.Errorf("encode act %s: %w", act.ID, err)
		}
		fields["settings"] = string(text)
	}
	log := a.log.With().Str("act", act.ID).Str("event", act.Event).Str("proved", act.Proved).Logger()
	p := a.enter(ctx, writer.ConfigAct{ID: act.ID, Event: act.Event, Issuer: act.Issuer, At: act.At, Fields: fields})
	switch {
	case p == nil:
		a.done[act.ID] = true
		if slices.Contains(a.noted, act.ID) {
			return nil // it was entered before this start
		}
		log.Info().Msg("act of config was entered into the system log")
		return nil
	case p.Code == problem.Invalid, p.Code == problem.Malformed, p.Code == problem.TooLarge:
		a.refused[act.ID] = true
		log.Error().Err(p).Msg("act of config was refused by the system log")
		return nil
	}
	return fmt.Errorf("enter %s: %w", act.Event, p)
}

// note writes down which acts of the file were entered, where that says something new.
func (a *actEntry) note(ids []string) {
	if slices.Equal(a.noted, ids) {
		return
	}
	if err := writeEntered(a.dir, ids); err != nil {
		a.log.Debug().Err(err).Msg("it could not be noted which acts were entered") // they are sent again at the next start
		return
	}
	a.noted = ids
}

// writeEntered replaces the note. It is not flushed: a crash leaves the old one, the new one, or none that counts.
func writeEntered(dir string, ids []string) error {
	text, err := json.Marshal(entered{enteredFormat, ids})
	if err != nil {
		return fmt.Errorf("encode the note of entered acts: %w", err)
	}
	path := filepath.Join(dir, enteredFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("note entered acts: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("note entered acts: %w", err)
	}
	return nil
}
