package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// breakGlassTime is how long a break-glass credential lives unless --expiration says otherwise.
const breakGlassTime = time.Hour

// credsFlags are those of creds.
type credsFlags struct {
	out        string
	expiration uint64
	unrecorded bool
}

// madeCreds is what creds prints.
type madeCreds struct {
	Role    string     `json:"role"`
	Files   []string   `json:"files"`
	Expires *time.Time `json:"expires,omitempty"`
}

const credsHelp = `Write NATS credentials of a role, one file for each account in which it has business: ROLE-log.creds, ROLE-app.creds.
An engine takes them with --log-creds and --app-creds; docs/deploy-security.md says what each may, and why.

  writer, projector, plugin-runner, archiver    the engines
  key-reader                                    a plugin-runner that hands encrypted fields to plugins (--plugin-pii --key-creds)
  client                                        a service that sends commands and queries, each with a token
  feed-reader                                   a program that follows the site's own feed of events (a plugin of type nats without --url), all of it
  break-glass                                   everything in the account of the logs, for an hour (--expiration, at most a day); recorded in the system log,
                                                and so is each connection with it`

func newCredsCommand(a *app) *cobra.Command {
	var roles []string
	for _, r := range streams.HandedOut() {
		roles = append(roles, string(r))
	}
	cmd := &cobra.Command{Use: "creds ROLE", Short: "Write NATS credentials of a role, for outside clusters", Long: credsHelp, Args: cobra.ExactArgs(1), ValidArgs: roles}
	var f credsFlags
	cmd.Flags().StringVar(&f.out, "out", ".", "`folder` of the files; made with mode 0700")
	cmd.Flags().Uint64Var(&f.expiration, "expiration", 0, "`seconds` that they are valid; 0: for ever, or an hour for break-glass")
	cmd.Flags().BoolVar(&f.unrecorded, "unrecorded", false, "break-glass: go on although no writer can record it")
	secretFlags(cmd, settings.DEK)
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.creds(cmd, streams.Role(args[0]), f) }
	return cmd
}

func (a *app) creds(cmd *cobra.Command, role streams.Role, f credsFlags) error {
	if !slices.Contains(streams.HandedOut(), role) {
		return usageError("for example `eventful creds writer`", "%.40q is none of %v", string(role), streams.HandedOut())
	}
	expires, err := f.expires(role)
	if err != nil {
		return err
	}
	keys, secrets, err := a.openKeys()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.out, 0o700); err != nil {
		return problem.New(problem.Invalid, "the folder of the credentials cannot be made: %v", err).WithHint("name another one with --out")
	}
	users, err := credsUsers(keys, secrets, role, expires)
	if err != nil {
		return err
	}
	answer := madeCreds{Role: string(role), Files: []string{}}
	pairs := []string{"role", answer.Role}
	for _, u := range users {
		path := filepath.Join(f.out, string(role)+"-"+strings.ToLower(string(u.account))+".creds")
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return problem.New(problem.Conflict, "%s is there already", path).WithHint("remove it, or name another folder with --out")
		}
		answer.Files = append(answer.Files, path)
		pairs = append(pairs, "account "+string(u.account), path)
	}
	if !expires.IsZero() {
		answer.Expires = &expires
		pairs = append(pairs, "expires", expires.Format(time.RFC3339))
	}
	if err := a.recordCreds(cmd, keys, secrets, madeUsers{role, users, f.unrecorded}); err != nil {
		return err
	}
	for i, u := range users {
		if err := putCreds(answer.Files[i], u.jwt, u.seed); err != nil {
			return err
		}
	}
	return a.show(answer, pairs...)
}

// credsUser is a user of one account.
type credsUser struct {
	account keyring.Account
	id, jwt string
	seed    []byte
}

// credsUsers signs a user for each account in which the role has business.
func credsUsers(keys *keyring.Keyring, secrets *keyring.Secrets, role streams.Role, expires time.Time) (users []credsUser, err error) {
	in := streams.Installation{Site: keys.Site(), LOG: keys.AccountID(keyring.LOG), APP: keys.AccountID(keyring.APP)}
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		p, err := streams.RolePermissions(in, string(account), role)
		if err != nil {
			return nil, usageError("eventful creds --help lists the roles", "%v", err)
		}
		if p.Empty() {
			continue
		}
		text, seed, err := node.RoleUser(keys.Site(), secrets, account, string(role), expires, role)
		if err != nil {
			return nil, err
		}
		claims, err := jwt.DecodeUserClaims(text)
		if err != nil {
			return nil, problem.New(problem.Internal, "the credential cannot be read back: %v", err)
		}
		users = append(users, credsUser{account, claims.Subject, text, seed})
	}
	return users, nil
}

// madeUsers are users of a role that are about to be handed out.
type madeUsers struct {
	role       streams.Role
	users      []credsUser
	unrecorded bool
}

// act is what the audit is to say of them.
func (m madeUsers) act() map[string]string {
	made := map[string]string{"role": string(m.role)}
	var ids []string
	for _, u := range m.users {
		ids = append(ids, u.id)
	}
	made["users"] = strings.Join(ids, " ")
	if claims, err := jwt.DecodeUserClaims(m.users[0].jwt); err == nil && claims.Expires > 0 {
		made["expires"] = time.Unix(claims.Expires, 0).UTC().Format(time.RFC3339)
	}
	return made
}

// recordCreds sees to it that the credentials are on record before anybody has them: those of break-glass in the system log, if a writer answers, others in the key file,
// from where a writer takes them. A crash behind that leaves a record of some that nobody holds.
func (a *app) recordCreds(cmd *cobra.Command, keys *keyring.Keyring, secrets *keyring.Secrets, m madeUsers) error {
	made := m.act()
	if m.role == streams.RoleBreakGlass {
		proof, err := keys.SignCredentials(run.Me(), secrets, made)
		if err != nil {
			return run.KeyProblem(err)
		}
		done, err := a.record(cmd, m.users[0].jwt, proof, m.unrecorded)
		if err != nil || done {
			return err
		}
	}
	release, err := holdKeys(a.settings.DataDir)
	if err != nil {
		return err
	}
	defer release()
	if keys, err = a.loadKeys(); err != nil { // as it is now
		return err
	}
	keys.LeaveOut(run.EnteredActs(a.settings.DataDir))
	if err := keys.NoteCredentials(run.Me(), secrets, made); err != nil {
		return run.KeyProblem(err)
	}
	a.warnUnentered()
	return nil
}

// expires is when credentials end; the zero time: never.
func (f credsFlags) expires(role streams.Role) (time.Time, error) {
	lives := time.Duration(min(f.expiration, maxExpiration)) * time.Second
	switch {
	case role == streams.RoleBreakGlass && lives == 0:
		lives = breakGlassTime
	case role == streams.RoleBreakGlass && lives > run.MaxBreakGlass:
		return time.Time{}, usageError("give 86400 or less, and make another one when it has ended", "--expiration=%d is longer than a day", f.expiration)
	case role != streams.RoleBreakGlass && f.unrecorded:
		return time.Time{}, usageError("leave it out", "--unrecorded is about break-glass credentials")
	case lives == 0:
		return time.Time{}, nil
	}
	return time.Now().Add(lives).UTC().Truncate(time.Second), nil
}

// record puts the credential into the system log; false: no writer answered, and it was told to go on without.
func (a *app) record(cmd *cobra.Command, userJWT, proof string, unrecorded bool) (done bool, err error) {
	err = a.recordCredential(cmd, userJWT, proof)
	if err == nil {
		return true, nil
	}
	if p := problem.From(err); !unrecorded {
		return false, problem.New(p.Code, "the credential cannot be recorded: %s", p.Detail).
			WithHint("a writer must record it first; --unrecorded goes on without, for when none can run")
	}
	a.warn("the credential is not recorded yet: %v. It is noted in the key file, and a writer enters it when it runs", err)
	return false, nil
}

func (a *app) recordCredential(cmd *cobra.Command, userJWT, proof string) error {
	credential, err := a.keyCredential()
	if err != nil {
		return err
	}
	c, err := a.dial(cmd, client.Static(credential))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.CredentialRecord(cmd.Context(), userJWT, proof)
}

// putCreds writes a credentials file.
func putCreds(path, userJWT string, seed []byte) error {
	text, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return putSecret(path, text)
}
