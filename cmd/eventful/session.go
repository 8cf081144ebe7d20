package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const (
	sessionFile    = "session"     // sealed
	sessionKeyFile = "session.key" // the key of the seal: it keeps the session out of backups and searches, not from its owner
	sessionSeal    = "cli-session"
	sessionFormat  = 2
	sessionTime    = 8 * time.Hour // unless --keep-alive
)

// session is what token:auth keeps for later commands: an auth key, for schemas and tokens, and beside it an access token, for data. Either may be
// missing.
type session struct {
	Format  int   `json:"format"`
	AuthKey *kept `json:"auth-key,omitempty"`
	Token   *kept `json:"token,omitempty"`
}

// kept is one secret of a session.
type kept struct {
	Secret  string    `json:"secret"`
	Account string    `json:"account,omitempty"` // of an auth key: public id of the account APP
	Holder  string    `json:"holder"`            // id of the token, public id of the auth key
	Expires time.Time `json:"expires"`           // zero: until token:logout

	KeepAlive bool          `json:"keep-alive,omitempty"`
	Lifetime  time.Duration `json:"lifetime,omitempty"` // of a token that is kept alive, when it was first kept
}

func (s *session) empty() bool { return s.AuthKey == nil && s.Token == nil }

// usable gives what is kept, nil if nothing is; what has expired is an error that says so.
func (k *kept) usable() (*kept, error) {
	if k != nil && k.expired() {
		return nil, problem.New(problem.Unauthenticated, "the session of %s expired at %s", k.Holder, k.Expires.UTC().Format(time.RFC3339)).
			WithHint("start a new one with `eventful token:auth`, or end it with `eventful token:logout`")
	}
	return k, nil
}

func (k *kept) expired() bool { return !k.Expires.IsZero() && !time.Now().Before(k.Expires) }

// sessionFolder is in the user's configuration folder, one for each data folder, or for each server that --server names.
func (a *app) sessionFolder() (string, error) {
	if a.settings.Server == "" {
		path, err := a.settings.DEKPath()
		return filepath.Dir(path), err
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the user's configuration folder: %w", err)
	}
	digest := sha256.Sum256([]byte("server\x00" + a.settings.Server))
	return filepath.Join(base, "eventful", hex.EncodeToString(digest[:8])), nil
}

// session reads the session; an empty one if there is none.
func (a *app) session() (*session, error) {
	dir, err := a.sessionFolder()
	if err != nil {
		return &session{}, nil // without a configuration folder there is no session
	}
	sealed, err := os.ReadFile(filepath.Join(dir, sessionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &session{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	keyFile := filepath.Join(dir, sessionKeyFile)
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, withOtherHint(brokenSession(fmt.Sprintf("%s can be read by others (mode %04o)", keyFile, info.Mode().Perm())),
			"drop it with `eventful token:logout`, and revoke what it held if somebody else may have read it; else chmod 600 "+keyFile)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil || len(key) != 32 {
		return nil, brokenSession("its key is missing")
	}
	plain, err := keyring.Unseal([32]byte(key), sessionSeal, sealed)
	if err != nil {
		return nil, brokenSession(err.Error())
	}
	s := &session{}
	if err := json.Unmarshal(plain, s); err != nil || s.Format != sessionFormat {
		return nil, brokenSession("its format is not known")
	}
	return s, nil
}

func brokenSession(why string) error {
	return problem.New(problem.Unauthenticated, "the session cannot be opened: %s", why).WithHint("drop it with `eventful token:logout`")
}

// keep writes the session under a new key. Key first: a crash between the two leaves a session that does not open, and says so.
func (a *app) keep(s *session) error {
	dir, err := a.sessionFolder()
	if err != nil {
		return err
	}
	s.Format = sessionFormat
	plain, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return fmt.Errorf("make the session's key: %w", err)
	}
	return errors.Join(putSecret(filepath.Join(dir, sessionKeyFile), key[:]), putSecret(filepath.Join(dir, sessionFile), keyring.Seal(key, sessionSeal, plain)))
}

// forget removes the session, and says whether there was one.
func (a *app) forget() (there bool, err error) {
	dir, err := a.sessionFolder()
	if err != nil {
		return false, err
	}
	for _, name := range []string{sessionFile, sessionKeyFile} {
		switch gone := os.Remove(filepath.Join(dir, name)); {
		case gone == nil:
			there = there || name == sessionFile
		case !errors.Is(gone, fs.ErrNotExist):
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return there, fmt.Errorf("end the session: %w", err)
	}
	return there, nil
}

// putSecret replaces a file that only its owner can read.
func putSecret(path string, content []byte) error { return put(path, content, 0o600) }

// put replaces a file as a whole, on the disk when it comes back, or leaves what was there.
func put(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// putAnswer writes a file that the user names for an answer, readable by its owner only. What is no file (a pipe, /dev/stdout, a device) is written to and stays what it is.
func putAnswer(path string, content []byte) error {
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() || info.IsDir() {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		return putSecret(path, content)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
