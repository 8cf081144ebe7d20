package run

import (
	"errors"
	"io/fs"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// KeyProblem turns an error of package keyring into one for people; others, and nil, pass.
func KeyProblem(err error) error {
	switch {
	case errors.Is(err, keyring.ErrNewer):
		return problem.New(problem.Invalid, "%v", err).WithHint("use the eventful that wrote it, or a newer one")
	case errors.Is(err, keyring.ErrExposed):
		return problem.New(problem.Invalid, "%v", err).WithHint("chmod 600 that file")
	case errors.Is(err, keyring.ErrCorrupt):
		return problem.New(problem.Invalid, "%v", err).WithHint("put the key file back from a backup: without it nothing can be decrypted")
	case errors.Is(err, keyring.ErrWeakSecret):
		return problem.New(problem.Malformed, "%v", err).WithHint("`eventful config --generate` makes good ones")
	case errors.Is(err, keyring.ErrWrongKey):
		return problem.New(problem.Unauthenticated, "%v", err).WithHint("give the one that `eventful config` was given")
	case errors.Is(err, fs.ErrPermission):
		return problem.New(problem.Invalid, "%v", err).WithHint("run eventful as the user who owns the data folder")
	}
	return err
}
