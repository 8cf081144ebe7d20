package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// The two kinds of a session.
const (
	kindAuthKey = "auth key"
	kindToken   = "access token"
)

func newTokenAuthCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token:auth [AUTH-KEY | TOKEN]",
		Short: "Keep an auth key or an access token for later commands",
		Long: "Keep an auth key or an access token for later commands, encrypted, in the user's configuration folder. One of each is kept:\n" +
			"the auth key for schemas and tokens, the token for events and queries.\n" +
			"Without an argument, or with `-`, it is read from standard input, which keeps it out of the process list.\n" +
			"EVENTFUL_TOKEN and EVENTFUL_AUTH_KEY go before the session. It ends after 8 hours, and never outlives its token.\n\n" +
			"With --keep-alive it goes on until token:logout. An auth key is simply kept. An access token is renewed where the session holds the auth key that\n" +
			"issued it too: a command that finds less than half of the token's lifetime left refreshes it first (token:refresh) by its lifetime, and fills its budget\n" +
			"up to what it was; where it has expired meanwhile, one with the same rights, budget and lifetime is issued in its place. What was revoked is not renewed.",
		Args: cobra.MaximumNArgs(1),
	}
	keep := cmd.Flags().Bool("keep-alive", false, "until token:logout: the token is renewed when it is used, where the session holds its auth key")
	cmd.Flags().String("account", "", "public `id` of the site's account APP, for an auth key of another machine")
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		secret, err := a.givenSecret(args)
		if err != nil {
			return err
		}
		kind, k, err := a.newKept(cmd, secret)
		if err != nil {
			return err
		}
		if end := time.Now().Add(sessionTime).Truncate(time.Second); !*keep && (k.Expires.IsZero() || end.Before(k.Expires)) {
			k.Expires = end
		}
		k.KeepAlive = *keep
		if err := a.tryOut(cmd, kind, k); err != nil {
			return err
		}
		if err := a.keepBeside(kind, k); err != nil {
			return err
		}
		if s, err := a.session(); err == nil && *keep && kind == kindToken && !s.holdsIssuer() {
			a.warn("the token cannot be renewed: the session does not hold the auth key that issued it. Keep that too, with `eventful token:auth --keep-alive`")
		}
		return a.showKept(kind, k)
	}
	return cmd
}

func (a *app) givenSecret(args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		a.warn("a secret on the command line is seen by other users of this machine; leave it out and it is asked for")
		return strings.TrimSpace(args[0]), nil
	}
	text, err := a.askSecret("auth key or token", "give it on standard input, for example `eventful token:auth < FILE`")
	return strings.TrimSpace(string(text)), err
}

func (a *app) newKept(cmd *cobra.Command, secret string) (kind string, k *kept, err error) {
	if strings.Count(secret, ".") != 2 {
		id, err := token.PublicID([]byte(secret))
		if err != nil {
			return "", nil, problem.New(problem.Malformed, "this is neither an auth key nor an access token").
				WithHint("an auth key begins with SA; an access token has three parts separated by dots")
		}
		account, err := a.accountHere(cmd)
		if err == nil && account == "" {
			account = a.accountInKeys(cmd)
		}
		if err == nil && account == "" {
			err = a.accountUnknown()
		}
		return kindAuthKey, &kept{Secret: secret, Account: account, Holder: id}, err
	}
	claims, err := jwt.DecodeUserClaims(secret)
	if err != nil {
		return "", nil, problem.New(problem.Malformed, "the access token cannot be read: %v", err).WithHint("was it cut when it was copied?")
	}
	k = &kept{Secret: secret, Holder: holderOf(claims.ID), Lifetime: time.Duration(claims.Expires-claims.IssuedAt) * time.Second}
	if claims.Expires != 0 {
		k.Expires = time.Unix(claims.Expires, 0).UTC()
	}
	return kindToken, k, nil
}

// tryOut asks the server whether it takes the secret. A server that does not answer is no reason not to keep it.
func (a *app) tryOut(cmd *cobra.Command, kind string, k *kept) error {
	source := client.Static(k.Secret)
	if kind == kindAuthKey {
		source = (&minter{seed: []byte(k.Secret), account: k.Account}).token
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

// keepBeside keeps the secret beside what is kept of the other kind. A session that does not open is replaced.
func (a *app) keepBeside(kind string, k *kept) error {
	s, err := a.session()
	if errors.Is(err, client.ErrUnauthenticated) {
		s, err = &session{}, nil
	}
	if err != nil {
		return err
	}
	if kind == kindAuthKey {
		s.AuthKey = k
	} else {
		s.Token = k
	}
	return a.keep(s)
}

func (a *app) showKept(kind string, k *kept) error {
	until := "token:logout"
	if !k.Expires.IsZero() {
		until = k.Expires.UTC().Format(time.RFC3339)
	}
	return a.show(struct {
		Kind   string `json:"kind"`
		Holder string `json:"holder"`
		Until  string `json:"until"`
	}{kind, k.Holder, until}, "kept", kind, "of", k.Holder, "until", until)
}

func newTokenLogoutCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token:logout",
		Short: "End the session of token:auth",
		Args:  cobra.NoArgs,
	}
	key := cmd.Flags().Bool("auth-key", false, "forget the auth key only")
	access := cmd.Flags().Bool("token", false, "forget the access token only")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *key == *access {
			return a.logout()
		}
		return a.logoutOne(*key)
	}
	return cmd
}

func (a *app) logout() error {
	there, err := a.forget()
	if err != nil {
		return err
	}
	a.saySession(there, "the session has ended")
	return nil
}

// logoutOne forgets the auth key, or the token, and keeps the other.
func (a *app) logoutOne(authKey bool) error {
	s, err := a.session()
	if err != nil {
		return err
	}
	slot, kind := &s.Token, kindToken
	if authKey {
		slot, kind = &s.AuthKey, kindAuthKey
	}
	there := *slot != nil
	*slot = nil
	if s.empty() {
		_, err = a.forget()
	} else if there {
		err = a.keep(s)
	}
	if err == nil {
		a.saySession(there, "the "+kind+" is forgotten")
	}
	return err
}

func (a *app) saySession(there bool, done string) {
	if !there {
		done = "there was no session"
	}
	fmt.Fprintln(a.errOut, done)
}
