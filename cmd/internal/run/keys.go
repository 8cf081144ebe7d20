package run

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
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
	case errors.Is(err, keyring.ErrFull):
		return problem.New(problem.Conflict, "%v", err).
			WithHint("no writer has entered them into the system log: start one on this key file, or copy %s here from the data folder of one that did", enteredFile)
	case errors.Is(err, fs.ErrPermission):
		return problem.New(problem.Invalid, "%v", err).WithHint("run eventful as the user who owns the data folder")
	}
	return err
}

// DEK finds the DEK as Config.Secret does. Where `config --rotate-dek` was cut short, the kept one may be the old one and the staged one the present:
// then it is the one that opens the key file. The error is a *problem.Problem.
func DEK(config *settings.Config) (settings.Secret, error) {
	secret, err := config.Secret(settings.DEK)
	if err != nil || secret.Bytes != nil && !secret.Kept() {
		return secret, err
	}
	staged, err := config.StagedDEK()
	if err != nil || staged == nil {
		return secret, err
	}
	keys, err := keyring.Load(filepath.Join(config.DataDir, KeyFile))
	if err != nil {
		return secret, KeyProblem(err)
	}
	if _, err := keys.Open(staged); err == nil {
		path, err := config.DEKPath()
		return settings.Secret{Bytes: staged, Origin: "file " + path}, err
	}
	return secret, nil
}
