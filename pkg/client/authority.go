package client

import (
	"context"
	"time"
)

// AccessKey is what an auth key's public part says, as it is added to the installation.
type AccessKey struct {
	Account       string   `json:"account"` // the APP account JWT with the new signing key, signed by the operator
	Key           string   `json:"key"`     // public id
	Name          string   `json:"name"`
	Aggregates    []string `json:"aggregates"`
	Actions       []string `json:"actions"`
	MaxLimit      uint64   `json:"max-limit"`      // events; 0: no ceiling
	MaxExpiration uint64   `json:"max-expiration"` // seconds; 0: no ceiling
}

// Revocation names what is to be ended: a token by its id or by its JWT, or an auth key by its public id. Order is the operator's signature where no auth key proves it.
type Revocation struct {
	ID    string `json:"id,omitempty"`
	Token string `json:"token,omitempty"`
	Order string `json:"order,omitempty"`
}

// Revoked is what was ended.
type Revoked struct {
	ID       string `json:"id"`
	Repeated bool   `json:"repeated"` // it was ended before
}

// KeyInfo is what is recorded of an auth key.
type KeyInfo struct {
	ID            string   `json:"id"`
	State         string   `json:"state"` // active or revoked
	Name          string   `json:"name"`
	Aggregates    []string `json:"aggregates"`
	Actions       []string `json:"actions"`
	MaxLimit      uint64   `json:"max-limit"`      // events; 0: no ceiling
	MaxExpiration uint64   `json:"max-expiration"` // seconds; 0: no ceiling
	Version       uint64   `json:"version"`        // of the record

	Issued time.Time `json:"issued,omitzero"` // zero: a server before this version
}

// KeyPage is a part of the list of auth keys. An empty Cursor: it is the last.
type KeyPage struct {
	Keys   []KeyInfo `json:"keys"`
	Cursor string    `json:"cursor"`
}

// TokenInfo is what is recorded of a token, and what became of it.
type TokenInfo struct {
	ID           string    `json:"id"`
	State        string    `json:"state"` // active, expired, revoked, refreshed, auth-key-revoked, beyond-auth-key
	Actor        string    `json:"actor"`
	Issuer       string    `json:"issuer"` // public id of the auth key
	Aggregates   []string  `json:"aggregates"`
	Actions      []string  `json:"actions"`
	AggregateIDs []string  `json:"aggregate-ids,omitempty"`
	Issued       time.Time `json:"issued"`
	Expires      time.Time `json:"expires"`
	Limit        uint64    `json:"limit"`
	Used         *uint64   `json:"used"` // events stored; nil: a log did not say
	Left         *uint64   `json:"left"`
	Predecessor  string    `json:"predecessor,omitempty"`
	Successor    string    `json:"successor,omitempty"`
}

// TokenFilter says what TokenList and KeyList give. Take is 1 to 1000; 0 means 100.
type TokenFilter struct {
	AuthKey string `json:"auth-key,omitempty"`
	Active  *bool  `json:"active,omitempty"`
	Take    int    `json:"take,omitempty"`
	Cursor  string `json:"cursor,omitempty"`
}

// TokenPage is a part of the list of tokens. An empty Cursor: it is the last.
type TokenPage struct {
	Tokens []TokenInfo `json:"tokens"`
	Cursor string      `json:"cursor"`
	Silent []string    `json:"silent,omitempty"` // logs that did not say what they spent
}

// Refresh names a token, by its id or its JWT, and what is added to its expiry and to what is left of its budget.
type Refresh struct {
	ID         string `json:"id,omitempty"`
	Token      string `json:"token,omitempty"`
	Expiration uint64 `json:"expiration"` // seconds
	Limit      uint64 `json:"limit"`      // events
}

// Successor is what the token that takes another's place is to be signed as.
type Successor struct {
	ID             string    `json:"id"` // of the old token
	IdentifierType string    `json:"identifier-type"`
	IdentifierID   string    `json:"identifier-id"`
	Aggregates     []string  `json:"aggregates"`
	Actions        []string  `json:"actions"`
	AggregateIDs   []string  `json:"aggregate-ids"`
	Expires        time.Time `json:"expires"`
	Limit          uint64    `json:"limit"`
	Left           uint64    `json:"left"` // of the old budget; part of Limit
}

type idBody struct {
	ID string `json:"id"`
}

// KeyAccount reads the present APP account JWT, for the maker of an auth key.
func (c *Client) KeyAccount(ctx context.Context) (string, error) {
	var answer struct {
		Account string `json:"account"`
	}
	err := c.act(ctx, "key", "account", struct{}{}, &answer)
	return answer.Account, err
}

// KeyAdd adds an auth key.
func (c *Client) KeyAdd(ctx context.Context, key AccessKey) error {
	return c.act(ctx, "key", "add", key, nil)
}

// TokenIssue records who got which access token; the token itself is not stored.
func (c *Client) TokenIssue(ctx context.Context, token string) error {
	return c.TokenSucceed(ctx, token, "")
}

// TokenSucceed is TokenIssue for a token that takes the place of one that TokenRefresh ended. ErrConflict: that one has a successor already.
func (c *Client) TokenSucceed(ctx context.Context, token, predecessor string) error {
	return c.act(ctx, "token", "issue", struct {
		Token       string `json:"token"`
		Predecessor string `json:"predecessor,omitempty"`
	}{token, predecessor}, nil)
}

// TokenRevoke ends a token for ever. It returns once every writer refuses it and its connections are cut.
func (c *Client) TokenRevoke(ctx context.Context, r Revocation) (*Revoked, error) {
	answer := &Revoked{}
	return answer, c.act(ctx, "token", "revoke", r, answer)
}

// KeyRevoke ends an auth key and every token that it signed, for ever. It returns as TokenRevoke does; where the key ends itself, connections are cut a moment later.
func (c *Client) KeyRevoke(ctx context.Context, r Revocation) (*Revoked, error) {
	answer := &Revoked{}
	return answer, c.act(ctx, "key", "revoke", r, answer)
}

// KeyShow shows an auth key. It needs no token that administers, but a credential that may send there.
func (c *Client) KeyShow(ctx context.Context, id string) (*KeyInfo, error) {
	answer := &KeyInfo{}
	return answer, c.act(ctx, "key", "show", idBody{id}, answer)
}

// KeyUpdate changes an auth key as the operator's order says. It returns once every writer decides under it.
func (c *Client) KeyUpdate(ctx context.Context, id, order string) error {
	return c.act(ctx, "key", "update", Revocation{ID: id, Order: order}, nil)
}

// KeyList gives a page of auth keys, by public id.
func (c *Client) KeyList(ctx context.Context, f TokenFilter) (*KeyPage, error) {
	answer := &KeyPage{}
	return answer, c.act(ctx, "key", "list", f, answer)
}

// TokenShow shows a recorded token.
func (c *Client) TokenShow(ctx context.Context, id string) (*TokenInfo, error) {
	answer := &TokenInfo{}
	return answer, c.act(ctx, "token", "show", idBody{id}, answer)
}

// TokenList gives a page of the recorded tokens, in the order in which they were recorded.
func (c *Client) TokenList(ctx context.Context, f TokenFilter) (*TokenPage, error) {
	answer := &TokenPage{}
	return answer, c.act(ctx, "token", "list", f, answer)
}

// TokenRefresh ends a token in favour of a successor, which the holder of its auth key signs as the answer says and records with TokenSucceed. Until then the
// same call goes on where it was.
func (c *Client) TokenRefresh(ctx context.Context, r Refresh) (*Successor, error) {
	answer := &Successor{}
	return answer, c.act(ctx, "token", "refresh", r, answer)
}
