package importer

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// csvReader reads CSV as encoding/csv does, with a bound on the length of a row.
type csvReader struct {
	guard   *guard
	csv     *csv.Reader
	columns []string
	index   map[string]int
	line    uint64 // where the row read last begins
	after   uint64 // where the row behind it begins
	number  uint64
}

// guard counts the bytes that one row takes out of the file and ends the reading when there are too many; else encoding/csv would take a file
// without line ends, or with an open quote, into memory whole.
type guard struct {
	in       *bufio.Reader
	left     int   // bytes that the present row may still take
	total    int64 // bytes read
	last     byte  // the last byte read
	overflow bool
}

func (g *guard) Read(p []byte) (int, error) {
	if g.left <= 0 {
		g.overflow = true
		return 0, errors.New("row is too long")
	}
	n, err := g.in.Read(p)
	g.left, g.total = g.left-n, g.total+int64(n)
	if n > 0 {
		g.last = p[n-1]
	}
	return n, err
}

func newCSVReader(in io.Reader, comma rune) (*csvReader, error) {
	g := &guard{in: bufio.NewReaderSize(in, 64<<10)}
	if err := skipMark(g.in); err != nil {
		return nil, err
	}
	r := &csvReader{guard: g, csv: csv.NewReader(g), after: 1}
	r.csv.FieldsPerRecord = -1
	if comma != 0 {
		r.csv.Comma = comma
	}
	header, err := r.read()
	var parse *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return nil, problem.New(problem.Malformed, "line 1: the file is empty").WithHint("the first line of a CSV file names its columns")
	case errors.As(err, &parse):
		return nil, problem.New(problem.Malformed, "line %d, column %d: the header cannot be read: %v", parse.Line, parse.Column, parse.Err).
			WithHint("is it CSV? A name that holds a quote stands in quotes, and the quote in it is written twice")
	case err != nil:
		return nil, err
	}
	r.columns = header
	return r, r.indexColumns()
}

// indexColumns finds the place of each column; one that stands twice has none, so that no mapping can mean it.
func (r *csvReader) indexColumns() error {
	r.index = make(map[string]int, len(r.columns))
	for i, name := range r.columns {
		if !utf8.ValidString(name) {
			return problem.New(problem.Malformed, "line 1: the name of column %d is not valid UTF-8", i+1).WithHint("convert the file to UTF-8")
		}
		if _, twice := r.index[name]; twice {
			r.index[name] = -1
			continue
		}
		r.index[name] = i
	}
	return nil
}

func (r *csvReader) header() []string { return r.columns }

// read reads one record. A *csv.ParseError is about this row alone; a *problem.Problem, or another error, is about the file.
func (r *csvReader) read() ([]string, error) {
	r.guard.left = MaxRowBytes
	record, err := r.csv.Read()
	var parse *csv.ParseError
	switch {
	case r.guard.overflow:
		return nil, tooLong(r.after)
	case errors.As(err, &parse):
		r.line, r.after = uint64(parse.StartLine), uint64(parse.Line)+1
		if errors.Is(parse.Err, csv.ErrQuote) && r.atEnd() {
			return nil, problem.New(problem.Malformed, "line %d: the file ends inside a quoted cell", r.line).
				WithHint("the file is cut off, or a quote is opened and not closed; nothing was imported")
		}
		return nil, err
	case err != nil:
		return nil, err
	}
	first, _ := r.csv.FieldPos(0)
	last, _ := r.csv.FieldPos(len(record) - 1)
	r.line = uint64(first)
	r.after = uint64(last+strings.Count(record[len(record)-1], "\n")) + 1
	return record, nil
}

// atEnd reports whether nothing is left in the file behind the row read last.
func (r *csvReader) atEnd() bool {
	if r.csv.InputOffset() != r.guard.total {
		return false
	}
	_, err := r.guard.in.Peek(1)
	return errors.Is(err, io.EOF)
}

func (r *csvReader) next() (row, error) {
	record, err := r.read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		return r.broken(problem.New(problem.Malformed, "line %d, column %d: %v", parse.Line, parse.Column, parse.Err).
			WithHint("a cell that holds a quote stands in quotes, and the quote in it is written twice")), nil
	case err != nil:
		return row{}, err
	case len(record) != len(r.columns):
		return r.wrongCount(len(record))
	}
	size := 0
	for i, text := range record {
		size += len(text)
		if !utf8.ValidString(text) {
			return r.broken(problem.New(problem.Malformed, "line %d: the cell %q is not valid UTF-8", r.line, r.columns[i]).WithHint("convert the file to UTF-8")), nil
		}
	}
	r.number++
	return row{number: r.number, line: r.line, size: size, cells: r.lookup(record)}, nil
}

func (r *csvReader) lookup(record []string) func(string) cell {
	return func(column string) cell {
		i, ok := r.index[column]
		if !ok || i < 0 {
			return cell{kind: absentCell}
		}
		return cell{text: record[i], kind: textCell}
	}
}

func (r *csvReader) broken(p *problem.Problem) row {
	r.number++
	return row{number: r.number, line: r.line, broken: p}
}

// wrongCount tells a broken row from a file that is cut off: there the last row has too few cells and no end of line.
func (r *csvReader) wrongCount(got int) (row, error) {
	p := problem.New(problem.Malformed, "line %d: %d cells, the header has %d", r.line, got, len(r.columns))
	if got < len(r.columns) && r.guard.last != '\n' && r.atEnd() {
		p.Detail += ", and the file ends there without an end of line"
		return row{}, p.WithHint("the file is cut off: copy it again; nothing was imported")
	}
	return r.broken(p.WithHint("a cell that holds the separator stands in quotes")), nil
}
