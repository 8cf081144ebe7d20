package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/jwt/v2"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// checkUserFile finds what keeps the credentials of a token from being written, before the token is made: a file that is there, a folder that takes none. Empty: none is wanted.
func checkUserFile(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.Conflict, "%s is there already, and no token was made", path).WithHint("remove it, or name another file with --creds")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return problem.New(problem.Invalid, "the credentials cannot be written, and no token was made: %v", err).WithHint("name a file in a folder that is there with --creds")
	}
	return nil
}

// writeUser writes a token and its user's seed for clients that answer the server's nonce.
func writeUser(path, text string, userSeed []byte) error {
	creds, err := jwt.FormatUserConfig(text, userSeed)
	if err == nil {
		err = putSecret(path, creds)
	}
	if err != nil {
		return problem.New(problem.Invalid, "write the credentials: %v", err).WithHint("the token is made and recorded; revoke it where it is of no use without its file")
	}
	return nil
}
