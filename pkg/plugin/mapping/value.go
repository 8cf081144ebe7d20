package mapping

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/schema"
)

// Type is what a value becomes in the target. The words are those of the YAML.
type Type string

// The types; each says which texts it takes.
const (
	Keyword Type = "keyword" // any text, found as a whole
	Text    Type = "text"    // any text, searched by its words where the target can
	Integer Type = "integer" // a whole number of 64 bits
	Decimal Type = "decimal" // a JSON number (RFC 8259, section 6)
	Boolean Type = "boolean" // true or false, in upper or lower case
	Date    Type = "date"    // a date or a date with time and zone, as RFC 3339 writes them
)

var allTypes = []Type{Keyword, Text, Integer, Decimal, Boolean, Date}

// Value is a converted value. Text is the JSON text of a number or boolean, and the text itself of every other type.
type Value struct {
	Type Type
	Text string
}

var errNotOfType = errors.New("the value is not of the type")

// convert gives the value that a text of the log becomes. The error does not hold the text.
func (t Type) convert(text string) (Value, error) {
	ok := true
	switch t {
	case Integer:
		text, ok = integer(text)
	case Decimal:
		ok = isNumber(text)
	case Boolean:
		text = strings.ToLower(text)
		ok = text == "true" || text == "false"
	case Date:
		text, ok = date(text)
	}
	if !ok {
		return Value{}, errNotOfType
	}
	return Value{t, text}, nil
}

func integer(text string) (string, bool) {
	if strings.HasPrefix(text, "+") {
		return "", false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return strconv.FormatInt(n, 10), err == nil
}

func isNumber(text string) bool {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return false
	}
	last := text[len(text)-1]
	return last >= '0' && last <= '9' && json.Valid([]byte(text))
}

// date keeps a date as it is, and gives a time at most nine fractional digits.
func date(text string) (string, bool) {
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		return text, true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.Format(time.RFC3339Nano), err == nil
}

// AppendJSON appends the value as JSON.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.Type {
	case Integer, Decimal, Boolean:
		return append(b, v.Text...)
	}
	return AppendString(b, v.Text)
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil { // of a string there is none
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// natural is the type that a field of a schema has if the mapping names none.
func natural(f schema.FieldType) Type {
	switch f {
	case schema.Integer:
		return Integer
	case schema.Decimal:
		return Decimal
	case schema.Bool:
		return Boolean
	case schema.Date, schema.DateTime:
		return Date
	}
	return Keyword
}

// possible reports whether values of a schema's field can be of the type t.
func (t Type) possible(f schema.Field) bool {
	switch {
	case t == Keyword || t == Text || f.Type == schema.String || f.Type == "":
		return true
	case f.Type == schema.Enum:
		for _, v := range f.Values {
			if _, err := t.convert(v); err != nil {
				return false
			}
		}
		return true
	}
	return t == natural(f.Type) || t == Decimal && f.Type == schema.Integer
}
