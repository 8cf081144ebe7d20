package filter

import (
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// compiler turns what the parser read into tests.
type compiler struct {
	source source
	fields map[string]schema.Field
}

// condition compiles what is true or false.
func (c *compiler) condition(n ast.Node) (test, *problem.Problem) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return func(*Row) bool { return n.Value }, nil
	case *ast.UnaryNode:
		if n.Operator != "not" && n.Operator != "!" {
			break
		}
		inner, p := c.condition(n.Node)
		return func(r *Row) bool { return !inner(r) }, p
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.IdentifierNode, *ast.MemberNode:
		o, p := c.operand(n)
		if p == nil && o.kind == schema.Bool {
			return func(r *Row) bool { v, ok := o.get(r); return ok && v == "true" }, nil
		}
		if p == nil {
			p = c.source.wrong(n.Location(), "%s is no condition: compare it with something", c.source.nodeText(n))
		}
		return nil, p
	}
	return nil, c.source.wrong(n.Location(), "this is no condition that a filter can hold")
}

func (c *compiler) binary(n *ast.BinaryNode) (test, *problem.Problem) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		left, p := c.condition(n.Left)
		if p != nil {
			return nil, p
		}
		right, p := c.condition(n.Right)
		if n.Operator == "and" || n.Operator == "&&" {
			return func(r *Row) bool { return left(r) && right(r) }, p
		}
		return func(r *Row) bool { return left(r) || right(r) }, p
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n)
	case "in":
		return c.in(n)
	case "contains", "startsWith", "endsWith", "matches":
		return c.textual(n)
	}
	return nil, c.source.wrong(n.Location(), "a filter has no operator %s; a text with such characters needs quotes", n.Operator)
}

// comparison compares a field with a constant, on whichever sides they stand.
func (c *compiler) comparison(n *ast.BinaryNode) (test, *problem.Problem) {
	left, right, operator := n.Left, n.Right, n.Operator
	if !c.isOperand(left) && c.isOperand(right) {
		left, right, operator = right, left, turned(operator)
	}
	o, p := c.operand(left)
	if p != nil {
		return nil, p
	}
	if _, isNil := right.(*ast.NilNode); isNil {
		return c.set(n, o, operator)
	}
	want, p := c.constant(o, right)
	if p != nil {
		return nil, p
	}
	if o.kind == schema.Bool && operator != "==" && operator != "!=" {
		return nil, c.source.wrong(n.Location(), "true and false have no order")
	}
	holds := outcomes[operator]
	compare := comparing(o.kind)
	if operator == "!=" {
		return func(r *Row) bool {
			v, ok := o.get(r)
			order, fits := compare(v, want)
			return !ok || !fits || order != 0
		}, nil
	}
	return func(r *Row) bool {
		v, ok := o.get(r)
		if !ok {
			return false
		}
		order, fits := compare(v, want)
		return fits && holds(order)
	}, nil
}

// outcomes say which order of two values makes a comparison true.
var outcomes = map[string]func(int) bool{
	"==": func(o int) bool { return o == 0 }, "!=": func(o int) bool { return o != 0 },
	"<": func(o int) bool { return o < 0 }, "<=": func(o int) bool { return o <= 0 },
	">": func(o int) bool { return o > 0 }, ">=": func(o int) bool { return o >= 0 },
}

// turned is the operator with its sides exchanged.
func turned(operator string) string {
	switch operator[0] {
	case '<':
		return ">" + operator[1:]
	case '>':
		return "<" + operator[1:]
	}
	return operator
}

// set is a comparison with nil: whether the field is set.
func (c *compiler) set(n *ast.BinaryNode, o operand, operator string) (test, *problem.Problem) {
	switch operator {
	case "==":
		return func(r *Row) bool { _, ok := o.get(r); return !ok }, nil
	case "!=":
		return func(r *Row) bool { _, ok := o.get(r); return ok }, nil
	}
	return nil, c.source.wrong(n.Location(), "nil says that a field is not set, and has no order")
}

func (c *compiler) in(n *ast.BinaryNode) (test, *problem.Problem) {
	o, p := c.operand(n.Left)
	if p != nil {
		return nil, p
	}
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok {
		return nil, c.source.wrong(n.Right.Location(), "in takes a list: ward in [A1, A2]")
	}
	wanted := make([]string, len(list.Nodes))
	for i, one := range list.Nodes {
		if wanted[i], p = c.constant(o, one); p != nil {
			return nil, p
		}
	}
	compare := comparing(o.kind)
	return func(r *Row) bool {
		v, ok := o.get(r)
		return ok && slices.ContainsFunc(wanted, func(want string) bool {
			order, fits := compare(v, want)
			return fits && order == 0
		})
	}, nil
}

// textual are the operators on texts.
func (c *compiler) textual(n *ast.BinaryNode) (test, *problem.Problem) {
	o, p := c.operand(n.Left)
	if p != nil {
		return nil, p
	}
	text, ok := n.Right.(*ast.StringNode)
	if !ok {
		return nil, c.source.wrong(n.Right.Location(), "%s takes a text in quotes", n.Operator)
	}
	holds := map[string]func(v, text string) bool{"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix}[n.Operator]
	if n.Operator == "matches" {
		if len(text.Value) > maxPattern {
			return nil, c.source.wrong(text.Location(), "the pattern has %d bytes, at most %d are allowed", len(text.Value), maxPattern)
		}
		pattern, err := regexp.Compile(text.Value)
		if err != nil {
			return nil, c.source.wrong(text.Location(), "the pattern cannot be read: %v", err)
		}
		holds = func(v, _ string) bool { return pattern.MatchString(v) }
	}
	return func(r *Row) bool {
		v, ok := o.get(r)
		return ok && holds(v, text.Value)
	}, nil
}

// must gives what is known of all aggregates that a condition is true for.
func (c *compiler) must(n ast.Node) []Equality {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		if o, p := c.operand(n); p == nil && o.field != "" {
			return []Equality{{o.field, []string{"true"}}}
		}
		return nil
	}
	switch b.Operator {
	case "and", "&&":
		return append(c.must(b.Left), c.must(b.Right)...)
	case "==":
		left, right := b.Left, b.Right
		if !c.isOperand(left) {
			left, right = right, left
		}
		if o, p := c.operand(left); p == nil && o.field != "" {
			if want, p := c.constant(o, right); p == nil {
				return []Equality{{o.field, []string{Canonical(want)}}}
			}
		}
	case "in":
		list, ok := b.Right.(*ast.ArrayNode)
		if o, p := c.operand(b.Left); p == nil && ok && o.field != "" {
			e := Equality{Field: o.field}
			for _, one := range list.Nodes {
				want, _ := c.constant(o, one)
				e.Values = append(e.Values, Canonical(want))
			}
			slices.Sort(e.Values)
			e.Values = slices.Compact(e.Values)
			return []Equality{e}
		}
	}
	return nil
}
