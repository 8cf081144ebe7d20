package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// leastTimeout is the shortest --timeout: a shorter one is a slip, such as a sign or a missing unit.
const leastTimeout = time.Millisecond

// withHint gives a problem that has no hint this one; other errors pass.
func withHint(err error, hint string) error {
	if p, ok := asProblem(err); ok && p.Hint == "" {
		p.Hint = hint
	}
	return err
}

// withOtherHint gives a problem this hint in place of its own; other errors pass.
func withOtherHint(err error, hint string) error {
	if p, ok := asProblem(err); ok {
		p.Hint = hint
	}
	return err
}

// actToken is what shows and proves acts of the audit one by one.
const actToken = "for example `eventful token:generate --aggregates=eventful-schema --actions=read …` of an auth key that names eventful-schema: no auth key shows them, and `*` does not cover them"

// withActHint adds to the problem of who has no token, or one that does not see the event, how acts are seen.
func withActHint(err error) error {
	p, ok := asProblem(err)
	if !ok || p.Code != problem.NotFound && p.Code != problem.Unauthenticated {
		return err
	}
	hint := "of an act of the audit, use a token that names its type, " + actToken
	if p.Hint != "" {
		hint = p.Hint + "; " + hint
	}
	p.Hint = hint
	return err
}

// checkType is event.CheckType for a type that was given on the command line.
func checkType(aggregateType string) error {
	if err := event.CheckType(aggregateType); err != nil {
		return problem.New(problem.Malformed, "%v", err).WithHint("name one aggregate type, for example patient; `eventful schema:list` lists them")
	}
	return nil
}

// checkTimeout refuses a --timeout in which nothing can be answered.
func checkTimeout(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("timeout")
	if f == nil || !f.Changed {
		return nil
	}
	timeout, err := cmd.Flags().GetDuration("timeout")
	if err == nil && timeout < leastTimeout {
		err = usageError("give a time such as 500ms, 30s or 2m", "--timeout=%s is shorter than %s", timeout, leastTimeout)
	}
	return err
}

// notStaged says that nothing is staged for an id.
func notStaged(id string) error {
	return problem.New(problem.NotFound, "nothing is staged for the id %.140q", id).WithHint("`eventful aggregate:staged` lists what is; an aggregate is named TYPE/ID")
}
