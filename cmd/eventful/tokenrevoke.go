package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const tokenRevokeHelp = `End an access token, or an auth key and every token that it made, at once and for ever.

  eventful token:revoke ID                         as token:list and token:generate show it; the same as --token=ID
  eventful token:revoke --token=- < FILE           the token itself, on standard input
  eventful token:revoke --auth-key=PUBLIC-ID

When it returns, no event of the token is stored any more and the server has closed its connections; what was acknowledged before is there.
A token is ended with the auth key that made it, with one that may administer every type, or with the master key
(--master-key, which asks for it, or --master-key-file), for the case that the only auth key was lost or became known to others.
It cannot be taken back: make a new token.`

// named is a flag's value that names something. Unlike a string of the flag's name it is not taken for the secret of that name.
type named string

func (n *named) String() string     { return string(*n) }
func (n *named) Set(s string) error { *n = named(s); return nil }
func (n *named) Type() string       { return "id" }

// revokeFlags are those of token:revoke.
type revokeFlags struct {
	token, authKey named
}

func newTokenRevokeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token:revoke [ID]", Short: "End an access token or an auth key, at once and for ever", Long: tokenRevokeHelp, Args: cobra.MaximumNArgs(1)}
	var f revokeFlags
	cmd.Flags().Var(&f.token, "token", "the access token: its `id`, the token itself, or - to read it from standard input")
	cmd.Flags().Var(&f.authKey, "auth-key", "public `id` of the auth key to end, with every token that it made")
	proofFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given := 0
		for _, id := range append(args, string(f.token), string(f.authKey)) {
			if id != "" {
				given++
			}
		}
		if given != 1 {
			return usageError("`eventful token:list` and `eventful token:list --kek` show the ids", "give one of ID, --token and --auth-key")
		}
		if len(args) == 1 {
			f.token = named(args[0])
		}
		r, err := a.revocation(f)
		if err != nil {
			return err
		}
		return a.revoke(cmd, f, r)
	}
	return cmd
}

// proofFlags are those of commands whose --auth-key names an auth key: who asks is an auth key from a file, the environment or the session, or the master key.
func proofFlags(cmd *cobra.Command) {
	cmd.Flags().String("auth-key-file", "", "`file` that holds the auth key to do it with; - is standard input")
	masterKeyFlags(cmd)
	cmd.Flags().String("account", "", "public `id` of the site's account APP; found by itself where the server runs on --data-dir")
	timeoutFlag(cmd)
}

// masterKeyFlags are those of the master key; without a value --master-key says that it is to be asked for, or taken from the environment.
func masterKeyFlags(cmd *cobra.Command) {
	secretFlags(cmd, settings.MasterKey)
	f := cmd.Flags().Lookup(settings.MasterKey)
	f.NoOptDefVal = settings.Elsewhere
	f.Usage = "prove it with the master key, which is asked for or taken from the environment; given here (--master-key=KEY) others can see it"
}

// revocation reads what is to be ended.
func (a *app) revocation(f revokeFlags) (client.Revocation, error) {
	if f.authKey != "" {
		if strings.HasPrefix(string(f.authKey), "SA") {
			return client.Revocation{}, problem.New(problem.Malformed, "--auth-key wants the public id of the auth key, and this is its secret").
				WithHint("the public id begins with A; take the secret for known to others, and end it: every user of this machine could see it")
		}
		return client.Revocation{ID: string(f.authKey)}, nil
	}
	text := string(f.token)
	if text == "-" {
		given, err := a.askSecret("token", "give it on standard input, for example `eventful token:revoke --token=- < FILE`")
		if err != nil {
			return client.Revocation{}, err
		}
		text = strings.TrimSpace(string(given))
	} else if isJWT(text) {
		a.warn("a secret on the command line is seen by other users of this machine; give the token's id, or the token on standard input: --token=-")
	}
	if !isJWT(text) {
		return client.Revocation{ID: text}, nil
	}
	return client.Revocation{Token: text}, nil
}

func isJWT(text string) bool { return strings.Count(text, ".") == 2 }

// revoke sends it, with an auth key's token or the operator's order.
func (a *app) revoke(cmd *cobra.Command, f revokeFlags, r client.Revocation) error {
	asker, err := a.prove(cmd, func() (token.Order, error) { return orderOf(f, r) })
	if err != nil {
		return err
	}
	defer asker.Close()
	r.Order = asker.order
	what, send := "token", asker.TokenRevoke
	if f.authKey != "" {
		what, send = "auth key", asker.KeyRevoke
	}
	answer, err := send(cmd.Context(), r)
	if (err == nil || errors.Is(err, client.ErrUnknownOutcome)) && asker.has(cmd.Context(), r.ID) {
		answer.ID = r.ID
		err = a.endedItself(cmd, asker.tokens, err)
	}
	if err != nil {
		return err
	}
	state := "revoked"
	if answer.Repeated {
		state = "revoked before"
	}
	return a.show(answer, what, answer.ID, "state", state)
}

// orderOf is what the operator signs.
func orderOf(f revokeFlags, r client.Revocation) (token.Order, error) {
	if f.authKey != "" {
		return token.Order{Act: token.OrderRevokeKey, ID: r.ID}, nil
	}
	o := token.Order{Act: token.OrderRevokeToken, ID: r.ID}
	if r.Token != "" {
		claims, err := jwt.DecodeUserClaims(r.Token)
		if err != nil {
			return o, problem.New(problem.Malformed, "the access token cannot be read: %v", err).WithHint("was it cut when it was copied?")
		}
		o.ID = claims.ID
	}
	return o, nil
}

// refusalPatience bounds the wait until the servers refuse an auth key that ended itself.
const refusalPatience = 5 * time.Second

// endedItself waits until the servers refuse the tokens of an auth key that ended itself. Its answer is sent before they cut its connections, as one of them brings it, and may be
// lost with the connection: err. That they refuse the key says the same.
func (a *app) endedItself(cmd *cobra.Command, tokens client.TokenSource, err error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), refusalPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		c, failed := a.dial(cmd, tokens)
		if errors.Is(failed, client.ErrUnauthenticated) {
			return nil
		}
		if failed == nil {
			c.Close()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if err == nil {
				a.warn("the auth key has ended, and servers still let it connect after %s; they refuse what it asks", refusalPatience)
			}
			return err
		}
	}
}

// asker is a connection of whoever may do what is asked.
type asker struct {
	*client.Client
	order  string             // of the operator; empty: an auth key asks
	tokens client.TokenSource // of the auth key; nil: the operator asks
}

// has reports whether the auth key of that id asks.
func (a *asker) has(ctx context.Context, id string) bool {
	if a.tokens == nil {
		return false
	}
	text, err := a.tokens(ctx)
	if err != nil {
		return false
	}
	claims, err := jwt.DecodeUserClaims(text)
	return err == nil && claims.Issuer == id
}

// prove connects as whoever may do what is asked: with the master key, where it is given, the order is signed by the operator; else with the auth key.
func (a *app) prove(cmd *cobra.Command, what func() (token.Order, error)) (*asker, error) {
	if !cmd.Flags().Changed(settings.MasterKey) && !cmd.Flags().Changed(settings.MasterKey+"-file") {
		tokens, err := a.adminTokens(cmd)
		if err != nil {
			return nil, err
		}
		c, err := a.dial(cmd, tokens)
		return &asker{Client: c, tokens: tokens}, err
	}
	o, err := what()
	if err != nil {
		return nil, err
	}
	operator, err := a.operatorSeed()
	if err != nil {
		return nil, err
	}
	defer clear(operator)
	credential, account, err := a.keyHolder()
	if err != nil {
		return nil, err
	}
	order, err := o.Sign(operator, account, time.Now())
	if err != nil {
		return nil, errors.New("the operator's order could not be signed")
	}
	c, err := a.dial(cmd, client.Static(credential))
	return &asker{Client: c, order: order}, err
}
