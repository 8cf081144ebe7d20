package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// operand is what stands on one side of a comparison: a field, or something that every aggregate has.
type operand struct {
	name  string
	field string // empty: it is none
	kind  schema.FieldType
	enum  []string
	get   func(*Row) (string, bool)
}

// What every aggregate has.
var common = map[string]operand{
	"$id":      {kind: schema.String, get: func(r *Row) (string, bool) { return r.ID, true }},
	"$version": {kind: schema.Integer, get: func(r *Row) (string, bool) { return strconv.FormatUint(r.Version, 10), true }},
	"$time":    {kind: schema.DateTime, get: func(r *Row) (string, bool) { return time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano), true }},
	"$deleted": {kind: schema.Bool, get: func(r *Row) (string, bool) { return strconv.FormatBool(r.Deleted), true }},
}

// nameOf is the name of a field: a word, or $env["in"] for one that means something else.
func nameOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		env, ok := n.Node.(*ast.IdentifierNode)
		name, text := n.Property.(*ast.StringNode)
		if ok && text && env.Value == "$env" && !n.Optional {
			return name.Value, true
		}
	}
	return "", false
}

// isOperand reports whether a node names a field.
func (c *compiler) isOperand(n ast.Node) bool {
	name, ok := nameOf(n)
	_, field := c.fields[name]
	_, common := common[name]
	return ok && (field || common)
}

func (c *compiler) operand(n ast.Node) (operand, *problem.Problem) {
	name, ok := nameOf(n)
	if !ok {
		return operand{}, c.source.wrong(n.Location(), "here the name of a field is wanted")
	}
	if o, ok := common[name]; ok {
		o.name = name
		return o, nil
	}
	f, ok := c.fields[name]
	switch {
	case !ok:
		return operand{}, c.source.wrong(n.Location(), "there is no field %.70s; there are %s, and $id, $version, $time, $deleted", name, names(c.fields))
	case f.PII:
		return operand{}, c.source.wrong(n.Location(), "the field %s is encrypted: nothing can be found by it", name)
	}
	kind := f.Type
	if kind == "" {
		kind = schema.String
	}
	return operand{name: name, field: name, kind: kind, enum: f.Values, get: func(r *Row) (string, bool) { return r.Field(name) }}, nil
}

// constant is the text of a constant that a field is compared with.
func (c *compiler) constant(o operand, n ast.Node) (string, *problem.Problem) {
	text := ""
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.IntegerNode, *ast.FloatNode:
		text = c.source.nodeText(n)
	case *ast.BoolNode:
		text = strconv.FormatBool(n.Value)
	case *ast.UnaryNode:
		if _, number := n.Node.(*ast.IntegerNode); !number {
			if _, number = n.Node.(*ast.FloatNode); !number {
				return "", c.source.wrong(n.Location(), "here a constant is wanted; a text with such characters needs quotes")
			}
		}
		text = strings.TrimPrefix(n.Operator, "+") + c.source.nodeText(n.Node)
	case *ast.IdentifierNode:
		if c.isOperand(n) {
			return "", c.source.wrong(n.Location(), "a field is compared with a constant, not with the field %s; a text of that name needs quotes", n.Value)
		}
		text = n.Value
	default:
		return "", c.source.wrong(n.Location(), "here a constant is wanted; a text with such characters needs quotes")
	}
	if o.kind == schema.Enum && !slices.Contains(o.enum, text) {
		return "", c.source.wrong(n.Location(), "%.70q is none of the values of %s: %s", text, o.name, strings.Join(o.enum[:min(len(o.enum), 20)], ", "))
	}
	if _, fits := comparing(o.kind)(text, text); !fits {
		return "", c.source.wrong(n.Location(), "%.70q is no %s, which %s is", text, o.kind, o.name)
	}
	return text, nil
}
