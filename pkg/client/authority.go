package client

import "context"

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
	return c.act(ctx, "token", "issue", struct {
		Token string `json:"token"`
	}{token}, nil)
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
