package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// maxNodes bounds what a condition consists of.
const maxNodes = 200

// functions are the ones that a condition may call: none loops over what it makes itself, none looks at the clock.
var functions = []string{"len", "lower", "upper", "trim"}

// condition is a compiled expression, with what it looks at.
type condition struct {
	program *vm.Program
	looksAt []look
}

// look is one field that a condition looks at, and as what: Decimal and Integer are compared as numbers, Boolean as such, all else as text.
type look struct {
	Source
	as Type
}

var errCondition = errors.New("the condition cannot be evaluated")

// parseCondition reads an expression and gives what it looks at; the types are not known yet.
func parseCondition(text string) ([]look, error) {
	if len(text) > MaxCondition {
		return nil, fmt.Errorf("%d bytes, a condition has at most %d", len(text), MaxCondition)
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("no condition: %s", firstLine(err))
	}
	v := &visitor{}
	ast.Walk(&tree.Node, v)
	switch {
	case v.nodes > maxNodes:
		return nil, fmt.Errorf("%d parts, a condition has at most %d", v.nodes, maxNodes)
	case v.wrong != "":
		return nil, errors.New(v.wrong)
	}
	return v.looks, nil
}

// compile makes the program once the types of what it looks at are known.
func compileCondition(text string, looks []look) (*condition, error) {
	scopes := map[From]types.Map{FromEvent: {}, FromState: {}, FromMeta: {}}
	for _, l := range looks {
		scopes[l.From][l.Name] = exprType(l.as)
	}
	env := types.Map{}
	for from, fields := range scopes {
		env[string(from)] = fields
	}
	program, err := expr.Compile(text, expr.Env(env), expr.AsBool(), expr.MaxNodes(maxNodes))
	if err != nil {
		return nil, fmt.Errorf("no condition: %s", firstLine(err))
	}
	return &condition{program, looks}, nil
}

func exprType(t Type) types.Type {
	switch t {
	case Integer, Decimal:
		return types.Float64
	case Boolean:
		return types.Bool
	}
	return types.String
}

// firstLine is what an error of expr says, without the picture of the place.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return clip(line)
}

// holds evaluates the condition. A comparison that needs a field which is not there does not hold.
func (c *condition) holds(change *plugin.Change) (bool, error) {
	env := map[string]any{}
	for _, from := range []From{FromEvent, FromState, FromMeta} {
		env[string(from)] = map[string]any{}
	}
	complete := true
	for _, l := range c.looksAt {
		value, ok := l.value(change)
		complete = complete && ok
		env[string(l.From)].(map[string]any)[l.Name] = value
	}
	got, err := expr.Run(c.program, env)
	holds, isBool := got.(bool)
	switch {
	case err == nil && isBool:
		return holds, nil
	case complete:
		return false, errCondition
	}
	return false, nil
}

// value gives what a condition sees: nil for what is not there, or is not of its type.
func (l look) value(change *plugin.Change) (any, bool) {
	text, ok := l.text(change)
	if !ok {
		return nil, false
	}
	switch l.as {
	case Integer, Decimal:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, false
		}
		return n, true
	case Boolean:
		v, err := l.as.convert(text)
		return v.Text == "true", err == nil
	}
	return text, true
}

// text gives the value of a source, or false if there is none.
func (s Source) text(c *plugin.Change) (string, bool) {
	switch s.From {
	case FromEvent:
		f, ok := c.Field(s.Name)
		return f.Value, ok && f.Set
	case FromState:
		if c.State == nil {
			return "", false
		}
		return c.State.Field(s.Name)
	}
	return Meta(s.Name, c)
}

// visitor looks at each part of an expression and says which it may not have.
type visitor struct {
	looks []look
	nodes int
	wrong string
}

// Visit comes to the parts of a part before the part.
func (v *visitor) Visit(node *ast.Node) {
	v.nodes++
	switch n := (*node).(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.UnaryNode, *ast.ArrayNode, *ast.ConditionalNode:
	case *ast.IdentifierNode:
		if !slices.Contains([]From{FromEvent, FromState, FromMeta}, From(n.Value)) {
			v.refuse("there is no %q; a condition looks at event.FIELD, state.FIELD and meta.NAME", n.Value)
		}
	case *ast.MemberNode:
		v.member(n)
	case *ast.BinaryNode:
		v.binary(n)
	case *ast.BuiltinNode:
		if !slices.Contains(functions, n.Name) {
			v.refuse("there is no function %q; known are %s", n.Name, strings.Join(functions, ", "))
		}
	default:
		v.refuse("it has a part that conditions do not have: %s", clip(n.String()))
	}
}

func (v *visitor) refuse(format string, args ...any) {
	if v.wrong == "" {
		v.wrong = fmt.Sprintf(format, args...)
	}
}

func (v *visitor) member(n *ast.MemberNode) {
	scope, ok := n.Node.(*ast.IdentifierNode)
	name, constant := n.Property.(*ast.StringNode)
	if !ok || !constant {
		v.refuse("a field is written event.FIELD, state.FIELD or meta.NAME")
		return
	}
	l := look{Source: Source{From(scope.Value), name.Value}}
	if !slices.Contains(v.looks, l) {
		v.looks = append(v.looks, l)
	}
}

func (v *visitor) binary(n *ast.BinaryNode) {
	switch n.Operator {
	case "..":
		v.refuse("ranges (..) are not allowed: compare with >= and <=")
	case "matches":
		if _, ok := n.Right.(*ast.StringNode); !ok {
			v.refuse("matches wants a text in quotes behind it")
		}
	}
}
