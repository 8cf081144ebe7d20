package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// RejectFile writes rejected rows as NDJSON. A run without rejects makes no file, and empties one that an earlier run left. It is for one goroutine.
type RejectFile struct {
	path string
	file *os.File
	out  *bufio.Writer
}

// NewRejectFile names the file; nothing is written yet.
func NewRejectFile(path string) *RejectFile { return &RejectFile{path: path} }

// Spare refuses a file of rejected rows that is one of the given files, under whatever name or link: it would be overwritten. Empty paths, and paths
// where nothing is, are passed over. The error is a *problem.Problem with code malformed.
func (f *RejectFile) Spare(paths ...string) error {
	own, err := os.Stat(f.path)
	if err != nil {
		return nil // nothing is there to be overwritten, or Write says what is wrong
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil && os.SameFile(own, info) {
			return problem.New(problem.Malformed, "the file of rejected rows, %s, would overwrite %s", f.path, path).
				WithHint("give another file with --rejects; nothing was imported")
		}
	}
	return nil
}

// Write appends one reject.
func (f *RejectFile) Write(r Reject) error {
	if f.file == nil {
		file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // rows may hold what is not for everybody
		if err != nil {
			return fmt.Errorf("create the file of rejected rows: %w", err)
		}
		f.file, f.out = file, bufio.NewWriter(file)
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = f.out.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", f.path, err)
	}
	return nil
}

// Close flushes what was written. It must be called once, at the end of the run.
func (f *RejectFile) Close() error {
	if f.file == nil {
		if err := os.Truncate(f.path, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("empty the file of rejected rows: %w", err)
		}
		return nil
	}
	err := f.out.Flush()
	if closing := f.file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", f.path, err)
	}
	return nil
}
