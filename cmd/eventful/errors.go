package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxListed is the number of failing checks that are shown one by one.
const maxListed = 20

func asProblem(err error) (*problem.Problem, bool) {
	var p *problem.Problem
	ok := errors.As(err, &p)
	return p, ok
}

// fail prints the error and gives the exit status.
func (a *app) fail(err error) int {
	p, ok := asProblem(err)
	switch {
	case ok:
		text := err.Error()
		if context, only := strings.CutSuffix(text, p.Error()); only {
			text = context + p.Detail // the title says the kind, which the exit status does too
		}
		a.complain(text, p)
		return p.ExitStatus()
	case errors.Is(err, context.Canceled):
		a.complain("interrupted", &problem.Problem{})
		return 1
	}
	a.complain(err.Error(), &problem.Problem{})
	return 1
}

func (a *app) complain(text string, p *problem.Problem) {
	text = strings.ReplaceAll(text, "\n", "; ") // of joined errors
	fmt.Fprintf(a.errOut, "%s %s\n", a.paint("error:", "31"), printable(text))
	hint := a.complainEach(p)
	for _, b := range p.Between {
		fmt.Fprintf(a.errOut, "  - version %d: %s by %s\n", b.Version, printable(b.Event), printable(b.Actor))
	}
	if hint != "" {
		fmt.Fprintf(a.errOut, "%s %s\n", a.paint("hint:", "36"), printable(hint))
	}
}

// complainEach lists the failing checks where there are several, each with its field and its own hint. It gives the hint that is left to show: where
// all have the same one, it stands once at the end.
func (a *app) complainEach(p *problem.Problem) string {
	own := slices.ContainsFunc(p.Problems, func(one *problem.Problem) bool { return one.Hint != p.Hint })
	for i, one := range p.Problems {
		if i == maxListed {
			fmt.Fprintf(a.errOut, "  … and %d more\n", len(p.Problems)-i)
			break
		}
		text := one.Detail
		if one.Field != "" && !strings.Contains(text, one.Field) {
			text = one.Field + ": " + text
		}
		fmt.Fprintf(a.errOut, "  - %s\n", printable(text))
		if own && one.Hint != "" {
			fmt.Fprintf(a.errOut, "    %s %s\n", a.paint("hint:", "36"), printable(one.Hint))
		}
	}
	if own && len(p.Problems) > 0 && p.Hint == p.Problems[0].Hint {
		return "" // it is the first one's
	}
	return p.Hint
}

// warn prints one line that does not change the exit status; the same line once only.
func (a *app) warn(format string, args ...any) {
	line := printable(fmt.Sprintf(format, args...))
	if slices.Contains(a.warned, line) {
		return
	}
	a.warned = append(a.warned, line)
	fmt.Fprintf(a.errOut, "%s %s\n", a.paint("warning:", "33"), line)
}

func (a *app) paint(text, colour string) string {
	if !a.colour {
		return text
	}
	return "\x1b[1;" + colour + "m" + text + "\x1b[0m"
}
