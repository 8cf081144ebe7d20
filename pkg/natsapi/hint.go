package natsapi

import "github.com/eventfuldb/eventful/pkg/problem"

// hints say what to do next where whoever found the problem did not: a problem never reaches its reader without one.
var hints = map[problem.Code]string{
	problem.Malformed:          "correct the request; docs/spec/commands.md says what one holds",
	problem.Invalid:            "correct the event; `eventful schema:show` prints what its type accepts",
	problem.TooLarge:           "send less at once; docs/spec/log.md, section 2, lists the limits",
	problem.Unauthenticated:    "ask for a new token",
	problem.Forbidden:          "use a token that allows it",
	problem.BudgetSpent:        "ask for a new token",
	problem.NotFound:           "look for another spelling; `eventful aggregate:list` and `eventful schema:list` show what there is",
	problem.Conflict:           "read what there is now, and decide again",
	problem.CommandIDReused:    "send other content with a command id of its own",
	problem.Locked:             "leave it out, or have it unlocked",
	problem.Unavailable:        "send it again in a moment, with the same command id",
	problem.NoSpace:            "make room on the disk that is named; writing goes on by itself",
	problem.UnknownOutcome:     "send it again with the same command id",
	problem.Damaged:            "run `eventful aggregate:verify --all`: it names what is wrong and where",
	problem.VerificationFailed: "keep a copy of the data as it is before anything else",
	problem.Internal:           "look into the server's log, and report it",
}

// hinted gives the problem with a hint.
func hinted(p *problem.Problem) *problem.Problem {
	if p.Hint != "" {
		return p
	}
	with := *p // others may hold the same problem
	with.Hint = hints[p.Code]
	return &with
}
