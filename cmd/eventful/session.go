package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	sessionFile    = "session"     // sealed
	sessionKeyFile = "session.key" // the key of the seal: it keeps the session out of backups and searches, not from its owner
	sessionSeal    = "cli-session"
	sessionFormat  = 1
	sessionTime    = 8 * time.Hour // unless --keep-alive
)

// session is what token:auth keeps for later commands: an access token or the seed of an auth key.
type session struct {
	Format  int       `json:"format"`
	Token   string    `json:"token,omitempty"`
	AuthKey string    `json:"auth-key,omitempty"`
	Account string    `json:"account,omitempty"` // with an auth key
	Holder  string    `json:"holder"`            // actor of the token, public id of the auth key
	Expires time.Time `json:"expires"`           // zero: until token:logout
}

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

// session reads the session; nil if there is none. One that has expired is an error that says so.
func (a *app) session() (*session, error) {
	dir, err := a.sessionFolder()
	if err != nil {
		return nil, nil // without a configuration folder there is no session
	}
	sealed, err := os.ReadFile(filepath.Join(dir, sessionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, sessionKeyFile))
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
	if !s.Expires.IsZero() && time.Now().After(s.Expires) {
		return nil, problem.New(problem.Unauthenticated, "the session of %s expired at %s", s.Holder, s.Expires.UTC().Format(time.RFC3339)).
			WithHint("start a new one with `eventful token:auth`, or end it with `eventful token:logout`")
	}
	return s, nil
}

func brokenSession(why string) error {
	return problem.New(problem.Unauthenticated, "the session cannot be opened: %s", why).WithHint("drop it with `eventful token:logout`")
}

// keep writes the session under a new key. Key first: a crash between the two leaves a session that does not open, and says so.
func (a *app) keep(s *session) (string, error) {
	dir, err := a.sessionFolder()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("write the session: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("write the session: %w", err)
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return "", fmt.Errorf("make the session's key: %w", err)
	}
	path := filepath.Join(dir, sessionFile)
	err = errors.Join(putSecret(filepath.Join(dir, sessionKeyFile), key[:]), putSecret(path, keyring.Seal(key, sessionSeal, plain)))
	return path, err
}

// putSecret replaces a file that only its owner can read.
func putSecret(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func newTokenAuthCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token:auth [AUTH-KEY | TOKEN]",
		Short: "Keep an auth key or an access token for later commands",
		Long: "Keep an auth key or an access token for later commands, encrypted, in the user's configuration folder.\n" +
			"Without an argument, or with `-`, it is read from standard input, which keeps it out of the process list.\n" +
			"EVENTFUL_TOKEN and EVENTFUL_AUTH_KEY go before the session. It ends after 8 hours, and never outlives its token.",
		Args: cobra.MaximumNArgs(1),
	}
	keep := cmd.Flags().Bool("keep-alive", false, "until `eventful token:logout`, or until the token expires")
	cmd.Flags().String("account", "", "public `id` of the site's account APP, for an auth key of another machine")
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		secret, err := a.givenSecret(args)
		if err != nil {
			return err
		}
		s, err := a.newSession(cmd, secret)
		if err != nil {
			return err
		}
		if end := time.Now().Add(sessionTime).Truncate(time.Second); !*keep && (s.Expires.IsZero() || end.Before(s.Expires)) {
			s.Expires = end
		}
		if err := a.tryOut(cmd, s); err != nil {
			return err
		}
		if _, err := a.keep(s); err != nil {
			return err
		}
		return a.showSession(s)
	}
	return cmd
}

func (a *app) givenSecret(args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		a.warn("a secret on the command line is seen by other users of this machine; leave it out and it is asked for")
		return strings.TrimSpace(args[0]), nil
	}
	text, err := a.askSecret("auth key or token")
	return strings.TrimSpace(string(text)), err
}

func (a *app) newSession(cmd *cobra.Command, secret string) (*session, error) {
	if strings.Count(secret, ".") != 2 {
		id, err := token.PublicID([]byte(secret))
		if err != nil {
			return nil, problem.New(problem.Malformed, "this is neither an auth key nor an access token").
				WithHint("an auth key begins with SA; an access token has three parts separated by dots")
		}
		account, err := a.accountHere(cmd)
		if err == nil && account == "" {
			err = accountUnknown()
		}
		return &session{Format: sessionFormat, AuthKey: secret, Account: account, Holder: id}, err
	}
	claims, err := jwt.DecodeUserClaims(secret)
	if err != nil {
		return nil, problem.New(problem.Malformed, "the access token cannot be read: %v", err).WithHint("was it cut when it was copied?")
	}
	s := &session{Format: sessionFormat, Token: secret, Holder: "token " + claims.ID}
	if claims.Expires != 0 {
		s.Expires = time.Unix(claims.Expires, 0).UTC()
	}
	return s, nil
}

// tryOut asks the server whether it takes the secret. A server that does not answer is no reason not to keep it.
func (a *app) tryOut(cmd *cobra.Command, s *session) error {
	source := client.Static(s.Token)
	if s.AuthKey != "" {
		source = (&minter{seed: []byte(s.AuthKey), account: s.Account}).token
	}
	c, err := a.dial(cmd, source)
	if err == nil {
		defer c.Close()
		_, err = c.SchemaList(cmd.Context())
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, client.ErrUnavailable):
		a.warn("the server does not answer, so it is not known whether it takes this: %v", err)
		return nil
	}
	return err
}

func (a *app) showSession(s *session) error {
	kind, until := "access token", "token:logout"
	if s.AuthKey != "" {
		kind = "auth key"
	}
	if !s.Expires.IsZero() {
		until = s.Expires.UTC().Format(time.RFC3339)
	}
	return a.show(struct {
		Kind   string `json:"kind"`
		Holder string `json:"holder"`
		Until  string `json:"until"`
	}{kind, s.Holder, until}, "kept", kind, "of", s.Holder, "until", until)
}

func newTokenLogoutCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "token:logout",
		Short: "End the session of token:auth",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.sessionFolder()
			if err != nil {
				return err
			}
			err = os.Remove(filepath.Join(dir, sessionFile))
			there := err == nil
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			if gone := os.Remove(filepath.Join(dir, sessionKeyFile)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
			if err != nil {
				return fmt.Errorf("end the session: %w", err)
			}
			if there {
				fmt.Fprintln(a.errOut, "the session has ended")
			} else {
				fmt.Fprintln(a.errOut, "there was no session")
			}
			return nil
		},
	}
}

// askSecret reads one secret: from a terminal without echo, else from standard input.
func (a *app) askSecret(what string) ([]byte, error) {
	if term.IsTerminal(int(a.in.Fd())) {
		return a.prompt(what + ": ")
	}
	text, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, usageError("give it on standard input, for example `eventful token:auth < FILE`", "no %s was given", what)
	}
	return text, nil
}
