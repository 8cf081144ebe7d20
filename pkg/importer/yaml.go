package importer

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// pair is one key of a YAML mapping.
type pair struct {
	name  string
	value *yaml.Node
}

// each gives the keys of a YAML mapping in their order; a key that stands twice, or is no text, is a problem.
func (p *mappingParser) each(n *yaml.Node, what string) (out []pair) {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		p.wrong(n, "%s must be a YAML mapping of keys to values", what)
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.wrong(key, "%s: a key must be a text", what)
		case seen[key.Value]:
			p.wrong(key, "%s: the key %q stands twice", what, key.Value)
		default:
			seen[key.Value] = true
			out = append(out, pair{key.Value, follow(n.Content[i+1])})
		}
	}
	return out
}

// keys is each for a mapping with a closed set of keys.
func (p *mappingParser) keys(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	for _, one := range p.each(n, what) {
		if !slices.Contains(known, one.name) {
			p.wrong(one.value, "%s has no key %q; it knows %s", what, one.name, strings.Join(known, ", "))
			continue
		}
		out[one.name] = one.value
	}
	return out
}

// require names the keys that are missing.
func (p *mappingParser) require(n *yaml.Node, keys map[string]*yaml.Node, what string, names ...string) bool {
	ok := true
	for _, name := range names {
		if keys[name] == nil {
			p.wrong(n, "%s lacks the key %s", what, name)
			ok = false
		}
	}
	return ok
}

// text is a scalar that is not empty.
func (p *mappingParser) text(n *yaml.Node, what string) string {
	if n = follow(n); n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
		p.wrong(n, "%s must be a text that is not empty", what)
		return ""
	}
	return n.Value
}

// values is a table of cell -> value. Both are taken as they are written, so True and "True" are the same.
func (p *mappingParser) values(n *yaml.Node, what string) map[string]string {
	out := map[string]string{}
	for _, one := range p.each(n, what) {
		if one.value.Kind != yaml.ScalarNode || one.value.Tag == "!!null" {
			p.wrong(one.value, "%s: %q must be given a text", what, one.name)
			continue
		}
		out[one.name] = one.value.Value
	}
	if len(out) == 0 {
		p.wrong(n, "%s is empty", what)
	}
	return out
}

// follow goes from an alias to what it stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// ParseTokens reads a tokens file: a YAML or JSON mapping from the value in the mapping's token column to the access token. The error is a
// *problem.Problem and never shows a token.
func ParseTokens(text []byte) (map[string]string, error) {
	var tokens map[string]string
	if err := yaml.Unmarshal(text, &tokens); err != nil {
		return nil, problem.New(problem.Malformed, "the tokens file is no YAML or JSON mapping from text to text").
			WithHint("each line is VALUE: TOKEN, the value as it stands in the token column, in quotes where it is no plain word")
	}
	if len(tokens) == 0 {
		return nil, problem.New(problem.Malformed, "the tokens file holds no token").WithHint("each line is VALUE: TOKEN")
	}
	for value, token := range tokens {
		tokens[value] = strings.TrimSpace(token)
		if tokens[value] == "" {
			return nil, problem.New(problem.Malformed, "the tokens file has no token for %q", value).WithHint("make one with eventful token:generate")
		}
	}
	return tokens, nil
}
