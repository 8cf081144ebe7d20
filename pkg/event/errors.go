package event

import "errors"

// Sentinels of the decoders; every decoding error wraps one of them.
var (
	// ErrDecode: the bytes are not a payload, commit or block of this format. Never repaired, always named.
	ErrDecode = errors.New("not in the log format")
	// ErrNewerFormat: the bytes are a block of a format version that this program does not know. Update the program.
	ErrNewerFormat = errors.New("newer format version")
	// ErrInvalid: the value breaks a rule of the format and cannot be encoded. The caller's fault.
	ErrInvalid = errors.New("breaks a rule of the log format")
)
