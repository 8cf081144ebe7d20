package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A state that has seen more than its log holds, or another block at its place, shows that the log has lost what was acknowledged: it is written behind the
// acknowledgement only. It is kept beside the states as evidence, renamed to <log>.lost-<UTC time>, one a log and the oldest; the log is served as it is, and its status
// names the loss until a person removes the folder.

const (
	lostMark = ".lost-"  // stands in no log's name
	lostWhy  = "why.txt" // in the folder: what was found
)

// setAside keeps the state as evidence of a loss; if there is evidence already, it is removed. In order: the folder is renamed, the reason is written. A crash between
// leaves evidence without its reason.
func (e *engine) setAside(why error) error {
	e.logger.Error().Err(why).Msg("log has lost acknowledged events; the state that shows it is kept aside")
	e.dropState()
	if e.isSystem() {
		e.sys.reset() // what it shows is gone
	}
	before, err := e.evidence()
	if err != nil {
		return err
	}
	if before != "" {
		return e.removeState()
	}
	to := e.stateDir() + lostMark + e.cfg.Now().UTC().Format("20060102T150405Z")
	if err := os.Rename(e.stateDir(), to); err != nil {
		return fmt.Errorf("keep the state aside: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, lostWhy), []byte(why.Error()+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the state aside: %w", err)
	}
	return nil
}

// evidence is the folder of the oldest state that was kept aside, or empty.
func (e *engine) evidence() (string, error) {
	entries, err := os.ReadDir(e.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for states that were kept aside: %w", err)
	}
	at := slices.IndexFunc(entries, func(d fs.DirEntry) bool { return strings.HasPrefix(d.Name(), e.name+lostMark) }) // in ascending order
	if at < 0 {
		return "", nil
	}
	return filepath.Join(e.cfg.Dir, entries[at].Name()), nil
}

// lost says what is known of a loss; empty: nothing was lost, or a person has removed the evidence.
func (e *engine) lost() string {
	dir, err := e.evidence()
	if err != nil || dir == "" {
		return ""
	}
	why, err := os.ReadFile(filepath.Join(dir, lostWhy))
	if err != nil {
		why = []byte("acknowledged events are gone")
	}
	return fmt.Sprintf("%s; the state that shows it is kept in %s", strings.TrimSpace(string(why)), dir)
}
