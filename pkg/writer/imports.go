package writer

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// ImportState is which rows of a file are stored as events of one type. Ranges are `a-b` with both ends, or `a`, in ascending order, separated by commas.
type ImportState struct {
	File      string `json:"file"` // SHA-256 of the file, lower-case hexadecimal
	Aggregate string `json:"aggregate"`
	Ranges    string `json:"ranges"`
	Rows      uint64 `json:"rows"` // in the ranges
}

// maxRow is the highest row number that can be recorded.
const maxRow = 1_000_000_000_000

var (
	fileDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	rowRanges  = regexp.MustCompile(`^([1-9][0-9]*(-[1-9][0-9]*)?(,[1-9][0-9]*(-[1-9][0-9]*)?)*)?$`)
)

// importID names the record of a file that is imported into a type. Earlier versions had one record for each file, under its digest alone.
func importID(file, aggregateType string) string { return file + "/" + aggregateType }

// Import says what of a file is done in a type; nothing is, if it was never imported there.
func (w *Writer) Import(file, aggregateType string) (ImportState, *problem.Problem) {
	if !fileDigest.MatchString(file) {
		return ImportState{}, problem.New(problem.Malformed, "file %.80q is no SHA-256 digest in lower-case hexadecimal", file)
	}
	w.sys.mu.Lock()
	defer w.sys.mu.Unlock()
	s := ImportState{File: file}
	r := w.sys.rows[importID(file, aggregateType)]
	if older := w.sys.rows[file]; r == nil && older != nil && older.Aggregate == aggregateType {
		r = older
	}
	if r != nil {
		s.Aggregate, s.Ranges, s.Rows = r.Aggregate, r.Ranges, r.Rows
	}
	return s, nil
}

// ImportOf is Import for whoever may know it: a token that may write every aggregate of the type, or administer it.
func (w *Writer) ImportOf(c *token.Claims, file, aggregateType string) (ImportState, *problem.Problem) {
	if p := mayImport(c, aggregateType); p != nil && !c.Allows(token.ActionAdmin, aggregateType) {
		return ImportState{}, p
	}
	return w.Import(file, aggregateType)
}

// mayImport: rows that are on record are left out by everybody who imports the file into the type, so the record is for who may write all of it.
func mayImport(c *token.Claims, aggregateType string) *problem.Problem {
	if c.Allows(token.ActionWrite, aggregateType) && len(c.AggregateIDs) == 0 {
		return nil
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow writing every aggregate of %.40q", c.Actor(), aggregateType).WithHint("an import needs a token that may write the whole type")
}

// RecordImport records which rows of a file are stored, in place of what was recorded before for the file and the type: rows never become undone.
func (w *Writer) RecordImport(ctx context.Context, c *token.Claims, s ImportState) *problem.Problem {
	if p := mayImport(c, s.Aggregate); p != nil {
		return p
	}
	if _, p := w.Import(s.File, s.Aggregate); p != nil {
		return p
	}
	done, p := parseRows(s.Ranges)
	if p != nil {
		return p
	}
	if n := done.rows(); n != s.Rows {
		return problem.New(problem.Malformed, "ranges %.80q are %d rows, and rows says %d", s.Ranges, n, s.Rows)
	}
	return w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		old, _ := w.Import(s.File, s.Aggregate)
		if before, p := parseRows(old.Ranges); p == nil && !done.cover(before) { // what an earlier version let in may not parse
			return nil, problem.New(problem.Conflict, "of the file %d rows are recorded as done that are not among the %d of this", old.Rows, s.Rows).WithHint("another import of the same file is under way; let one end first")
		}
		return oneEvent(typeImport, importID(s.File, s.Aggregate), eventRowsDone, map[string]string{"aggregate": s.Aggregate, "ranges": s.Ranges, "rows": fmt.Sprint(s.Rows)}), nil
	})
}

// rowSpans are row numbers, from first to last, in ascending order.
type rowSpans [][2]uint64

func parseRows(text string) (all rowSpans, p *problem.Problem) {
	bad := problem.New(problem.Malformed, "ranges %.80q are not like 1-500,502-900, ascending, up to %d", text, uint64(maxRow))
	if !rowRanges.MatchString(text) {
		return nil, bad
	}
	if text == "" {
		return nil, nil
	}
	after := uint64(0)
	for one := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(one, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 64)
		last, err2 := strconv.ParseUint(high, 10, 64)
		if err != nil || err2 != nil || first <= after || last < first || last > maxRow {
			return nil, bad
		}
		all, after = append(all, [2]uint64{first, last}), last
	}
	return all, nil
}

func (s rowSpans) rows() (n uint64) {
	for _, one := range s {
		n += one[1] - one[0] + 1
	}
	return n
}

// cover reports whether every row of others is in s.
func (s rowSpans) cover(others rowSpans) bool {
	i := 0
	for _, o := range others {
		for first := o[0]; first <= o[1]; first = s[i][1] + 1 {
			for i < len(s) && s[i][1] < first {
				i++
			}
			if i == len(s) || s[i][0] > first {
				return false
			}
		}
	}
	return true
}
