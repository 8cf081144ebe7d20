// Package filter is conditions over the fields of an aggregate, and orders of aggregates by them: `status = deceased and age >= 80`.
//
// The syntax is that of expr-lang/expr, of which conditions take a part: and, or, not, comparisons, in, contains, startsWith, endsWith, matches. Besides, one
// `=` says the same as two, and a word that is no field stands for itself where a field is compared with it. Conditions are typed by the schema: a number is
// compared as one, of any precision, an instant as one whatever its zone. A comparison with a field that is not set, or whose stored text is not of its type, is false, and != is always the
// contrary of =.
//
// What a condition costs is bounded by its length: there are no loops, calls or look-ups, and matches takes RE2 of at most 1,000 bytes, which is linear in the text.
// The package is pure. A Filter and an Order are immutable and safe for concurrent use.
package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Limits of a condition.
const (
	MaxLength  = 4096 // bytes, which bounds how deep it is too
	maxPattern = schema.MaxPatternLen
)

// Row is an aggregate as a condition sees it.
type Row struct {
	ID      string
	Version uint64
	Time    int64 // of the newest event, in ns since 1970
	Deleted bool
	Field   func(name string) (text string, set bool)
}

// Filter is a condition.
type Filter struct {
	text string
	test test
	must []Equality
}

// test is a part of a condition.
type test func(*Row) bool

// Equality is what an aggregate that matches must have: a field with one of some values. Values are canonical (Canonical).
type Equality struct {
	Field  string
	Values []string
}

// String is the condition as it was given.
func (f *Filter) String() string { return f.text }

// Match reports whether an aggregate fulfils the condition.
func (f *Filter) Match(r *Row) bool { return f.test(r) }

// Equalities are those that every aggregate which matches has, each; nil: none is known. A stored text whose canonical form is not among the values cannot match.
func (f *Filter) Equalities() []Equality { return f.must }

// Parse reads a condition over the fields of an aggregate type. malformed: it cannot be read, or does not fit the schema; the problem marks the place.
func Parse(text string, fields map[string]schema.Field) (*Filter, error) {
	if len(text) > MaxLength {
		return nil, problem.New(problem.TooLarge, "the filter has %d bytes, at most %d are allowed", len(text), MaxLength).WithHint("`in [A, B]` is shorter than many comparisons; or ask in parts")
	}
	if !utf8.ValidString(text) {
		return nil, problem.New(problem.Malformed, "the filter is no valid UTF-8")
	}
	s := read(text)
	tree, err := parser.Parse(s.normal)
	if err != nil {
		return nil, s.unreadable(err)
	}
	c := compiler{source: s, fields: fields}
	t, p := c.condition(tree.Node)
	if p != nil {
		return nil, p
	}
	return &Filter{text: text, test: t, must: c.must(tree.Node)}, nil
}

// source is a condition as it was given, and as the parser takes it.
type source struct {
	text   []rune
	normal string
	wider  []int // places in normal, in runes, of what was put in
}

// read puts a second = behind each one that stands alone outside of a text.
func read(text string) source {
	s := source{text: []rune(text)}
	var out []rune
	quote := rune(0)
	for i := 0; i < len(s.text); i++ {
		r := s.text[i]
		out = append(out, r)
		switch {
		case quote != 0 && r == '\\' && quote != '`' && i+1 < len(s.text):
			i++
			out = append(out, s.text[i])
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"' || r == '`':
			quote = r
		case r == '=' && (i == 0 || !strings.ContainsRune("=!<>", s.text[i-1])) && (i+1 == len(s.text) || s.text[i+1] != '='):
			s.wider = append(s.wider, len(out))
			out = append(out, '=')
		}
	}
	s.normal = string(out)
	return s
}

// place is where a place of normal lies in the text.
func (s *source) place(normal int) int {
	n := normal
	for _, w := range s.wider {
		if w < normal {
			n--
		}
	}
	return min(n, len(s.text))
}

func (s *source) unreadable(err error) *problem.Problem {
	e, ok := err.(*file.Error) //nolint:errorlint // the parser gives it as it is
	if !ok {
		return problem.New(problem.Malformed, "the filter cannot be read: %v", err)
	}
	if strings.Contains(e.Message, "token EOF") { // the parser gives the last character then
		return s.marked(len(s.text), "the filter ends here, and something is missing")
	}
	if literal, number := s.number(e); number {
		if at := strings.LastIndex(string(s.text), literal); at >= 0 {
			return s.marked(utf8.RuneCountInString(string(s.text)[:at]), "%s is too long, or no number; a number of any length can stand in quotes", literal)
		}
	}
	if kind, token, found := strings.Cut(strings.TrimPrefix(e.Message, "unexpected token "), "("); found && kind != e.Message {
		return s.wrong(e.Location, "%s is not expected here", strings.TrimSuffix(token, ")"))
	}
	return s.wrong(e.Location, "%s", e.Message)
}

// number gives the literal that the parser could not take for a number.
func (s *source) number(e *file.Error) (literal string, found bool) {
	before, rest, found := strings.Cut(e.Message, `: parsing "`)
	if !found || !strings.HasPrefix(before, "invalid ") {
		return "", false
	}
	literal, _, found = strings.Cut(rest, `"`)
	return literal, found
}

// wrong is a problem that marks a place.
func (s *source) wrong(at file.Location, format string, args ...any) *problem.Problem {
	return s.marked(s.place(at.From), format, args...)
}

// marked is wrong at a character of the text as it was given.
func (s *source) marked(n int, format string, args ...any) *problem.Problem {
	return problem.New(problem.Malformed, "the filter, at character %d: %s: %s<HERE>%s", n+1, fmt.Sprintf(format, args...), string(s.text[:n]), string(s.text[n:])).
		WithHint(`for example status = "deceased" and age >= 80; docs/queries.md says what filters can say`)
}

// nodeText is a part of the condition as it was written.
func (s *source) nodeText(n ast.Node) string {
	r := []rune(s.normal)
	at := n.Location()
	if at.From < 0 || at.To > len(r) || at.From > at.To {
		return ""
	}
	return string(r[at.From:at.To])
}

// names are the fields that there are, for a hint.
func names(fields map[string]schema.Field) string {
	all := slices.Sorted(maps.Keys(fields))
	if len(all) > 20 {
		all = append(all[:20], "…")
	}
	return strings.Join(all, ", ")
}
