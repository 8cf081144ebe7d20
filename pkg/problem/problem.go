// Package problem says what went wrong, to what, and what to do next: one table of codes with their status and exit status.
//
// The table is docs/spec/commands.md, section 6; codes, statuses and exit statuses are a contract. The package is pure.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Code names a kind of error. The set is closed; the words go over the wire.
type Code string

const (
	Malformed          Code = "malformed"
	Invalid            Code = "invalid"
	TooLarge           Code = "too_large"
	Unauthenticated    Code = "unauthenticated"
	Forbidden          Code = "forbidden"
	BudgetSpent        Code = "budget_spent"
	NotFound           Code = "not_found"
	Conflict           Code = "conflict"
	CommandIDReused    Code = "command_id_reused"
	Locked             Code = "locked"
	Unavailable        Code = "unavailable"
	NoSpace            Code = "no_space"
	UnknownOutcome     Code = "unknown_outcome"
	Damaged            Code = "damaged"
	VerificationFailed Code = "verification_failed"
	Internal           Code = "internal"
)

type row struct {
	status, exit int
	title        string
}

var table = map[Code]row{
	Malformed:          {400, 2, "the request cannot be read"},
	Invalid:            {422, 1, "the schema does not allow this"},
	TooLarge:           {413, 1, "over a limit"},
	Unauthenticated:    {401, 5, "no valid token"},
	Forbidden:          {403, 5, "the token does not allow this"},
	BudgetSpent:        {403, 5, "the write budget is used up"},
	NotFound:           {404, 3, "not found"},
	Conflict:           {409, 4, "it does not fit what is stored"},
	CommandIDReused:    {409, 4, "the command id was used with other content"},
	Locked:             {423, 4, "locked"},
	Unavailable:        {503, 6, "not available now; nothing was stored"},
	NoSpace:            {507, 6, "nothing can be written; nothing was stored"},
	UnknownOutcome:     {504, 6, "it is not known whether this was stored"},
	Damaged:            {503, 6, "the log is damaged and takes no writes"},
	VerificationFailed: {409, 7, "verification failed"},
	Internal:           {500, 1, "a fault of EventfulDB"},
}

// Problem is an error for a person and for a program. The zero value is no valid problem.
type Problem struct {
	Code     Code       `json:"code"`
	Status   int        `json:"status"`
	Title    string     `json:"title"`
	Detail   string     `json:"detail"`         // what happened, to what
	Hint     string     `json:"hint,omitempty"` // what to do next
	Field    string     `json:"field,omitempty"`
	Expected string     `json:"expected,omitempty"` // conflicts: the expected version as it was sent
	Actual   string     `json:"actual,omitempty"`   // conflicts: the newest version, a decimal number
	Between  []Between  `json:"between,omitempty"`  // conflicts: what was committed in between, newest 20
	Problems []*Problem `json:"problems,omitempty"` // every failing check, where there are several
}

// Between is one event that was committed after the version a command expected.
type Between struct {
	Version uint64 `json:"version"`
	Event   string `json:"event"`
	Actor   string `json:"actor"`
	Hash    string `json:"hash"`
	Command string `json:"command,omitempty"` // id of the command that it came with
}

// New makes a problem; the detail is formatted as by fmt.Sprintf. An unknown code panics: the table is closed.
func New(code Code, format string, args ...any) *Problem {
	r, ok := table[code]
	if !ok {
		panic("problem: code " + string(code) + " is not in the table")
	}
	return &Problem{Code: code, Status: r.status, Title: r.title, Detail: fmt.Sprintf(format, args...)}
}

// WithHint gives the same problem with a hint.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// Error is the detail behind the title.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// Is makes errors.Is(err, &Problem{Code: c}) compare codes.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// ExitStatus is the exit status of a command that ends with this problem.
func (p *Problem) ExitStatus() int {
	if r, ok := table[p.Code]; ok {
		return r.exit
	}
	return 1
}

// From finds the problem in err's chain; any other error becomes Internal.
func From(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return New(Internal, "%s", err)
}

// Join makes one problem of several: alone it stays itself, else the first one's code with all of them listed. None gives nil.
func Join(problems []*Problem) *Problem {
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return problems[0]
	}
	p := New(problems[0].Code, "%d checks failed; the first: %s", len(problems), problems[0].Detail)
	p.Hint, p.Problems = problems[0].Hint, problems
	return p
}

// Decode reads a problem that came over the wire; an unknown code or unreadable body becomes Internal.
func Decode(body []byte) *Problem {
	p := &Problem{}
	if err := json.Unmarshal(body, p); err != nil {
		return New(Internal, "an answer cannot be read as a problem: %v", err)
	}
	if _, ok := table[p.Code]; !ok {
		return New(Internal, "unknown error code %q: %s", p.Code, p.Detail)
	}
	p.Problems = slices.DeleteFunc(p.Problems, func(one *Problem) bool { return one == nil }) // JSON's null
	return p
}
