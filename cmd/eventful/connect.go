package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// requestTimeout is how long a command waits for the server, repeats included, unless --timeout says otherwise.
const requestTimeout = 10 * time.Second

// remoteFlags are those of every command that asks the server as the holder of an access token.
func remoteFlags(cmd *cobra.Command) {
	secretFlags(cmd, settings.Token)
	timeoutFlag(cmd)
}

// adminFlags are those of every command that asks the server as the holder of an auth key.
func adminFlags(cmd *cobra.Command) {
	secretFlags(cmd, settings.AuthKey)
	cmd.Flags().String("account", "", "public `id` of the site's account APP; found by itself where the server runs on --data-dir")
	timeoutFlag(cmd)
}

func timeoutFlag(cmd *cobra.Command) {
	cmd.Flags().Duration("timeout", requestTimeout, "how long to wait for an answer, repeats included")
}

// connect opens a connection as the holder of an access token: flag, environment, or session.
func (a *app) connect(cmd *cobra.Command) (*client.Client, error) {
	if err := a.renew(cmd); err != nil {
		a.warn("the session's token could not be renewed: %v", err)
	}
	text, err := a.token()
	if err != nil {
		return nil, err
	}
	return a.dial(cmd, client.Static(text))
}

// connectAdmin opens a connection as the holder of an auth key: flag, environment, or session. Each request carries a token that the key signed a
// moment ago; the key itself never leaves this process.
func (a *app) connectAdmin(cmd *cobra.Command) (*client.Client, error) {
	source, err := a.adminTokens(cmd)
	if err != nil {
		return nil, err
	}
	return a.dial(cmd, source)
}

// connectAny is for what any token may ask: an auth key if there is one, else an access token.
func (a *app) connectAny(cmd *cobra.Command) (*client.Client, error) {
	given, err := a.settings.Secret(settings.Token)
	if err != nil {
		return nil, err
	}
	if given.Bytes == nil {
		seed, err := a.authKey()
		if err != nil {
			return nil, err
		}
		if seed != nil {
			return a.connectAdmin(cmd)
		}
	}
	return a.connect(cmd)
}

// dial connects to --server, or to the server that runs on the data folder.
func (a *app) dial(cmd *cobra.Command, source client.TokenSource) (*client.Client, error) {
	url, err := a.serverURL()
	if err != nil {
		return nil, err
	}
	timeout, err := cmd.Flags().GetDuration("timeout")
	if err != nil || timeout <= 0 {
		timeout = requestTimeout
	}
	trust, err := a.trust(url)
	if err != nil {
		return nil, err
	}
	return client.Connect(cmd.Context(), client.Options{URL: url, TLS: trust, Token: source, Name: "eventful " + cmd.Name(), Timeout: timeout})
}

func (a *app) serverURL() (string, error) {
	if a.settings.Server != "" {
		return a.settings.Server, nil
	}
	info, err := run.Find(a.settings.DataDir)
	if err != nil {
		return "", err
	}
	if info == nil || info.NATS == "" {
		return "", notRunning(a.settings.DataDir)
	}
	return info.NATS, nil
}

// token is the access token to use.
func (a *app) token() (string, error) {
	secret, err := a.secret(settings.Token)
	if err != nil || secret != nil {
		return string(secret), err
	}
	s, err := a.session()
	switch {
	case err != nil:
		return "", err
	case s.empty():
		return "", problem.New(problem.Unauthenticated, "there is no access token").
			WithHint("set EVENTFUL_TOKEN or EVENTFUL_TOKEN_FILE, or keep one with `eventful token:auth`; `eventful token:generate` makes one")
	case s.Token == nil:
		return "", problem.New(problem.Unauthenticated, "the session holds an auth key, which makes tokens but neither writes nor reads").
			WithHint("make a token with `eventful token:generate --expiration=3600 --limit=100 --identifierType=user --identifierId=NAME`, and set EVENTFUL_TOKEN")
	}
	k, err := s.Token.usable()
	if err != nil {
		return "", err
	}
	return k.Secret, nil
}

// authKey is the seed of the auth key to use; nil if there is none.
func (a *app) authKey() ([]byte, error) {
	secret, err := a.secret(settings.AuthKey)
	if err != nil || secret != nil {
		return secret, err
	}
	s, err := a.session()
	if err != nil {
		return nil, err
	}
	k, err := s.AuthKey.usable()
	if err != nil || k == nil {
		return nil, err
	}
	return []byte(k.Secret), nil
}

func (a *app) needAuthKey() ([]byte, error) {
	seed, err := a.authKey()
	if err == nil && seed == nil {
		err = problem.New(problem.Unauthenticated, "there is no auth key").
			WithHint("set EVENTFUL_AUTH_KEY or EVENTFUL_AUTH_KEY_FILE, use --auth-key-file, or keep one with `eventful token:auth`; " +
				"`eventful token:generate --auth-key` makes one")
	}
	return seed, err
}

// adminTokens signs short tokens with the auth key, a new one when the old one has half a minute left.
func (a *app) adminTokens(cmd *cobra.Command) (client.TokenSource, error) {
	seed, err := a.needAuthKey()
	if err != nil {
		return nil, err
	}
	account, err := a.account(cmd)
	if err != nil {
		return nil, err
	}
	m := &minter{seed: seed, account: account}
	return m.token, nil
}

type minter struct {
	seed    []byte
	account string

	mu    sync.Mutex // guards what follows
	text  string
	until time.Time
}

func (m *minter) token(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Until(m.until) > token.MaxAuthKey/2 {
		return m.text, nil
	}
	text, _, err := token.MintAdmin(m.seed, m.account, time.Now())
	if err != nil {
		return "", err
	}
	m.text, m.until = text, time.Now().Add(token.MaxAuthKey)
	return text, nil
}

// account is the public id of the account APP, which every token names: from --account, the running server, or the session.
func (a *app) account(cmd *cobra.Command) (string, error) {
	id, err := a.accountHere(cmd)
	if err != nil || id != "" {
		return id, err
	}
	s, err := a.session()
	if err != nil {
		return "", err
	}
	if s.AuthKey != nil && s.AuthKey.Account != "" {
		return s.AuthKey.Account, nil
	}
	if id := a.accountInKeys(cmd); id != "" {
		return id, nil
	}
	return "", a.accountUnknown()
}

// accountInKeys is the account that keys.json names in a data folder that was given beside --server; the folder that is taken by default may be another site's.
func (a *app) accountInKeys(cmd *cobra.Command) string {
	if !cmd.Flags().Changed("data-dir") && os.Getenv("EVENTFUL_DATA_DIR") == "" {
		return ""
	}
	keys, err := keyring.Load(filepath.Join(a.settings.DataDir, run.KeyFile))
	if err != nil {
		return ""
	}
	return keys.AccountID(keyring.APP)
}

// accountUnknown says why: on this machine the folder is another one, or its server does not run.
func (a *app) accountUnknown() error {
	if a.settings.Server == "" {
		return notRunning(a.settings.DataDir)
	}
	return problem.New(problem.Malformed, "the public id of the account is not known").
		WithHint("give it with --account, as `eventful token:generate --auth-key` shows it, or a --data-dir with the site's keys.json")
}

// accountHere is account without the session; empty if it is not known.
func (a *app) accountHere(cmd *cobra.Command) (string, error) {
	if id, err := cmd.Flags().GetString("account"); err == nil && id != "" {
		return id, nil
	}
	if a.settings.Server != "" {
		return "", nil // the data folder's server may be another one
	}
	credential, err := a.localCredential()
	if err != nil || credential == "" {
		return "", err
	}
	claims, err := jwt.DecodeUserClaims(credential)
	if err != nil {
		return "", problem.New(problem.Internal, "the local credential cannot be read: %v", err)
	}
	if claims.IssuerAccount != "" {
		return claims.IssuerAccount, nil
	}
	return claims.Issuer, nil
}

// localCredential is what the running server left for the owner of the data folder; empty if none runs there.
func (a *app) localCredential() (string, error) {
	info, err := run.Find(a.settings.DataDir)
	if err != nil || info == nil {
		return "", err
	}
	return info.Credential, nil
}
