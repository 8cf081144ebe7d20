package eventlog

import (
	"errors"
	"fmt"
)

// Outcomes of a log's operations; implementations wrap them.
var (
	// ErrNotFound: no such message, or no such log.
	ErrNotFound = errors.New("not in the log")
	// ErrTaken: another message has the sequence already, or is about to get it; this append stored nothing. On a replicated stream the other
	// message may still fail: only reading the sequence tells.
	ErrTaken = errors.New("sequence is taken")
	// ErrRefused: the log does not take the message (too large, sealed, full); this append stored nothing.
	ErrRefused = errors.New("log refused the message")
	// ErrUnknown: whether the message was stored is not known; it may even be stored later.
	ErrUnknown = errors.New("outcome of the append is unknown")
	// ErrRewound: the log ends before a sequence that was read of it: a server lost its end, and uses sequences again. What was built from
	// the log is doubted.
	ErrRewound = errors.New("log ends before what was read of it")
	// ErrUnavailable: the log cannot be reached now; reading can be tried again.
	ErrUnavailable = errors.New("log is not available")
	// ErrAway: what a log says was archived is not in the archive now. It wraps ErrUnavailable: nothing is damaged by it, and once the archive is back, reading goes on.
	ErrAway error = awayError{}
)

type awayError struct{}

func (awayError) Error() string { return "the archive is away or incomplete" }
func (awayError) Unwrap() error { return ErrUnavailable }

// UnreadableError is that messages of a log which are kept outside its stream cannot be read: they were changed there, or lost. A cursor that gave it goes on behind them.
type UnreadableError struct {
	From, To uint64 // sequences, both included
	Err      error
}

// Error implements error.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("messages %d to %d cannot be read: %v", e.From, e.To, e.Err)
}

// Unwrap implements errors.Is and errors.As.
func (e *UnreadableError) Unwrap() error { return e.Err }
