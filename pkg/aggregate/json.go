package aggregate

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// scanner reads JSON (RFC 8259) exactly: numbers keep their text, and what encoding/json mends in silence (lone surrogates, invalid UTF-8,
// keys that stand twice or are spelt in other case) is refused. It has no recursion, so depth costs nothing. Strings that it
// gives share the input's memory where they have no escapes.
type scanner struct {
	in  string
	pos int
}

func (s *scanner) bad(format string, args ...any) *problem.Problem {
	return problem.New(problem.Malformed, "byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

// within puts a step before the path that the problem names.
func within(p *problem.Problem, step string) *problem.Problem {
	if p == nil {
		return nil
	}
	switch {
	case p.Field == "":
		p.Field = step
	case p.Field[0] == '[':
		p.Field = step + p.Field
	default:
		p.Field = step + "." + p.Field
	}
	return p
}

// asError makes the error of a decoder: the detail names the path too, and no problem is no error.
func asError(p *problem.Problem) error {
	if p == nil {
		return nil
	}
	if p.Field != "" {
		p.Detail = p.Field + ": " + p.Detail
	}
	return p
}

// space goes over blanks and gives the next byte; 0 at the end, which no valid JSON has outside a string either.
func (s *scanner) space() byte {
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// end holds that nothing but blanks is left.
func (s *scanner) end() *problem.Problem {
	if s.space(); s.pos < len(s.in) {
		return s.bad("something follows behind the end of the object")
	}
	return nil
}

// found names what stands at the position.
func (s *scanner) found() string {
	if s.pos >= len(s.in) {
		return "the end"
	}
	switch c := s.in[s.pos]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == '-' || c >= '0' && c <= '9':
		return "a number"
	case strings.HasPrefix(s.in[s.pos:], "\xef\xbb\xbf"):
		return "a byte order mark"
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.in[s.pos:], word) {
			return word
		}
	}
	return fmt.Sprintf("the byte 0x%02x", s.in[s.pos])
}

// keys remembers the keys of one object.
type keys struct {
	few  [16]string
	n    int
	many map[string]struct{}
}

// add reports whether the key is new.
func (k *keys) add(key string) bool {
	if k.many != nil {
		before := len(k.many)
		k.many[key] = struct{}{}
		return len(k.many) > before
	}
	for i := range k.n {
		if k.few[i] == key {
			return false
		}
	}
	if k.n < len(k.few) {
		k.few[k.n] = key
		k.n++
		return true
	}
	k.many = make(map[string]struct{}, 4*len(k.few))
	for _, old := range k.few {
		k.many[old] = struct{}{}
	}
	k.many[key] = struct{}{}
	return true
}

// object reads an object; each reads the value of a key. Problems of a member name its key.
func (s *scanner) object(each func(key string) *problem.Problem) *problem.Problem {
	if s.space() != '{' {
		return s.bad("an object is wanted here, this is %s", s.found())
	}
	s.pos++
	if s.space() == '}' {
		s.pos++
		return nil
	}
	var seen keys
	for {
		if s.space() != '"' {
			return s.bad("a key in double quotes is wanted here, this is %s", s.found())
		}
		key, p := s.text()
		if p != nil {
			return p
		}
		if !seen.add(key) {
			return within(s.bad("the key stands twice"), clip(key))
		}
		if s.space() != ':' {
			return within(s.bad("a colon is wanted here, this is %s", s.found()), clip(key))
		}
		s.pos++
		s.space()
		if p := each(key); p != nil {
			return within(p, clip(key))
		}
		switch s.space() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return within(s.bad("a comma or the end of the object is wanted behind this value, not %s", s.found()), clip(key))
		}
	}
}

// array reads an array; each reads the i-th value.
func (s *scanner) array(each func(i int) *problem.Problem) *problem.Problem {
	if s.space() != '[' {
		return s.bad("an array is wanted here, this is %s", s.found())
	}
	s.pos++
	if s.space() == ']' {
		s.pos++
		return nil
	}
	for i := 0; ; i++ {
		s.space()
		if p := each(i); p != nil {
			return within(p, fmt.Sprintf("[%d]", i))
		}
		switch s.space() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return within(s.bad("a comma or the end of the array is wanted behind this value, not %s", s.found()), fmt.Sprintf("[%d]", i))
		}
	}
}

// scalar reads the value of a field; set is false for null.
func (s *scanner) scalar() (value string, set bool, p *problem.Problem) {
	switch c := s.space(); {
	case c == '"':
		value, p = s.text()
	case c == '-' || c >= '0' && c <= '9':
		value, p = s.number()
	case c == '{' || c == '[':
		return "", false, s.bad("a field holds one value, this is %s", s.found()).
			WithHint("give each part a field of its own, or send it as a string")
	default:
		if s.word("null") {
			return "", false, nil
		}
		for _, word := range [...]string{"true", "false"} {
			if s.word(word) {
				return word, true, nil
			}
		}
		return "", false, s.bad("a value is wanted here, this is %s", s.found())
	}
	if p == nil && len(value) > event.MaxValueLen {
		p = problem.New(problem.TooLarge, "a value of %d bytes, at most %d are allowed", len(value), event.MaxValueLen)
	}
	return value, true, p
}

func (s *scanner) word(w string) bool {
	if !strings.HasPrefix(s.in[s.pos:], w) {
		return false
	}
	s.pos += len(w)
	return true
}

// number reads a number (RFC 8259, section 6) as its text.
func (s *scanner) number() (string, *problem.Problem) {
	start := s.pos
	s.skip("-")
	if !s.skip("0") && s.digits() == 0 {
		return "", s.bad("a digit is wanted here, this is %s", s.found())
	}
	if s.skip(".") && s.digits() == 0 {
		return "", s.bad("a digit is wanted behind the point, this is %s", s.found())
	}
	if s.skip("eE") {
		s.skip("+-")
		if s.digits() == 0 {
			return "", s.bad("a digit is wanted in the exponent, this is %s", s.found())
		}
	}
	return s.in[start:s.pos], nil
}

// skip goes over one byte if it is among chars.
func (s *scanner) skip(chars string) bool {
	if s.pos < len(s.in) && strings.IndexByte(chars, s.in[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.in) && s.in[s.pos] >= '0' && s.in[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}

// text reads a string whose opening quote is at the position.
func (s *scanner) text() (string, *problem.Problem) {
	s.pos++
	start, ascii := s.pos, true
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c == '"':
			out := s.in[start:s.pos]
			s.pos++
			return s.valid(out, ascii)
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return "", s.bad("the control character 0x%02x in a string", c).WithHint(`write it as an escape: \u%04x`, c)
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.pos++
	}
	return "", s.bad("the string does not end")
}

func (s *scanner) valid(out string, ascii bool) (string, *problem.Problem) {
	if !ascii && !utf8.ValidString(out) {
		return "", s.bad("the string before is not valid UTF-8")
	}
	return out, nil
}

// escaped reads on a string that has an escape at the position; start is its first byte.
func (s *scanner) escaped(start int) (string, *problem.Problem) {
	out := append(make([]byte, 0, 2*(s.pos-start)+32), s.in[start:s.pos]...)
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c == '"':
			s.pos++
			return s.valid(string(out), false)
		case c == '\\':
			s.pos++
			var p *problem.Problem
			if out, p = s.escape(out); p != nil {
				return "", p
			}
			continue
		case c < 0x20:
			return "", s.bad("the control character 0x%02x in a string", c).WithHint(`write it as an escape: \u%04x`, c)
		default:
			out = append(out, c)
		}
		s.pos++
	}
	return "", s.bad("the string does not end")
}

// escape reads what follows a backslash.
func (s *scanner) escape(out []byte) ([]byte, *problem.Problem) {
	if s.pos >= len(s.in) {
		return nil, s.bad("the string does not end")
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	c := s.in[s.pos]
	if i := strings.IndexByte(from, c); i >= 0 {
		s.pos++
		return append(out, to[i]), nil
	}
	if c != 'u' {
		return nil, s.bad("the escape does not exist in JSON")
	}
	r, p := s.unit()
	if p != nil || !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), p
	}
	if !strings.HasPrefix(s.in[s.pos:], `\u`) {
		return nil, s.lone()
	}
	s.pos++
	low, p := s.unit()
	if p != nil {
		return nil, p
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return nil, s.lone()
	}
	return utf8.AppendRune(out, r), nil
}

func (s *scanner) lone() *problem.Problem {
	return s.bad("a lone surrogate, which is no character").WithHint("send the character itself as UTF-8")
}

// unit reads `uXXXX`.
func (s *scanner) unit() (rune, *problem.Problem) {
	if len(s.in)-s.pos < 5 {
		return 0, s.bad("the escape is cut")
	}
	r := rune(0)
	for _, c := range []byte(s.in[s.pos+1 : s.pos+5]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, s.bad("the escape does not have four hexadecimal digits")
		}
		r = r<<4 | rune(c)
	}
	s.pos += 5
	return r, nil
}
