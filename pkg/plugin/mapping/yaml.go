package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks over the YAML and collects what is wrong.
type reader struct {
	handedOn bool // Use HandedOn
	problems []error
}

func (r *reader) wrong(line int, format string, args ...any) {
	switch n := len(r.problems); {
	case n < MaxProblems:
		r.problems = append(r.problems, fmt.Errorf("mapping, line %d: %s", line, fmt.Sprintf(format, args...)))
	case n == MaxProblems:
		r.problems = append(r.problems, fmt.Errorf("mapping: more than %d problems, the others are not told", MaxProblems))
	}
}

// document gives the root of the one YAML document in text, or nil.
func (r *reader) document(text []byte) *yaml.Node {
	if len(text) > MaxBytes {
		r.wrong(1, "%d bytes, a mapping has at most %d", len(text), MaxBytes)
		return nil
	}
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		r.wrong(1, "it is empty")
		return nil
	} else if err != nil {
		r.wrong(1, "no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		r.wrong(1, "there is more than one YAML document: give one, without a line of ---")
		return nil
	}
	if !r.plain(root.Content[0]) {
		return nil
	}
	return root.Content[0]
}

// plain refuses anchors and aliases: with them a few bytes stand for gigabytes, or for themselves.
func (r *reader) plain(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.wrong(n.Line, "anchors (&) and aliases (*) are not allowed: write it out")
		return false
	}
	for _, child := range n.Content {
		if !r.plain(child) {
			return false
		}
	}
	return true
}

// pair is one key of a YAML mapping.
type pair struct {
	name  string
	line  int
	value *yaml.Node
}

// each gives the keys of a YAML mapping in their order.
func (r *reader) each(n *yaml.Node, what string) (out []pair) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n.Line, "%s must be a list of keys with values", what)
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.wrong(key.Line, "%s: a key must be a text", what)
		case seen[key.Value]:
			r.wrong(key.Line, "%s: the key %q stands twice", what, clip(key.Value))
		default:
			seen[key.Value] = true
			out = append(out, pair{key.Value, key.Line, n.Content[i+1]})
		}
	}
	return out
}

// keys is each for a closed set of keys.
func (r *reader) keys(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	for _, one := range r.each(n, what) {
		if !slices.Contains(known, one.name) {
			r.wrong(one.line, "%s has no key %q; known are %s", what, clip(one.name), strings.Join(known, ", "))
			continue
		}
		out[one.name] = one.value
	}
	return out
}

// text is a scalar that is not empty.
func (r *reader) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
		r.wrong(n.Line, "%s must be a text that is not empty", what)
		return ""
	}
	return n.Value
}

// word is a text of a YAML, with its line.
type word struct {
	text string
	line int
}

// words are a text, or a list of texts, each once.
func (r *reader) words(n *yaml.Node, what string) (out []word) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
		if len(nodes) == 0 {
			r.wrong(n.Line, "%s is empty: leave the key out to mean all", what)
		}
	}
	for _, one := range nodes {
		s := r.text(one, what)
		switch {
		case s == "":
		case slices.ContainsFunc(out, func(w word) bool { return w.text == s }):
			r.wrong(one.Line, "%s: %q stands twice", what, clip(s))
		default:
			out = append(out, word{s, one.Line})
		}
	}
	return out
}

// clip keeps names in error texts short however long the input was.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}

// some lists known names for an error, ten at most.
func some(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
