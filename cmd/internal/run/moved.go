package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// movedFile says, in a data folder that was given up, where the site went.
const movedFile = "moved-to"

// MoveTo notes, for good, that a data folder was copied to another one and is given up: no server starts on it any more.
func MoveTo(dir, to string) error {
	path := filepath.Join(dir, movedFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("give up %s: %w", dir, err)
	}
	_, err = f.WriteString(to + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("give up %s: %w", dir, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("give up %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// MovedTo is where a data folder was copied to; empty: it was not given up.
func MovedTo(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, movedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look whether the data folder was given up: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// checkMoved refuses a data folder that was given up.
func checkMoved(dir string) error {
	to, err := MovedTo(dir)
	if err != nil || to == "" {
		return err
	}
	p := problem.New(problem.Conflict, "%s was copied to %s under new keys, and given up", dir, to)
	if !Configured(to) {
		return p.WithHint("run `eventful store:reencrypt --to=%s` again: it was cut short. To go on with this folder instead, remove %s and the file %s", to, to, filepath.Join(dir, movedFile))
	}
	return p.WithHint("start the server there with --data-dir %s; this folder is yours to delete. Two servers with one history would go apart", to)
}
