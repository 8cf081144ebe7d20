package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Limits of a schema file. Values are counted, and their depth taken, with aliases written out, so that a small file cannot become a large one.
const (
	maxSchemaFile  = 8 << 20
	maxSchemaNodes = 500_000
	maxSchemaDepth = 20
)

// schemaHint is for what is wrong with a definition where nothing closer can be said.
const schemaHint = "docs/schema.md says what a schema is; `eventful schema:show TYPE` prints one as it is to be written"

// readFile reads a schema file; - is standard input.
func (a *app) readFile(path string) ([]byte, error) {
	if path == "-" {
		return readAll(a.in)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, problem.New(problem.NotFound, "read the schema: %v", err).WithHint("give the path of a file that you may read, or - for standard input")
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSchemaFile+1))
	if err != nil {
		return nil, problem.New(problem.Invalid, "read the schema: %v", err).WithHint("give the path of a file that you may read, or - for standard input")
	}
	if len(text) > maxSchemaFile {
		return nil, problem.New(problem.TooLarge, "the schema has more than %d bytes", maxSchemaFile).
			WithHint("split it into several files, and apply one after the other")
	}
	return text, nil
}

// definitionsOf reads YAML, of which JSON is a part: one definition, a list of them, or several documents, each checked.
func definitionsOf(text []byte) ([]schema.Definition, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var all []schema.Definition
	for {
		var node yaml.Node
		if err := dec.Decode(&node); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, problem.New(problem.Malformed, "not YAML: %v", err)
		}
		text, err := jsonOf(&node)
		if err != nil {
			return nil, err
		}
		list, err := schema.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, problem.New(problem.Malformed, "there is no schema in it")
	}
	var wrong []*problem.Problem
	seen := map[string]bool{}
	for _, d := range all {
		if seen[d.Aggregate] {
			return nil, problem.New(problem.Malformed, "the aggregate type %.80q stands there twice", d.Aggregate).
				WithHint("put all that a type has into one definition")
		}
		seen[d.Aggregate] = true
		wrong = append(wrong, d.Check()...)
	}
	if p := problem.Join(wrong); p != nil {
		return nil, p
	}
	return all, nil
}

func jsonOf(node *yaml.Node) ([]byte, error) {
	c := &converter{left: maxSchemaNodes}
	c.value(node)
	return c.out.Bytes(), c.err
}

// converter writes a YAML tree as JSON. Keys keep their text and their repeats, so that schema.Parse can name them; numbers keep their digits.
type converter struct {
	out   bytes.Buffer
	left  int
	depth int
	err   error
}

func (c *converter) value(n *yaml.Node) {
	if c.left--; c.left < 0 {
		c.fail(n, "more than %d values", maxSchemaNodes)
	}
	if c.depth++; c.depth > maxSchemaDepth {
		c.fail(n, "values nested deeper than any schema is")
	}
	defer func() { c.depth-- }()
	if c.err != nil {
		return
	}
	switch n.Kind {
	case yaml.DocumentNode:
		c.value(n.Content[0])
	case yaml.AliasNode:
		c.value(n.Alias)
	case yaml.SequenceNode:
		c.list("[", "]", len(n.Content), func(i int) { c.value(n.Content[i]) })
	case yaml.MappingNode:
		c.list("{", "}", len(n.Content)/2, func(i int) { c.entry(n.Content[2*i], n.Content[2*i+1]) })
	case yaml.ScalarNode:
		c.scalar(n)
	default:
		c.fail(n, "a value of an unknown kind")
	}
}

func (c *converter) list(begin, end string, n int, item func(int)) {
	c.out.WriteString(begin)
	for i := range n {
		if i > 0 {
			c.out.WriteByte(',')
		}
		if item(i); c.err != nil {
			return
		}
	}
	c.out.WriteString(end)
}

func (c *converter) entry(key, value *yaml.Node) {
	if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
		c.fail(key, "a key that is no plain name")
		return
	}
	c.text(key.Value)
	c.out.WriteByte(':')
	c.value(value)
}

// scalar takes YAML's booleans, nulls, and the numbers that JSON has too; everything else is text.
func (c *converter) scalar(n *yaml.Node) {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		c.out.WriteString("null")
	case tag == "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			c.fail(n, "no boolean: %v", err)
		}
		fmt.Fprint(&c.out, b)
	case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(n.Value)):
		c.out.WriteString(n.Value)
	default:
		c.text(n.Value)
	}
}

func (c *converter) text(s string) {
	text, err := jsonText(s, "", "")
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("write the schema as JSON: %w", err)
	}
	c.out.Write(text)
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) {
	if c.err == nil {
		c.err = problem.New(problem.Malformed, "line %d: %s", n.Line, fmt.Sprintf(format, args...))
	}
}
