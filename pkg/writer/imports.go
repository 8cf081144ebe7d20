package writer

import (
	"context"
	"fmt"
	"regexp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// ImportState is which rows of a file are stored. Ranges are `a-b` with both ends, or `a`, in ascending order, separated by commas.
type ImportState struct {
	File      string `json:"file"` // SHA-256 of the file, lower-case hexadecimal
	Aggregate string `json:"aggregate"`
	Ranges    string `json:"ranges"`
	Rows      uint64 `json:"rows"`
}

var (
	fileDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	rowRanges  = regexp.MustCompile(`^([1-9][0-9]*(-[1-9][0-9]*)?(,[1-9][0-9]*(-[1-9][0-9]*)?)*)?$`)
)

// Import says what of a file is done; nothing is, if it was never imported.
func (w *Writer) Import(file string) (ImportState, *problem.Problem) {
	if !fileDigest.MatchString(file) {
		return ImportState{}, problem.New(problem.Malformed, "file %.80q is no SHA-256 digest in lower-case hexadecimal", file)
	}
	w.sys.mu.Lock()
	defer w.sys.mu.Unlock()
	s := ImportState{File: file}
	if r := w.sys.rows[file]; r != nil {
		s.Aggregate, s.Ranges, s.Rows = r.Aggregate, r.Ranges, r.Rows
	}
	return s, nil
}

// RecordImport records which rows of a file are stored, in place of what was recorded before. A record of fewer rows is refused: rows never become undone.
func (w *Writer) RecordImport(ctx context.Context, c *token.Claims, s ImportState) *problem.Problem {
	if _, p := w.Import(s.File); p != nil {
		return p
	}
	if !rowRanges.MatchString(s.Ranges) {
		return problem.New(problem.Malformed, "ranges %.80q are not like 1-500,502-900", s.Ranges)
	}
	if !c.Allows(token.ActionWrite, s.Aggregate) {
		return problem.New(problem.Forbidden, "the token of %s does not allow writing %q", c.Actor(), s.Aggregate)
	}
	p := w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		old, _ := w.Import(s.File)
		if old.Rows > s.Rows {
			return nil, problem.New(problem.Conflict, "%d rows of the file are recorded as done, this says %d", old.Rows, s.Rows).WithHint("another import of the same file is under way; let one end first")
		}
		return oneEvent(typeImport, s.File, eventRowsDone, map[string]string{"aggregate": s.Aggregate, "ranges": s.Ranges, "rows": fmt.Sprint(s.Rows)}), nil
	})
	return p
}
