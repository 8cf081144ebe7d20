package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ranges is a set of row numbers, kept as ascending ranges that do not touch. The zero value is empty. It is not safe for concurrent use.
type Ranges struct {
	spans []span
	rows  uint64
}

// span is the rows from first to last, both included.
type span struct{ first, last uint64 }

// ParseRanges reads the text form, for example "1-500,502-900"; "" is the empty set. Ranges may come in any order and overlap;
// row 0, a range that descends and anything else is an error.
func ParseRanges(s string) (*Ranges, error) {
	r := &Ranges{}
	if s == "" {
		return r, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 63)
		last, err2 := strconv.ParseUint(high, 10, 63)
		if err1 != nil || err2 != nil || first == 0 || last < first {
			return nil, fmt.Errorf("row range %.40q is not N or N-M with 1 <= N <= M", part)
		}
		r.addSpan(span{first, last})
	}
	return r, nil
}

// Add puts one row into the set; twice is as good as once.
func (r *Ranges) Add(row uint64) { r.addSpan(span{row, row}) }

// addSpan merges s with every span that it overlaps or touches.
func (r *Ranges) addSpan(s span) {
	from, _ := slices.BinarySearchFunc(r.spans, s.first, func(have span, first uint64) int {
		if have.last+1 < first {
			return -1
		}
		return 1
	})
	to := from
	for ; to < len(r.spans) && r.spans[to].first <= s.last+1; to++ {
		s.first, s.last = min(s.first, r.spans[to].first), max(s.last, r.spans[to].last)
		r.rows -= r.spans[to].last - r.spans[to].first + 1
	}
	r.spans = slices.Replace(r.spans, from, to, s)
	r.rows += s.last - s.first + 1
}

// Contains reports whether the row is in the set.
func (r *Ranges) Contains(row uint64) bool {
	_, found := slices.BinarySearchFunc(r.spans, row, func(have span, row uint64) int {
		switch {
		case have.last < row:
			return -1
		case have.first > row:
			return 1
		}
		return 0
	})
	return found
}

func (r *Ranges) clone() *Ranges { return &Ranges{spans: slices.Clone(r.spans), rows: r.rows} }

// Rows is the number of rows in the set.
func (r *Ranges) Rows() uint64 { return r.rows }

// String is the text form that ParseRanges reads.
func (r *Ranges) String() string {
	var b strings.Builder
	for i, s := range r.spans {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(s.first, 10))
		if s.last > s.first {
			b.WriteByte('-')
			b.WriteString(strconv.FormatUint(s.last, 10))
		}
	}
	return b.String()
}
