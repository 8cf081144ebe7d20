package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestEachViolationHasItsHint(t *testing.T) {
	about := func(field, detail, hint string) *problem.Problem {
		p := problem.New(problem.Invalid, "%s", detail).WithHint("%s", hint)
		p.Field = field
		return p
	}
	tests := map[string]struct {
		problems []*problem.Problem
		want     string
	}{
		"one": {[]*problem.Problem{about("crp", "no decimal", "1.10")}, "error: no decimal\nhint: 1.10\n"},
		"two hints": {
			[]*problem.Problem{about("crp", "no decimal", "1.10"), about("", "there is no event type", ""), about("mail", `the field "mail" is no email`, "an address")},
			"error: 3 checks failed; the first: no decimal\n  - crp: no decimal\n    hint: 1.10\n  - there is no event type\n" +
				"  - the field \"mail\" is no email\n    hint: an address\n",
		},
		"the same hint": {
			[]*problem.Problem{about("a", "a is long", "shorter"), about("b", "b is long", "shorter")},
			"error: 2 checks failed; the first: a is long\n  - a is long\n  - b is long\nhint: shorter\n",
		},
	}
	for name, test := range tests {
		var out bytes.Buffer
		a := &app{errOut: &out}
		if status := a.fail(problem.Join(test.problems)); status != 1 {
			t.Errorf("%s: got status %d, want 1", name, status)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
