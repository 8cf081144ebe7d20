package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

const tokenRefreshHelp = `Replace an access token by a new one of the same actor and rights, which expires so many seconds later and may store so many events more.

  eventful token:refresh - --expiration=3600 --limit=100 < FILE     the token on standard input
  eventful token:refresh ID --expiration=3600 --limit=100           a recorded token, by its id

The old token ends at once, as with token:revoke; what was left of its budget goes over to the new one, exactly. It needs the auth key that issued it, and
the ceilings of that hold. When it fails half-way, the same command goes on from there. If the session holds the old token, it holds the new one then.`

func newTokenRefreshCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token:refresh TOKEN | ID | -", Short: "Replace an access token by one that holds longer and stores more", Long: tokenRefreshHelp, Args: cobra.ExactArgs(1)}
	r := client.Refresh{}
	cmd.Flags().Uint64Var(&r.Expiration, "expiration", 0, "`seconds` more")
	cmd.Flags().Uint64Var(&r.Limit, "limit", 0, "`events` more")
	creds := cmd.Flags().String("creds", "", "write token and seed to this `file` (0600) too, for clients that answer the server's nonce")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.refreshed(args[0], &r); err != nil {
			return err
		}
		if r.Expiration > maxExpiration {
			return usageError("give seconds, for example 3600", "--expiration=%d is over %d", r.Expiration, uint64(maxExpiration))
		}
		seed, err := a.needAuthKey()
		if err != nil {
			return err
		}
		if err := checkUserFile(*creds); err != nil {
			return err
		}
		m, err := a.refresh(cmd, seed, r)
		if err != nil {
			return err
		}
		var unwritten error // the old token has ended: the new one is shown all the same
		if *creds != "" {
			unwritten = writeUser(*creds, m.Token, m.userSeed)
		}
		return errors.Join(unwritten, a.keepSuccessor(m), a.show(m, "token", m.Token, "id", m.ID, "actor", m.Actor, "expires", m.Expires.Format(time.RFC3339), "limit", strconv.FormatUint(m.Limit, 10),
			"carried over", strconv.FormatUint(m.Left, 10), "refreshed from", m.Predecessor, "issuer", m.Issuer,
			"user", m.User, "inbox prefix", m.Inbox))
	}
	return cmd
}

// refreshed reads which token is meant.
func (a *app) refreshed(text string, r *client.Refresh) error {
	switch {
	case text == "-":
		given, err := a.askSecret("token", "give it on standard input, for example `eventful token:refresh - < FILE`")
		if err != nil {
			return err
		}
		text = strings.TrimSpace(string(given))
	case isJWT(text):
		a.warn("a secret on the command line is seen by other users of this machine; give the token's id, or the token on standard input: -")
	}
	if isJWT(text) {
		r.Token = text
	} else {
		r.ID = text
	}
	return nil
}

// successor is a new token with what it replaces.
type successor struct {
	issued
	Predecessor string `json:"predecessor"`
	Left        uint64 `json:"left"` // of the old budget; part of the limit

	userSeed []byte
}

// refresh has the old token ended, signs the new one, and records it; behind that the new one counts.
func (a *app) refresh(cmd *cobra.Command, seed []byte, r client.Refresh) (*successor, error) {
	account, err := a.account(cmd)
	if err != nil {
		return nil, err
	}
	c, err := a.dial(cmd, (&minter{seed: seed, account: account}).token)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	next, err := c.TokenRefresh(cmd.Context(), r)
	if err != nil {
		return nil, err
	}
	claims := token.Claims{IdentifierType: next.IdentifierType, IdentifierID: next.IdentifierID, Aggregates: next.Aggregates, Actions: actionsOf(next.Actions),
		Limit: next.Limit, Expires: next.Expires}
	if claims.AggregateIDs, err = aggregatesNamed(next.AggregateIDs); err != nil {
		return nil, err
	}
	m, err := mint(seed, account, claims)
	if err != nil {
		return nil, err
	}
	m.Predecessor, m.Left = next.ID, next.Left
	return m, c.TokenSucceed(cmd.Context(), m.Token, next.ID)
}

// mint signs a token that takes another one's place. It counts when it is recorded.
func mint(seed []byte, account string, claims token.Claims) (*successor, error) {
	text, userSeed, err := token.Mint(seed, account, claims)
	if err != nil {
		return nil, err
	}
	made, err := jwt.DecodeUserClaims(text)
	if err != nil {
		return nil, problem.New(problem.Internal, "the token cannot be read back: %v", err)
	}
	only := make([]string, len(claims.AggregateIDs))
	for i, id := range claims.AggregateIDs {
		only[i] = id.String()
	}
	return &successor{userSeed: userSeed, issued: issued{Token: text, ID: made.ID, Actor: claims.Actor(), Issuer: made.Issuer, Aggregates: claims.Aggregates, Actions: words(claims.Actions), Only: only,
		Limit: claims.Limit, Expires: time.Unix(made.Expires, 0).UTC(), User: made.Subject, Inbox: streams.TokenInboxPrefix(made.Subject, made.Tags)}}, nil
}

// aggregatesNamed reads what the server says that a token is confined to.
func aggregatesNamed(names []string) (all []event.AggregateID, err error) {
	for _, text := range names {
		id, err := streams.ParseAggregate(text)
		if err != nil {
			return nil, problem.New(problem.Internal, "the server names the aggregate %.80q: %v", text, err)
		}
		all = append(all, id)
	}
	return all, nil
}

// keepSuccessor puts the new token into the session where that holds the old one.
func (a *app) keepSuccessor(m *successor) error {
	s, err := a.session()
	if err != nil || s.Token == nil || s.Token.Holder != holderOf(m.Predecessor) {
		return nil // the session is nobody's trouble here
	}
	s.Token.Secret, s.Token.Holder = m.Token, holderOf(m.ID)
	if s.Token.KeepAlive {
		s.Token.Expires = m.Expires
	}
	return a.keep(s)
}

// holderOf is how a session calls a token.
func holderOf(tokenID string) string { return "token " + tokenID }
