package lease

import "errors"

// Errors of a Table, of Resign and of a Lease; errors wrap them.
var (
	// ErrConflict: the table holds another revision of the key, or one where none was expected. Nothing was changed by this call.
	ErrConflict = errors.New("record was changed in between")
	// ErrNoSuccessor: no other live member follows the log and has room.
	ErrNoSuccessor = errors.New("no other writer that has room follows the log")
	// ErrNotLeading: this member does not serve the log.
	ErrNotLeading = errors.New("the log is not served by this writer")
	// ErrNotServed: the successor did not serve in time; the log stays here.
	ErrNotServed = errors.New("the successor did not serve in time")
	// ErrLost: the lease ended before what was asked could be recorded.
	ErrLost = errors.New("the lease is lost")
	// ErrNewer: a record was written by a newer program. Others' are left alone; with this member's own the Keeper does not run.
	ErrNewer = errors.New("record has an unknown version")
	// ErrSameMember: another process runs under this member's id. The one that comes later ends with it.
	ErrSameMember = errors.New("another process has the same member id: was its folder copied?")
	// ErrStopped: the Keeper does not run any more.
	ErrStopped = errors.New("the keeper of the leases does not run")
)
