package archive

import "errors"

// Outcomes of an archive's operations; the errors returned wrap them.
var (
	// ErrNotFound: the archive has no such object, or no such message.
	ErrNotFound = errors.New("not in the archive")
	// ErrExists: an object of that name is there already; nothing was changed.
	ErrExists = errors.New("object exists")
	// ErrDamaged: an object is not what was written: a byte was changed, it was cut, or it is another log's.
	ErrDamaged = errors.New("archive is damaged")
	// ErrSealed: an object is encrypted, and the archive has no key.
	ErrSealed = errors.New("archive is encrypted, and no key was given")
	// ErrNewer: an object has a format version that this program does not know.
	ErrNewer = errors.New("archive has a newer format")
	// ErrLogDamaged: the log itself is damaged; nothing from there on is archived.
	ErrLogDamaged = errors.New("log is damaged")
	// ErrDiffers: the archive and the stream hold different bytes for a message; nothing is purged.
	ErrDiffers = errors.New("archive and stream differ")
)
