package aggregate

import (
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Expected is the version that a change expects its aggregate to have (section 4). The zero value is Any; values compare with ==.
type Expected struct {
	kind    expectation
	version event.Version // of exactly
}

type expectation uint8

const (
	anyVersion expectation = 0
	none       expectation = 1
	exists     expectation = 2
	exactly    expectation = 3
)

var (
	Any    = Expected{kind: anyVersion} // whatever there is
	None   = Expected{kind: none}       // never written, or ended by an event type that deletes
	Exists = Expected{kind: exists}     // written, and not ended
)

// Exactly expects v to be the newest version; 0 means never written.
func Exactly(v event.Version) Expected { return Expected{kind: exactly, version: v} }

// ParseExpected reads any, none, exists, or a decimal number without sign or leading zeros, at most 2^63-2. The error is a *problem.Problem.
func ParseExpected(s string) (Expected, error) {
	switch s {
	case "any":
		return Any, nil
	case "none":
		return None, nil
	case "exists":
		return Exists, nil
	}
	v, err := strconv.ParseUint(s, 10, 63)
	if err != nil || v > event.MaxVersion || strconv.FormatUint(v, 10) != s {
		return Expected{}, problem.New(problem.Malformed, "the expected version %q cannot be read", clip(s)).
			WithHint("any, none, exists, or a number from 0 to %d without sign or leading zeros", uint64(event.MaxVersion))
	}
	return Exactly(event.Version(v)), nil
}

// String is the canonical text, which ParseExpected reads.
func (e Expected) String() string {
	switch e.kind {
	case none:
		return "none"
	case exists:
		return "exists"
	case exactly:
		return strconv.FormatUint(uint64(e.version), 10)
	default:
		return "any"
	}
}

// Equal reports whether both expect the same.
func (e Expected) Equal(other Expected) bool { return e == other }

func (e Expected) met(h Head) bool {
	there := h.Version > 0 && !h.Deleted
	switch e.kind {
	case none:
		return !there
	case exists:
		return there
	case exactly:
		return h.Version == e.version
	default:
		return true
	}
}
