package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxDepth bounds the nesting of a definition: list, definition, events, event, fields.
const maxDepth = 8

// Parse reads one definition, or a list of them, from JSON (RFC 8259). Keys are taken exactly as they are spelt: one that is unknown or stands
// twice is refused, as are invalid UTF-8, lone surrogates and anything behind the value. The error is a *problem.Problem with the code
// malformed whose Field is the path to the culprit. Whether the definitions make sense is for Check to say.
func Parse(text []byte) ([]Definition, error) {
	if !utf8.Valid(text) {
		return nil, problem.New(problem.Malformed, "a schema that is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	value, err := readValue(dec, "", 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, problem.New(problem.Malformed, "a schema with something behind its end, near byte %d", dec.InputOffset())
	}
	list, ok := value.([]any)
	if !ok {
		d, err := definition(value, "")
		return []Definition{d}, orNil(err)
	}
	out := make([]Definition, len(list))
	for i, v := range list {
		var err *problem.Problem
		if out[i], err = definition(v, fmt.Sprintf("[%d]", i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// orNil keeps a nil problem from becoming an error that is not nil.
func orNil(p *problem.Problem) error {
	if p == nil {
		return nil
	}
	return p
}

func malformed(path, format string, args ...any) *problem.Problem {
	p := problem.New(problem.Malformed, "schema: %s%s", where(path), fmt.Sprintf(format, args...))
	p.Field = path
	return p
}

func where(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// readValue reads one JSON value into nil, bool, json.Number, string, []any or map[string]any, duplicate keys refused.
func readValue(dec *json.Decoder, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, malformed(path, "nested deeper than any schema is")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, unreadable(path, dec, err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return readList(dec, path, depth)
		}
		return readObject(dec, path, depth)
	case string:
		return t, replaced(path, t)
	default:
		return t, nil
	}
}

func unreadable(path string, dec *json.Decoder, err error) *problem.Problem {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed(path, "the JSON ends early")
	}
	return malformed(path, "not JSON near byte %d: %v", dec.InputOffset(), err)
}

// replaced refuses U+FFFD, which is what encoding/json makes of a lone surrogate.
func replaced(path, s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return malformed(path, "a string with a lone surrogate, or with the replacement character U+FFFD")
	}
	return nil
}

func readList(dec *json.Decoder, path string, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := readValue(dec, fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if _, err := dec.Token(); err != nil {
		return nil, unreadable(path, dec, err)
	}
	return list, nil
}

func readObject(dec *json.Decoder, path string, depth int) (any, error) {
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, unreadable(path, dec, err)
		}
		key, _ := token.(string) // Token gives nothing but a string for a key
		if err := replaced(path, key); err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, malformed(join(path, key), "the key stands twice")
		}
		if object[key], err = readValue(dec, join(path, key), depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, unreadable(path, dec, err)
	}
	return object, nil
}

func join(path, key string) string {
	key = clip(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

// clip keeps names in error texts short however long the input was.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}

func definition(v any, path string) (d Definition, err *problem.Problem) {
	err = eachKey(v, path, func(key, at string, v any) *problem.Problem {
		switch key {
		case "aggregate":
			return text(&d.Aggregate, v, at)
		case "log":
			return text(&d.Log, v, at)
		case "snapshot-threshold":
			return integer(&d.SnapshotThreshold, v, at)
		case "locked":
			return boolean(&d.Locked, v, at)
		case "fields":
			d.Fields = map[string]Field{}
			return eachKey(v, at, func(name, at string, v any) (err *problem.Problem) {
				d.Fields[name], err = field(v, at)
				return err
			})
		case "events":
			d.Events = map[string]Event{}
			return eachKey(v, at, func(name, at string, v any) (err *problem.Problem) {
				d.Events[name], err = eventType(v, at)
				return err
			})
		}
		return unknownKey(at, key, "aggregate", "log", "snapshot-threshold", "locked", "fields", "events")
	})
	return d, err
}

func field(v any, path string) (f Field, err *problem.Problem) {
	err = eachKey(v, path, func(key, at string, v any) *problem.Problem {
		switch key {
		case "type":
			return text((*string)(&f.Type), v, at)
		case "max-length":
			return integer(&f.MaxLength, v, at)
		case "pattern":
			return text(&f.Pattern, v, at)
		case "values":
			return texts(&f.Values, v, at)
		case "locked":
			return boolean(&f.Locked, v, at)
		case "unique":
			return boolean(&f.Unique, v, at)
		case "pii":
			return boolean(&f.PII, v, at)
		}
		return unknownKey(at, key, "type", "max-length", "pattern", "values", "locked", "unique", "pii")
	})
	return f, err
}

func eventType(v any, path string) (e Event, err *problem.Problem) {
	err = eachKey(v, path, func(key, at string, v any) *problem.Problem {
		switch key {
		case "fields":
			return texts(&e.Fields, v, at)
		case "required":
			return texts(&e.Required, v, at)
		case "deletes":
			return boolean(&e.Deletes, v, at)
		case "removed":
			return boolean(&e.Removed, v, at)
		}
		return unknownKey(at, key, "fields", "required", "deletes", "removed")
	})
	return e, err
}

// eachKey walks over an object in key order. Null is an object without keys, as an event type without rules is in YAML.
func eachKey(v any, path string, do func(key, at string, v any) *problem.Problem) *problem.Problem {
	object, ok := v.(map[string]any)
	if !ok && v != nil || v == nil && path == "" {
		return malformed(path, "an object is wanted here, this is %s", kind(v))
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if err := do(key, join(path, key), object[key]); err != nil {
			return err
		}
	}
	return nil
}

func unknownKey(path, key string, known ...string) *problem.Problem {
	return malformed(path, "the key is unknown").WithHint("known here: %s", nearest(key, known))
}

func text(to *string, v any, path string) *problem.Problem {
	s, ok := v.(string)
	if !ok {
		return malformed(path, "a string is wanted here, this is %s", kind(v)).WithHint("put it in quotes")
	}
	*to = s
	return nil
}

func texts(to *[]string, v any, path string) *problem.Problem {
	list, ok := v.([]any)
	if !ok && v != nil {
		return malformed(path, "a list of strings is wanted here, this is %s", kind(v))
	}
	*to = make([]string, len(list))
	for i := range list {
		if err := text(&(*to)[i], list[i], fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func integer(to *int, v any, path string) *problem.Problem {
	n, _ := v.(json.Number)
	i, err := strconv.ParseInt(string(n), 10, 32)
	if err != nil {
		return malformed(path, "a whole number of at most 32 bits is wanted here, this is %s", kind(v))
	}
	*to = int(i)
	return nil
}

func boolean(to *bool, v any, path string) *problem.Problem {
	b, ok := v.(bool)
	if !ok {
		return malformed(path, "true or false is wanted here, this is %s", kind(v))
	}
	*to = b
	return nil
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return "the number " + clip(string(v))
	case string:
		return "a string"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}
