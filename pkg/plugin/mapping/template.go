package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Template makes a name: literal texts and placeholders, `{type}/{id}`.
type Template struct {
	parts []part
}

// part is a literal text, or a placeholder if name is not empty.
type part struct {
	literal string
	name    string
}

var errBraces = errors.New("a placeholder is a name between { and }")

func parseTemplate(text string, known []string) (Template, error) {
	var t Template
	for rest := text; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			open = len(rest)
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: rest[:open]})
		}
		if rest = rest[open:]; rest == "" {
			break
		}
		end := strings.IndexByte(rest, '}')
		if rest[0] == '}' || end < 2 {
			return Template{}, errBraces
		}
		name := rest[1:end]
		if !slices.Contains(known, name) {
			return Template{}, fmt.Errorf("there is no placeholder {%s}; known are {%s}", clip(name), strings.Join(known, "}, {"))
		}
		t.parts = append(t.parts, part{name: name})
		rest = rest[end+1:]
	}
	return t, nil
}

// String is the text of the YAML.
func (t Template) String() string {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.name != "" {
			b.WriteString("{" + p.name + "}")
		}
	}
	return b.String()
}

// Holds reports whether the template has that placeholder.
func (t Template) Holds(name string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.name == name })
}

// With gives what the template says with these texts for its placeholders.
func (t Template) With(texts map[string]string) string {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.literal)
		b.WriteString(texts[p.name])
	}
	return b.String()
}

func (t Template) expand(c *plugin.Change) string {
	if len(t.parts) == 1 && t.parts[0].name == "id" {
		return c.Aggregate.ID
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
		} else {
			b.WriteString(placeholder(p.name, c))
		}
	}
	return b.String()
}

var (
	placesOfTarget = []string{"type", "log", "site"}
	placesOfDay    = []string{"type", "log", "site", "year", "month", "day"}
	placesOfKey    = []string{"type", "id", "version", "leaf", "site", "log"}
)

func placeholder(name string, c *plugin.Change) string {
	switch name {
	case "year":
		return day(c.Meta.Time, "2006")
	case "month":
		return day(c.Meta.Time, "01")
	case "day":
		return day(c.Meta.Time, "02")
	}
	text, _ := Meta(name, c)
	return text
}

func day(t event.Time, layout string) string { return time.Unix(0, int64(t)).UTC().Format(layout) }

// alphabets say which characters a placeholder can give; one that is missing gives any.
var alphabets = map[string]string{
	"type": nameCharacters, "log": nameCharacters, "site": nameCharacters, "version": "0123456789", "leaf": "0123456789abcdef",
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-_"

// distinct says why two aggregates or events could get the same name, or nil. Only an id may hold any character: what stands before it has to be told
// apart from the left, what stands behind it from the right, so a literal text has to begin, or end, with a character that the placeholder cannot hold.
func (t Template) distinct() error {
	behind := false
	for i, p := range t.parts {
		behind = behind || p.name == "id"
		next := i + 2
		if i+1 < len(t.parts) && t.parts[i+1].name != "" {
			next = i + 1
		}
		if p.name == "" || next >= len(t.parts) {
			continue
		}
		between, other := t.parts[i+1].literal, t.parts[next].name
		if !behind && !apart(p.name, firstByte(between)) || behind && !apart(other, lastByte(between)) {
			return fmt.Errorf("between {%s} and {%s} a character is wanted that tells where the one ends, as / does", p.name, other)
		}
	}
	return nil
}

// apart reports whether a placeholder never gives the character.
func apart(name, character string) bool {
	alphabet, limited := alphabets[name]
	return limited && character != "" && !strings.Contains(alphabet, character)
}

func firstByte(s string) string { return s[:min(1, len(s))] }

func lastByte(s string) string { return s[max(0, len(s)-1):] }
