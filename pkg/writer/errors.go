package writer

import "errors"

// What ends or stops a log's engine.
var (
	// ErrFenced: another writer has taken the log over (a higher epoch stands in it). This process must not serve it any more.
	ErrFenced = errors.New("another writer took the log over")
	// ErrDamaged: the log has damage, or does not match its own hashes; it takes no writes until a person decides.
	ErrDamaged = errors.New("log is damaged")
)

// errLost: the log ends before, or holds another block at, a place that its state has seen: acknowledged events are gone.
var errLost = errors.New("acknowledged events are gone")
