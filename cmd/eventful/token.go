package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// keyTries is how often an auth key is added to the account when somebody else changes it at the same time.
const keyTries = 5

// tokenFlags are those of token:generate.
type tokenFlags struct {
	authKey                                       bool
	name, identifierType, identifierID, credsFile string
	aggregates, actions, aggregateIDs             []string
	expiration, limit, maxExpiration, maxLimit    uint64
}

// issued is what token:generate prints for an access token.
type issued struct {
	Token      string    `json:"token"`
	ID         string    `json:"id"`
	Actor      string    `json:"actor"`
	Issuer     string    `json:"issuer"`
	Aggregates []string  `json:"aggregates"`
	Actions    []string  `json:"actions"`
	Only       []string  `json:"aggregate-ids,omitempty"`
	Limit      uint64    `json:"limit"`
	Expires    time.Time `json:"expires"`
	User       string    `json:"user"`         // public key of the token's user
	Inbox      string    `json:"inbox-prefix"` // the only inbox that it may listen on
	Creds      string    `json:"creds,omitempty"`
}

// newKey is what token:generate --auth-key prints.
type newKey struct {
	AuthKey       string   `json:"auth-key"` // the seed, shown once
	ID            string   `json:"id"`
	Account       string   `json:"account"`
	Name          string   `json:"name,omitempty"`
	Aggregates    []string `json:"aggregates"`
	Actions       []string `json:"actions"`
	MaxLimit      uint64   `json:"max-limit"`
	MaxExpiration uint64   `json:"max-expiration"`
}

const tokenGenerateHelp = `Make an access token for a person or a service, or with --auth-key an auth key, which makes access tokens.

  eventful token:generate --master-key --auth-key       asks for the master key, or takes EVENTFUL_MASTER_KEY[_FILE]
  eventful token:generate --expiration=3600 --limit=100 --identifierType=user --identifierId=anna

A token ends with its expiry or its budget, whichever comes first; each stored event costs one unit. Both are shown once and not stored.
Without --aggregates it is for all that its auth key is for.

A NATS client that is not of pkg/client must set the inbox prefix that is shown, which is the only inbox that the token may listen on: in Go
nats.CustomInboxPrefix, elsewhere inbox_prefix. Without it the server refuses the subscription, and each request ends without an answer.`

func newTokenGenerateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token:generate", Short: "Make an access token, or an auth key", Long: tokenGenerateHelp, Args: cobra.NoArgs}
	var f tokenFlags
	flags := cmd.Flags()
	flags.BoolVar(&f.authKey, "auth-key", false, "make an auth key; needs the master key, and the server on --data-dir, or --server and the DEK")
	flags.StringVar(&f.name, "name", "", "`name` of the auth key, for people; made of its id if not given")
	flags.StringSliceVar(&f.aggregates, "aggregates", []string{token.All}, "aggregate `types` that it is for; * is all; a token: what its auth key is for, unless given")
	flags.StringSliceVar(&f.actions, "actions", nil, "what it may do: write, read, verify, archive, admin (an auth key: all; a token: write if it has a --limit, and read)")
	flags.StringSliceVar(&f.aggregateIDs, "aggregate-id", nil, "single `aggregates` (TYPE/ID) that the token is for, for example an auditor's")
	flags.Uint64Var(&f.maxLimit, "max-limit", 0, "the largest --limit of the auth key's tokens; 0: no ceiling")
	flags.Uint64Var(&f.maxExpiration, "max-expiration", 0, "the longest --expiration of the auth key's tokens; 0: no ceiling")
	flags.Uint64Var(&f.expiration, "expiration", 0, "`seconds` that the token is valid")
	flags.Uint64Var(&f.limit, "limit", 0, "`events` that the token may store")
	flags.StringVar(&f.identifierType, "identifierType", "", "what kind of actor it is, for example user or service")
	flags.StringVar(&f.identifierID, "identifierId", "", "who it is")
	flags.StringVar(&f.credsFile, "creds", "", "write token and seed to this `file` (0600) too, for clients that answer the server's nonce")
	masterKeyFlags(cmd)
	flags.String("auth-key-file", "", "`file` that holds the auth key to make the token with; - is standard input")
	flags.String("account", "", "public `id` of the site's account APP; found by itself where the server runs on --data-dir")
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.checkLists(cmd); err != nil {
			return err
		}
		if f.authKey {
			return a.generateKey(cmd, f)
		}
		return a.generateToken(cmd, f)
	}
	return cmd
}

// checkLists refuses a list that is given and empty, as with a shell variable that is not set: left out it would mean everything.
func (f *tokenFlags) checkLists(cmd *cobra.Command) error {
	for _, list := range []struct {
		flag   string
		values []string
		hint   string
	}{
		{"aggregates", f.aggregates, "name aggregate types, for example --aggregates=patient,bed"},
		{"actions", f.actions, "name one or more of write, read, verify, archive, admin, or leave --actions out"},
		{"aggregate-id", f.aggregateIDs, "name aggregates, for example --aggregate-id=patient/A, or leave --aggregate-id out"},
	} {
		if cmd.Flags().Changed(list.flag) && len(trimmed(list.values)) == 0 {
			return usageError(list.hint, "--%s is empty", list.flag)
		}
	}
	return nil
}

// generateKey: the operator's seed signs the account with the new key, the server checks and publishes it, and only then is the key shown.
func (a *app) generateKey(cmd *cobra.Command, f tokenFlags) error {
	for _, flag := range []string{"expiration", "limit", "identifierType", "identifierId", "aggregate-id", "creds", "auth-key-file"} {
		if cmd.Flags().Changed(flag) {
			return usageError("leave out --auth-key to make an access token", "--%s is about an access token, not about an auth key", flag)
		}
	}
	if len(f.actions) == 0 {
		f.actions = []string{"write", "read", "verify", "archive", "admin"}
	}
	operator, err := a.operatorSeed()
	if err != nil {
		return err
	}
	defer clear(operator)
	credential, err := a.keyCredential()
	if err != nil {
		return err
	}
	c, err := a.dial(cmd, client.Static(credential))
	if err != nil {
		return err
	}
	defer c.Close()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		return err
	}
	if f.name == "" {
		f.name = "key " + id[:9]
	}
	key := token.Key{ID: id, Name: f.name, Aggregates: trimmed(f.aggregates), Actions: actionsOf(f.actions), MaxLimit: f.maxLimit,
		MaxExpiration: time.Duration(f.maxExpiration) * time.Second}
	account, err := addKey(cmd, c, operator, key)
	if err != nil {
		return err
	}
	answer := newKey{AuthKey: string(seed), ID: id, Account: account, Name: f.name, Aggregates: key.Aggregates, Actions: words(key.Actions),
		MaxLimit: f.maxLimit, MaxExpiration: f.maxExpiration}
	err = a.show(answer, "auth key", answer.AuthKey, "id", id, "name", key.Name, "account", account, "aggregates", strings.Join(key.Aggregates, ", "),
		"actions", strings.Join(answer.Actions, ", "), "max limit", ceilingText(key.MaxLimit), "max expiration", expirationText(f.maxExpiration))
	if !slices.Contains(key.Actions, token.ActionAdmin) {
		a.warn("without the action admin this key cannot record the tokens that it issues, as `eventful token:generate` does: it is for programs that sign tokens themselves")
	}
	fmt.Fprintln(a.errOut, "the auth key is shown only now: keep it secret. Use it with EVENTFUL_AUTH_KEY[_FILE] or `eventful token:auth`")
	return err
}

func (a *app) operatorSeed() ([]byte, error) {
	keys, err := a.loadKeys()
	if err != nil {
		return nil, err
	}
	master, err := a.secret(settings.MasterKey)
	if err != nil {
		return nil, err
	}
	if master == nil {
		if master, err = a.askSecret("master key", "set EVENTFUL_MASTER_KEY_FILE or EVENTFUL_MASTER_KEY, or give --master-key-file"); err != nil {
			return nil, err
		}
	}
	seed, err := keys.OpenOperator(master)
	if err != nil {
		return nil, run.KeyProblem(err)
	}
	return seed, nil
}

// addKey adds the key to the account, and begins anew when the account was changed meanwhile. It gives the account's public id.
func addKey(cmd *cobra.Command, c *client.Client, operator []byte, key token.Key) (string, error) {
	for try := 1; ; try++ {
		present, err := c.KeyAccount(cmd.Context())
		if err != nil {
			return "", err
		}
		account, err := token.AddAuthKey(present, operator, key)
		if err != nil {
			return "", err
		}
		err = c.KeyAdd(cmd.Context(), client.AccessKey{Account: account, Key: key.ID, Name: key.Name, Aggregates: key.Aggregates,
			Actions: words(key.Actions), MaxLimit: key.MaxLimit, MaxExpiration: uint64(key.MaxExpiration / time.Second)})
		if errors.Is(err, client.ErrConflict) && try < keyTries {
			continue
		}
		if err != nil {
			return "", err
		}
		claims, err := jwt.DecodeAccountClaims(account)
		if err != nil {
			return "", problem.New(problem.Internal, "the account cannot be read back: %v", err)
		}
		return claims.Subject, nil
	}
}

func (a *app) generateToken(cmd *cobra.Command, f tokenFlags) error {
	claims, err := f.claims(cmd)
	if err != nil {
		return err
	}
	seed, err := a.needAuthKey()
	if err != nil {
		return err
	}
	account, err := a.account(cmd)
	if err != nil {
		return err
	}
	if err := checkUserFile(f.credsFile); err != nil {
		return err
	}
	var text string
	var userSeed []byte
	err = a.withAdmin(cmd, func(c *client.Client) error {
		if !cmd.Flags().Changed("aggregates") {
			claims.Aggregates = aggregatesOfKey(cmd, c, seed, claims)
		}
		if text, userSeed, err = token.Mint(seed, account, claims); err != nil {
			return err
		}
		return withContext("record the token", c.TokenIssue(cmd.Context(), text))
	})
	if err != nil {
		return err
	}
	made, err := jwt.DecodeUserClaims(text)
	if err != nil {
		return problem.New(problem.Internal, "the token cannot be read back: %v", err)
	}
	answer := issued{Token: text, ID: made.ID, Actor: claims.Actor(), Issuer: made.Issuer, Aggregates: claims.Aggregates,
		Actions: words(claims.Actions), Limit: claims.Limit, Expires: time.Unix(made.Expires, 0).UTC(), User: made.Subject, Inbox: streams.TokenInboxPrefix(made.Subject, made.Tags), Creds: f.credsFile}
	pairs := []string{"token", text, "id", answer.ID, "actor", answer.Actor, "expires", answer.Expires.Format(time.RFC3339),
		"limit", strconv.FormatUint(answer.Limit, 10), "aggregates", strings.Join(answer.Aggregates, ", "),
		"actions", strings.Join(answer.Actions, ", "), "issuer", answer.Issuer, "user", answer.User, "inbox prefix", answer.Inbox}
	if answer.Only = trimmed(f.aggregateIDs); len(answer.Only) > 0 {
		pairs = append(pairs, "only", strings.Join(answer.Only, ", "))
	}
	var unwritten error // the token counts: it is shown all the same
	if f.credsFile != "" {
		if unwritten = writeUser(f.credsFile, text, userSeed); unwritten != nil {
			answer.Creds = ""
		}
	}
	return errors.Join(a.show(answer, pairs...), unwritten)
}

// aggregatesOfKey are the types that a token is for unless they are given: those of its auth key, without EventfulDB's own where it is to write, which nobody does to them.
func aggregatesOfKey(cmd *cobra.Command, c *client.Client, seed []byte, claims token.Claims) []string {
	id, err := token.PublicID(seed)
	if err != nil {
		return claims.Aggregates
	}
	key, err := c.KeyShow(cmd.Context(), id)
	if err != nil {
		return claims.Aggregates // recording the token says why
	}
	if slices.Contains(claims.Actions, token.ActionWrite) {
		key.Aggregates = slices.DeleteFunc(key.Aggregates, event.IsReserved)
	}
	if len(key.Aggregates) == 0 {
		return claims.Aggregates
	}
	return key.Aggregates
}

func withContext(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// claims are those that the flags ask for.
func (f *tokenFlags) claims(cmd *cobra.Command) (token.Claims, error) {
	for _, flag := range []string{"name", "max-limit", "max-expiration", settings.MasterKey, settings.MasterKey + "-file"} {
		if cmd.Flags().Changed(flag) {
			return token.Claims{}, usageError("add --auth-key to make one", "--%s is about an auth key, not about an access token", flag)
		}
	}
	for _, flag := range []string{"expiration", "identifierType", "identifierId"} {
		if !cmd.Flags().Changed(flag) {
			return token.Claims{}, usageError("for example --expiration=3600 --limit=100 --identifierType=user --identifierId=anna", "--%s is missing", flag)
		}
	}
	if f.expiration == 0 || f.expiration > maxExpiration {
		return token.Claims{}, usageError("give seconds, for example 3600", "--expiration=%d is not between 1 and %d", f.expiration, uint64(maxExpiration))
	}
	if len(f.actions) == 0 {
		f.actions = []string{"read"}
		if f.limit > 0 {
			f.actions = []string{"write", "read"}
		}
	}
	if f.limit == 0 && slices.Contains(trimmed(f.actions), string(token.ActionWrite)) {
		return token.Claims{}, usageError("give --limit, the number of events that it may store, or leave write out of --actions",
			"a token with the action write and without --limit can write nothing")
	}
	claims := token.Claims{IdentifierType: f.identifierType, IdentifierID: f.identifierID, Aggregates: trimmed(f.aggregates),
		Actions: actionsOf(f.actions), Limit: f.limit, Expires: time.Now().Add(time.Duration(f.expiration) * time.Second)}
	for _, text := range f.aggregateIDs {
		id, err := streams.ParseAggregate(text)
		if err != nil {
			return claims, problem.New(problem.Malformed, "--aggregate-id: %v", err).WithHint("an aggregate is named TYPE/ID, for example --aggregate-id=patient/A")
		}
		claims.AggregateIDs = append(claims.AggregateIDs, id)
	}
	return claims, nil
}

// maxExpiration is a hundred years in seconds.
const maxExpiration = 100 * 365 * 24 * 3600

func trimmed(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func actionsOf(list []string) []token.Action {
	var out []token.Action
	for _, s := range trimmed(list) {
		out = append(out, token.Action(s))
	}
	return out
}

func words(actions []token.Action) []string {
	out := make([]string, len(actions))
	for i, action := range actions {
		out[i] = string(action)
	}
	return out
}
