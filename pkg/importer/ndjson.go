package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// ndjsonReader reads one JSON object a line; empty lines are no rows. Numbers keep the characters they are written in.
type ndjsonReader struct {
	in     *bufio.Reader
	marked bool // the start of the file was looked at
	line   uint64
	number uint64
}

func newNDJSONReader(in io.Reader) *ndjsonReader {
	return &ndjsonReader{in: bufio.NewReaderSize(in, 64<<10)}
}

func (r *ndjsonReader) header() []string { return nil }

func (r *ndjsonReader) next() (row, error) {
	if !r.marked {
		r.marked = true
		if err := skipMark(r.in); err != nil {
			return row{}, err
		}
	}
	for {
		text, ended, err := r.readLine()
		if err != nil {
			return row{}, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return r.rowOf(text, ended)
		}
	}
}

// readLine reads up to the end of line; ended is false if the file ends before it.
func (r *ndjsonReader) readLine() (text []byte, ended bool, err error) {
	r.line++
	for {
		part, err := r.in.ReadSlice('\n')
		if len(text)+len(part) > MaxRowBytes {
			return nil, false, tooLong(r.line)
		}
		text = append(text, part...)
		switch {
		case err == nil:
			return text, true, nil
		case errors.Is(err, io.EOF) && len(text) > 0:
			return text, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}

func (r *ndjsonReader) rowOf(text []byte, ended bool) (row, error) {
	cells, err := decodeObject(text)
	if errors.Is(err, io.ErrUnexpectedEOF) && !ended {
		return row{}, problem.New(problem.Malformed, "line %d: the file ends inside a JSON object", r.line).
			WithHint("the file is cut off: copy it again; nothing was imported")
	}
	r.number++
	out := row{number: r.number, line: r.line, size: len(text)}
	if err != nil {
		out.broken = problem.New(problem.Malformed, "line %d: %v", r.line, err).WithHint("each line is one JSON object, such as {\"id\": \"A\", \"crp\": 21.0}")
		return out, nil
	}
	out.cells = func(column string) cell {
		if c, ok := cells[column]; ok {
			return c
		}
		return cell{kind: absentCell}
	}
	return out, nil
}

// decodeObject reads one JSON object (RFC 8259) strictly: a key that stands twice, bad UTF-8, a lone surrogate, or anything behind it is an error.
func decodeObject(text []byte) (map[string]cell, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not valid UTF-8")
	}
	if at := loneSurrogate(text); at >= 0 {
		return nil, fmt.Errorf("byte %d: a lone surrogate escape", at+1)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if t, err := d.Token(); err != nil {
		return nil, cut(err)
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	cells := map[string]cell{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, cut(err)
		}
		name, _ := key.(string) // inside an object the decoder gives string keys only
		if _, twice := cells[name]; twice {
			return nil, fmt.Errorf("the key %.80q stands twice", name)
		}
		if cells[name], err = decodeValue(d); err != nil {
			return nil, cut(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, cut(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands behind the JSON object")
	}
	return cells, nil
}

func decodeValue(d *json.Decoder) (cell, error) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return cell{}, err
	}
	switch raw[0] {
	case '{', '[':
		return cell{kind: nestedCell}, nil
	case 'n':
		return cell{kind: nullCell}, nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return cell{text: s, kind: textCell}, err
	}
	return cell{text: string(raw), kind: textCell}, nil // number, true or false: as it is written
}

// cut makes the end of the input inside an object one error, whichever way the decoder says it.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// loneSurrogate finds a \uD800 to \uDFFF escape without its other half, which encoding/json would silently replace; -1 if there is none.
func loneSurrogate(text []byte) int {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r := escapeAt(text, i)
		if !utf16.IsSurrogate(r) {
			i++ // the escaped character is no start of an escape
			continue
		}
		if utf16.DecodeRune(r, escapeAt(text, i+6)) == utf8.RuneError {
			return i
		}
		i += 11
	}
	return -1
}

// escapeAt reads the \uXXXX at i, or gives -1.
func escapeAt(text []byte, i int) rune {
	if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
		return -1
	}
	v, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(v)
}
