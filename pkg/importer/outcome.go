package importer

import (
	"errors"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// exitRefused is the exit status of the codes about authority (docs/spec/commands.md, section 6).
const exitRefused = 5

// isRowsOwn reports whether an error is about the one row, so that the others go on.
func isRowsOwn(err error) bool {
	var p *problem.Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Code {
	case problem.Malformed, problem.Invalid, problem.TooLarge, problem.NotFound, problem.Conflict, problem.CommandIDReused, problem.Locked:
		return true
	}
	return false
}

// stopped is the error of a run that ends at a row. It keeps the code, and so the exit status, of its cause.
func stopped(at string, cause error) error {
	p := *problem.From(cause)
	p.Detail = "stopped at " + at + ": " + p.Detail
	switch {
	case p.ExitStatus() == exitRefused:
		p.Hint = "run the same import again with a token that may write it: it goes on where it stopped"
	case p.Hint == "":
		p.Hint = "run the same import again: it goes on where it stopped"
	}
	return &p
}
