package importer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Format is how a file holds its rows.
type Format string

const (
	CSV    Format = "csv"    // RFC 4180 with a header line; quotes, CRLF and a byte order mark are understood
	NDJSON Format = "ndjson" // one JSON object a line; a number is taken as the text it is written in
)

// MaxRowBytes is how long one row of a file may be, in bytes. A longer one makes the whole file refused, without being read into memory.
const MaxRowBytes = 4 << 20

// cell is the content of one column in one row.
type cell struct {
	text string
	kind cellKind
}

type cellKind int

const (
	textCell   cellKind = 1
	nullCell   cellKind = 2 // JSON null
	nestedCell cellKind = 3 // JSON object or array
	absentCell cellKind = 4 // the row has no such key
)

// row is one row of a file as it was read.
type row struct {
	number uint64 // from 1; the header is not counted, a broken row is
	line   uint64 // of the file, from 1, where the row begins
	size   int    // bytes, about
	cells  func(column string) cell
	broken *problem.Problem // why it cannot be read; cells is nil then
}

// rowReader gives the rows of a file in order, then io.EOF. Any other error is about the file as a whole.
type rowReader interface {
	next() (row, error)
	header() []string // nil where the format has none
}

func newRowReader(r io.Reader, format Format, comma rune) (rowReader, error) {
	switch format {
	case CSV:
		return newCSVReader(r, comma)
	case NDJSON:
		return newNDJSONReader(r), nil
	}
	return nil, problem.New(problem.Malformed, "import format %q does not exist", format).WithHint("use csv or ndjson")
}

// File is a file that was read once, from start to end, before anything is imported from it: so its digest and its number of rows are known, and a
// file that is cut off, or has an endless row, is refused while nothing is stored.
type File struct {
	Path   string
	Format Format
	Comma  rune     // between the cells of CSV; 0 means ','
	Digest string   // SHA-256 of its bytes, 64 lower-case hexadecimal digits
	Header []string // CSV: its columns
	Rows   uint64   // with broken ones
	Bytes  int64

	first uint64 // line of the first row
}

// Stopped is the error of a run that could not even begin: nothing of the file, from its first row on, was sent. It keeps the code of its cause.
func (f *File) Stopped(cause error) error {
	return stopped(where(1, f.first)+", before anything was sent", cause)
}

// OpenFile reads the whole file once. Memory use does not depend on its size. Errors are *problem.Problem: not_found, or malformed with the line.
func OpenFile(ctx context.Context, path string, format Format, comma rune) (*File, error) {
	f := &File{Path: path, Format: format, Comma: comma}
	in, err := f.open()
	if err != nil {
		return nil, err
	}
	defer in.close()
	rows, err := newRowReader(in, format, comma)
	if err != nil {
		return nil, f.wrap(err)
	}
	f.Header = rows.header()
	for {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read %s: %w", path, ctx.Err())
		}
		r, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, f.wrap(err)
		}
		if f.Rows++; f.Rows == 1 {
			f.first = r.line
		}
	}
	f.Digest, f.Bytes = in.digest(), in.bytes
	if f.Rows == 0 {
		return nil, problem.New(problem.Malformed, "%s has no rows", path).WithHint("give a file with at least one row")
	}
	return f, nil
}

func (f *File) wrap(err error) error {
	p := problem.From(err)
	if p.Code == problem.Internal {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	p.Detail = f.Path + ": " + p.Detail
	return p
}

// input is an open file that hashes what is read from it.
type input struct {
	file  *os.File
	hash  hash.Hash
	bytes int64
}

func (f *File) open() (*input, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, problem.New(problem.NotFound, "open the file to import: %v", err).WithHint("give the path of a file that you may read")
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = file.Close() // opened for reading only
		return nil, problem.New(problem.Malformed, "%s is no regular file", f.Path).WithHint("an import reads its file twice; save the rows to a file first")
	}
	return &input{file: file, hash: sha256.New()}, nil
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.file.Read(p)
	in.hash.Write(p[:n])
	in.bytes += int64(n)
	return n, err
}

func (in *input) digest() string { return hex.EncodeToString(in.hash.Sum(nil)) }

func (in *input) close() { _ = in.file.Close() } // opened for reading only

var (
	utf8Mark   = []byte{0xEF, 0xBB, 0xBF}
	utf16Marks = [][]byte{{0xFF, 0xFE}, {0xFE, 0xFF}}
)

// skipMark steps over a UTF-8 byte order mark and refuses UTF-16.
func skipMark(r *bufio.Reader) error {
	start, _ := r.Peek(len(utf8Mark)) // a shorter file has no mark
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(start, mark) {
			return problem.New(problem.Malformed, "line 1: the file is UTF-16").WithHint("convert it to UTF-8, for example with: iconv -f UTF-16 -t UTF-8")
		}
	}
	if bytes.Equal(start, utf8Mark) {
		_, err := r.Discard(len(utf8Mark))
		return err
	}
	return nil
}

func tooLong(line uint64) *problem.Problem {
	return problem.New(problem.Malformed, "line %d: a row is longer than %d bytes", line, MaxRowBytes).
		WithHint("look for a quote that is opened and not closed, or a missing end of line")
}
