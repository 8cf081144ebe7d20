package natsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/problem"
)

const maxBody = 1 << 20 // bytes of the body of a query or act

// body reads the JSON body of a query or act; an empty one is an empty object.
func (r request) body(into any) *problem.Problem {
	p := readBody(r.Data(), into)
	if p != nil && p.Hint == "" {
		p = p.WithHint("docs/spec/commands.md says what the body of %.80q holds", r.Subject())
	}
	return p
}

// numbers reads a body of nothing but whole numbers under two keys, without white space, as programs send it: that is cheap. ok is false for any other
// body, which readBody judges.
func numbers(data []byte, first, second string) (a, b uint64, ok bool) {
	rest, ok := strings.CutPrefix(string(data), "{")
	for values := map[string]*uint64{first: &a, second: &b}; ok; {
		var key, digits string
		if rest, ok = strings.CutPrefix(rest, `"`); !ok {
			break
		}
		if key, rest, ok = strings.Cut(rest, `":`); !ok || values[key] == nil {
			return 0, 0, false
		}
		end := strings.IndexAny(rest, ",}")
		if end < 1 || end > 18 || rest[0] == '0' && end > 1 || strings.Trim(rest[:end], "0123456789") != "" {
			return 0, 0, false
		}
		if digits, rest = rest[:end], rest[end:]; rest == "}" {
			rest = ""
		}
		*values[key], _ = strconv.ParseUint(digits, 10, 64) // up to 18 digits always are a number
		values[key] = nil
		if rest == "" {
			return a, b, true
		}
		rest, ok = strings.CutPrefix(rest, ",")
	}
	return 0, 0, false
}

func readBody(data []byte, into any) *problem.Problem {
	if len(data) > maxBody {
		return problem.New(problem.TooLarge, "the body has %d bytes, at most %d are allowed", len(data), maxBody).WithHint("send less at once")
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil
	}
	switch {
	case data[0] != '{':
		return problem.New(problem.Malformed, "the body is no JSON object")
	case !utf8.Valid(data):
		return problem.New(problem.Malformed, "the body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return unreadable(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem.New(problem.Malformed, "the body has something behind its JSON object")
	}
	return checkKeys(data)
}

// unreadable words an error of encoding/json for whoever sent the body.
func unreadable(err error) *problem.Problem {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return problem.New(problem.Malformed, "the body: %s is %s, where %s is wanted", kind.Field, article(kind.Value), wanted(kind.Type))
	case errors.As(err, &syntax):
		return problem.New(problem.Malformed, "the body is no JSON at byte %d: %v", syntax.Offset, syntax)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(problem.Malformed, "the body ends in the middle of its JSON object")
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return problem.New(problem.Malformed, "the body: %.80s is unknown here", name)
	}
	return problem.New(problem.Malformed, "the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// article names what encoding/json found: `string`, `number -1`, `array` …
func article(found string) string {
	switch {
	case found == "bool":
		return "true or false"
	case strings.HasPrefix(found, "number "):
		return "the " + found
	case found == "array" || found == "object":
		return "an " + found
	default:
		return "a " + found
	}
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0"
	default:
		return "a whole number"
	}
}

// checkKeys refuses what encoding/json lets pass in a valid object: a key that stands twice, at any depth, and one of ours in another spelling.
func checkKeys(object []byte) *problem.Problem {
	d := json.NewDecoder(bytes.NewReader(object))
	var open []map[string]bool // the keys so far of each object that is open; nil for an array
	key := false               // the next string may be a key
	for {
		t, err := d.Token()
		if err != nil {
			return nil // the end: the object was read before
		}
		switch v := t.(type) {
		case json.Delim:
			switch v {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
		case string:
			if !key {
				break
			}
			seen := open[len(open)-1]
			if seen[v] {
				return problem.New(problem.Malformed, "the body: the key %.80q stands twice", v).WithHint("send it once")
			}
			if len(open) == 1 && strings.Trim(v, "abcdefghijklmnopqrstuvwxyz-") != "" {
				return problem.New(problem.Malformed, "the body: %.80q is unknown here", v)
			}
			seen[v] = true
			key = false
			continue
		}
		key = len(open) > 0 && open[len(open)-1] != nil
	}
}
