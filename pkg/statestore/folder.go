package statestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// formatVersion is the layout of the folder and of Badger's keys. It only goes up; a higher one is refused by name.
const formatVersion = 1

// maxAttempts is how many processes may end while they open a store before it is doubted: damage can end a process inside Badger.
const maxAttempts = 3

// folder is the locked folder of a store.
type folder struct {
	dir  string
	lock *os.File
	mark mark
}

// mark is the content of state.json.
type mark struct {
	Format   int    `json:"format"`
	Open     bool   `json:"open"`            // set before Badger opens, cleared when it has closed
	Boot     string `json:"boot,omitempty"`  // the boot of the machine in which it was opened
	Attempts int    `json:"attempts"`        // openings begun since the last one that came to an end
	Files    string `json:"files,omitempty"` // names and sizes of the files after the last clean close
}

func (f *folder) db() string       { return filepath.Join(f.dir, "db") }
func (f *folder) markPath() string { return filepath.Join(f.dir, "state.json") }

func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	return &folder{dir: dir, lock: lock}, nil
}

// release gives the lock up.
func (f *folder) release() { _ = f.lock.Close() } // closing ends the lock whatever it answers

// begin judges how the store was left and marks it open. Each rule is about a way to lose part of the content without a trace.
func (f *folder) begin() error {
	m, err := f.readMark()
	if err != nil {
		return err
	}
	boot := bootID()
	switch {
	case m.Format > formatVersion:
		return fmt.Errorf("the store has format %d, this program knows %d: %w", m.Format, formatVersion, ErrDoubted)
	case m.Open && (boot == "" || m.Boot != boot):
		return fmt.Errorf("the machine went down while the store was open: %w", ErrDoubted)
	case m.Attempts >= maxAttempts:
		return fmt.Errorf("opening the store ended the process %d times: %w", m.Attempts, ErrDoubted)
	case !m.Open && m.Files != f.files():
		return fmt.Errorf("files of the store changed while it was closed: %w", ErrDoubted)
	}
	f.mark = mark{Format: formatVersion, Open: true, Boot: boot, Attempts: m.Attempts + 1}
	return f.writeMark()
}

// opened marks that opening came to its end.
func (f *folder) opened() error {
	f.mark.Attempts = 0
	return f.writeMark()
}

// end marks the store closed.
func (f *folder) end() error {
	f.mark = mark{Format: formatVersion, Files: f.files()}
	return f.writeMark()
}

// files lists names and sizes in the folder of Badger, as text.
func (f *folder) files() string {
	entries, err := os.ReadDir(f.db())
	if err != nil {
		return ""
	}
	var list []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list = append(list, fmt.Sprintf("%s:%d", e.Name(), info.Size()))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// readMark gives the mark; a folder without one is new, and must hold nothing.
func (f *folder) readMark() (m mark, err error) {
	raw, err := os.ReadFile(f.markPath())
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	}
	if err != nil {
		return m, fmt.Errorf("read mark: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read mark: %w: %w", err, ErrDoubted)
	}
	return m, nil
}

// writeMark replaces state.json. The file is synced before it is renamed: an empty one would be doubted after a power cut, which is right, but cost a rebuild.
func (f *folder) writeMark() error {
	raw, err := json.Marshal(f.mark)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	temp := f.markPath() + ".new"
	if err := writeSynced(temp, raw); err != nil {
		return fmt.Errorf("write mark: %w", err)
	}
	if err := os.Rename(temp, f.markPath()); err != nil {
		return fmt.Errorf("write mark: %w", err)
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

// Remove deletes the store in a folder; a folder that does not exist is no error. ErrLocked if it is open. A folder with other content than a store's is left alone.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove state store: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains([]string{"db", "lock", "state.json", "state.json.new"}, e.Name()) {
			return fmt.Errorf("remove state store %s: it holds %s, which is no part of a state store", dir, e.Name())
		}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("remove state store %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove state store: %w", err)
	}
	return nil
}
