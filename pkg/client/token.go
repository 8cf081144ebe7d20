package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"

	"github.com/eventfuldb/eventful/streams"
)

// maxTokens is how many tokens a client remembers the claims of.
const maxTokens = 1024

// claims is what the client itself must know of a token. Nothing is verified here: the server does that.
type claims struct {
	user    string    // the user's public key
	inbox   string    // prefix of what it may subscribe to
	expires time.Time // zero: not said
	admin   bool      // an auth key made it, to administer
}

// tokens remembers the claims of tokens, so that a token is decoded once and not for each request. It is safe for concurrent use.
type tokens struct {
	mu    sync.Mutex
	known map[string]claims
}

// usable reads the token and refuses one that has expired by this machine's clock: it is not sent, so nothing can have been stored.
func (t *tokens) usable(token string) (claims, *problem.Problem) {
	c, err := t.read(token)
	if err != nil {
		return c, problem.New(problem.Unauthenticated, "the token cannot be read: %v", err).
			WithHint("an access token is a NATS user JWT: three parts separated by dots")
	}
	if !c.expires.IsZero() && !time.Now().Before(c.expires) {
		return c, problem.New(problem.Unauthenticated, "the token expired at %s", c.expires.UTC().Format(time.RFC3339)).
			WithHint("`eventful token:generate` makes a new one")
	}
	return c, nil
}

func (t *tokens) read(token string) (claims, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.known[token]; ok {
		return c, nil
	}
	c, err := claimsOf(token)
	if err != nil {
		return c, err
	}
	if t.known == nil || len(t.known) >= maxTokens {
		t.known = map[string]claims{}
	}
	t.known[token] = c
	return c, nil
}

// claimsOf reads the claims `sub` and `exp`, and whether it is a token that an auth key made to administer.
func claimsOf(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it does not have three parts")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, fmt.Errorf("second part: %w", err)
	}
	var text struct {
		Subject string `json:"sub"`
		Expires int64  `json:"exp"`
		NATS    struct {
			Tags []string `json:"tags"`
		} `json:"nats"`
	}
	if err := json.Unmarshal(body, &text); err != nil {
		return claims{}, fmt.Errorf("second part: %w", err)
	}
	if text.Subject == "" || strings.Trim(text.Subject, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return claims{}, errors.New("its sub claim is no public key")
	}
	c := claims{user: text.Subject, inbox: streams.TokenInboxPrefix(text.Subject, text.NATS.Tags), admin: slices.Contains(text.NATS.Tags, "adm:*")}
	if text.Expires != 0 {
		c.expires = time.Unix(text.Expires, 0)
	}
	return c, nil
}
