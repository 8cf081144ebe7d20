package eventlog

import "errors"

// Outcomes of a log's operations; implementations wrap them.
var (
	// ErrNotFound: no such message, or no such log.
	ErrNotFound = errors.New("not in the log")
	// ErrTaken: another message has the sequence already; this append stored nothing.
	ErrTaken = errors.New("sequence is taken")
	// ErrRefused: the log does not take the message (too large, sealed, full); this append stored nothing.
	ErrRefused = errors.New("log refused the message")
	// ErrUnknown: whether the message was stored is not known; it may even be stored later.
	ErrUnknown = errors.New("outcome of the append is unknown")
	// ErrUnavailable: the log cannot be reached now; reading can be tried again.
	ErrUnavailable = errors.New("log is not available")
)
