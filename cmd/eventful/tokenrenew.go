package main

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/token"
)

// renew refreshes the session's token where token:auth --keep-alive asked for that, less than half of its lifetime is left, and the session holds the auth key that
// issued it. The budget is filled up to what it was. In the place of one that expired the auth key issues one like it; what was revoked stays so.
func (a *app) renew(cmd *cobra.Command) error {
	given, err := a.settings.Secret(settings.Token)
	if err != nil || given.Bytes != nil {
		return nil // not the session's; what is wrong with it shows where it is used
	}
	s, err := a.session()
	if err != nil || !s.renewable(time.Now()) {
		return nil
	}
	account, err := a.account(cmd)
	if err != nil {
		return err
	}
	seed := []byte(s.AuthKey.Secret)
	c, err := a.dial(cmd, (&minter{seed: seed, account: account}).token)
	if err != nil {
		return err
	}
	defer c.Close()
	claims, err := jwt.DecodeUserClaims(s.Token.Secret)
	if err != nil {
		return err
	}
	t, err := c.TokenShow(cmd.Context(), claims.ID)
	for err == nil && t.Successor != "" { // somebody else was first, or an earlier command was killed before it kept it
		t, err = c.TokenShow(cmd.Context(), t.Successor)
	}
	if err != nil {
		return err
	}
	var m *successor
	if t.State == tokenExpired {
		m, err = again(cmd, c, seed, account, t)
	} else {
		r := client.Refresh{ID: t.ID, Expiration: uint64(s.Token.Lifetime / time.Second)}
		if t.Used != nil {
			r.Limit = *t.Used
		}
		m, err = a.refresh(cmd, seed, r)
	}
	if errors.Is(err, client.ErrConflict) {
		if now, again := a.session(); again == nil && now.Token != nil && now.Token.Holder != holderOf(claims.ID) {
			return nil // another command renewed it at the same time
		}
	}
	if err != nil {
		return err
	}
	m.Predecessor = claims.ID
	return a.keepSuccessor(m)
}

// tokenExpired is the state of a token that was not ended before its time.
const tokenExpired = "expired"

// again issues a token with the rights, the budget and the lifetime of one that expired.
func again(cmd *cobra.Command, c *client.Client, seed []byte, account string, t *client.TokenInfo) (*successor, error) {
	kind, id, _ := strings.Cut(t.Actor, ":")
	only, err := aggregatesNamed(t.AggregateIDs)
	if err != nil {
		return nil, err
	}
	m, err := mint(seed, account, token.Claims{IdentifierType: kind, IdentifierID: id, Aggregates: t.Aggregates, Actions: actionsOf(t.Actions), AggregateIDs: only,
		Limit: t.Limit, Expires: time.Now().Add(t.Expires.Sub(t.Issued))})
	if err != nil {
		return nil, err
	}
	return m, c.TokenIssue(cmd.Context(), m.Token)
}

// renewable reports whether the token is to be renewed now.
func (s *session) renewable(now time.Time) bool {
	t := s.Token
	return t != nil && t.KeepAlive && t.Expires.Sub(now) <= t.Lifetime/2 && s.holdsIssuer()
}

// holdsIssuer reports whether the session holds the auth key that issued its token.
func (s *session) holdsIssuer() bool {
	if s.Token == nil || s.AuthKey == nil || s.AuthKey.expired() {
		return false
	}
	claims, err := jwt.DecodeUserClaims(s.Token.Secret)
	if err != nil {
		return false
	}
	id, err := token.PublicID([]byte(s.AuthKey.Secret))
	return err == nil && id == claims.Issuer
}
