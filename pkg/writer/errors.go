package writer

import (
	"errors"
	"fmt"
)

// What ends or stops a log's engine.
var (
	// ErrFenced: another writer has taken the log over (a higher epoch stands in it). This process must not serve it any more.
	ErrFenced = errors.New("another writer took the log over")
	// ErrDamaged: the log has damage, or does not match its own hashes; it takes no writes until a person decides.
	ErrDamaged = errors.New("log is damaged")
	// ErrShortened: the log ends before, or holds another block at, a place that this process knows to be on disk: acknowledged events are gone. It wraps ErrDamaged.
	ErrShortened = fmt.Errorf("acknowledged events are gone: %w", ErrDamaged)
)
