package settings

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// The secrets. Each is taken from the flag of its name (with a warning), the flag with -file behind it, EVENTFUL_<NAME>, or EVENTFUL_<NAME>_FILE.
const (
	MasterKey = "master-key" // opens the operator's seed; needed to configure and to make auth keys
	DEK       = "dek"        // data encryption key; needed to start
	Token     = "token"      // access token of a person or service
	AuthKey   = "auth-key"   // seed of an auth key; signs schema and token acts
)

// Elsewhere as a flag's value says that the secret is wanted and stands elsewhere: in the file, the environment, or it is asked for.
const Elsewhere = "-"

// maxSecret is the largest secret that is read, in bytes.
const maxSecret = 64 << 10

func isSecret(name string) bool {
	return slices.Contains([]string{MasterKey, DEK, Token, AuthKey}, name)
}

// Secret is a secret with its source. Its String is masked, so that it cannot slip into a log.
type Secret struct {
	Bytes  []byte // nil: not given
	Origin string // as in Value.Origin
}

// Mask is shown instead of a secret.
const Mask = "********"

// String is a mask, or empty if the secret was not given.
func (s Secret) String() string {
	if s.Bytes == nil {
		return ""
	}
	return Mask
}

// OnCommandLine reports whether the secret was given as a flag's value, which other users of the machine can see.
func (s Secret) OnCommandLine() bool {
	return strings.HasPrefix(s.Origin, "flag --") && !strings.HasSuffix(s.Origin, "-file")
}

// Kept reports whether the secret is the one that `config` keeps in the user's configuration folder.
func (s Secret) Kept() bool { return strings.HasPrefix(s.Origin, "file ") }

// FromFlag reports whether the secret was given by a flag, its value or its file.
func (s Secret) FromFlag() bool { return strings.HasPrefix(s.Origin, "flag --") }

// Secret finds one secret; Bytes is nil if it is given nowhere. The DEK is also looked for in the user's configuration folder.
// The error is a *problem.Problem, and never holds the secret.
func (c *Config) Secret(name string) (Secret, error) {
	if f := c.flags.Lookup(name); f != nil && f.Changed && f.Value.Type() == "string" && f.Value.String() != Elsewhere {
		return Secret{[]byte(f.Value.String()), "flag --" + name}, nil
	}
	if f := c.flags.Lookup(name + "-file"); f != nil && f.Changed {
		return c.fromFile(name, f.Value.String(), "flag --"+name+"-file")
	}
	value, file := c.environ(envName(name)), c.environ(envName(name)+"_FILE")
	switch {
	case value != "" && file != "":
		return Secret{}, problem.New(problem.Malformed, "%s and %s_FILE are both set", envName(name), envName(name)).
			WithHint("unset one of them")
	case value != "":
		return Secret{[]byte(value), "env " + envName(name)}, nil
	case file != "":
		return c.fromFile(name, file, "env "+envName(name)+"_FILE")
	case name == DEK:
		return c.storedDEK()
	}
	return Secret{}, nil
}

func (c *Config) fromFile(name, path, origin string) (Secret, error) {
	if abs, err := filepath.Abs(path); name == DEK && err == nil && inside(abs, c.DataDir) {
		return Secret{}, problem.New(problem.Invalid, "the DEK file %s lies inside the data folder that it protects", path).
			WithHint("move it elsewhere: a copy of the data must not bring its key along")
	}
	text, err := ReadSecret(path)
	return Secret{text, origin}, err
}

// ReadSecret reads a secret from a file, or from standard input if path is "-", without the newline at its end. A file that others than its owner and
// group may read is refused. The error is a *problem.Problem.
func ReadSecret(path string) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, problem.New(problem.Invalid, "a secret cannot be read: %v", err).
				WithHint("name a file that the user who runs this may read; it holds the secret alone")
		}
		defer f.Close()
	}
	if info, err := f.Stat(); err == nil && path != "-" && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return nil, problem.New(problem.Invalid, "the secret in %s can be read by everybody (mode %04o)", path, info.Mode().Perm()).
			WithHint("chmod 600 %s, and think about a new secret", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, problem.New(problem.Invalid, "a secret cannot be read: %v", err).WithHint("name a file, not a folder; it holds the secret alone")
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 || len(text) > maxSecret {
		return nil, problem.New(problem.Invalid, "the secret in %s is empty, or over %d bytes", path, maxSecret).
			WithHint("is it the right file? It holds the secret alone, on one line")
	}
	return text, nil
}

// DEKPath is where `eventful config` keeps the DEK of this data folder: in the user's configuration folder, never in the data folder.
func (c *Config) DEKPath() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the user's configuration folder: %w", err)
	}
	dir := c.DataDir
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	digest := sha256.Sum256([]byte(dir))
	path := filepath.Join(base, "eventful", hex.EncodeToString(digest[:8]), "dek")
	if inside(path, dir) {
		return "", fmt.Errorf("the user's configuration folder %s lies inside the data folder", base)
	}
	return path, nil
}

func (c *Config) storedDEK() (Secret, error) {
	path, err := c.DEKPath()
	if err != nil {
		return Secret{}, nil // no configuration folder: the DEK comes from elsewhere, or start says that it is missing
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Secret{}, nil
	}
	text, err := ReadSecret(path)
	return Secret{text, "file " + path}, err
}

// StoreDEK keeps the DEK for later starts, 0600 in a folder of 0700, and says where.
func (c *Config) StoreDEK(dek []byte) (path string, err error) {
	if path, err = c.DEKPath(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("store the DEK: %w", err)
	}
	return path, replace(path, append(bytes.Clone(dek), '\n'))
}

// stagedDEK is the name of a DEK that is about to replace the kept one, beside it.
const stagedDEK = "dek.next"

// StageDEK keeps a DEK beside the kept one, which stays as it is: until the key file is sealed under it, nobody knows which of the two opens it.
func (c *Config) StageDEK(dek []byte) error {
	path, err := c.stagedPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store the new DEK: %w", err)
	}
	return replace(path, append(bytes.Clone(dek), '\n'))
}

// StagedDEK is what StageDEK kept and SettleDEK did not settle yet; nil if there is none.
func (c *Config) StagedDEK() ([]byte, error) {
	path, err := c.stagedPath()
	if err != nil {
		return nil, nil // no configuration folder: nothing was kept
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ReadSecret(path)
}

// SettleDEK puts the staged DEK in the place of the kept one, at once and for good, and says where. It is no error if none is staged.
func (c *Config) SettleDEK() (path string, err error) {
	if path, err = c.DEKPath(); err != nil {
		return "", err
	}
	staged := filepath.Join(filepath.Dir(path), stagedDEK)
	if err := os.Rename(staged, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("keep the new DEK: %w", err)
	}
	return path, flush(filepath.Dir(path))
}

// KeepsDEK reports whether a DEK is kept, or staged.
func (c *Config) KeepsDEK() bool {
	path, err := c.DEKPath()
	if err != nil {
		return false
	}
	_, kept := os.Lstat(path)
	_, staged := os.Lstat(filepath.Join(filepath.Dir(path), stagedDEK))
	return kept == nil || staged == nil
}

func (c *Config) stagedPath() (string, error) {
	path, err := c.DEKPath()
	return filepath.Join(filepath.Dir(path), stagedDEK), err
}

// RemoveDEK forgets the stored DEK; it is no error if there is none.
func (c *Config) RemoveDEK() error {
	path, err := c.DEKPath()
	if err != nil {
		return nil
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("remove the stored DEK: %w", err)
	}
	return nil
}

func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
