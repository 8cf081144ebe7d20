package keyring

import "errors"

var (
	// ErrWrongKey: a seal does not open under this key, or was changed. The two cannot be told apart.
	ErrWrongKey = errors.New("wrong key, or the sealed content was changed")
	// ErrNewer: the file was written by a newer version of the program.
	ErrNewer = errors.New("key file of a newer version")
	// ErrExposed: the file can be read or written by others than its owner.
	ErrExposed = errors.New("key file is open to others")
	// ErrCorrupt: the file is no key file, or it was changed.
	ErrCorrupt = errors.New("key file is damaged")
	// ErrWeakSecret: a master key or DEK that is not accepted.
	ErrWeakSecret = errors.New("secret is not accepted")
	// ErrFull: the file holds as many acts as it may.
	ErrFull = errors.New("too many acts wait in the key file")
)
