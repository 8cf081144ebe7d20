package token

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// NewAuthKey makes an auth key: its public id, and the seed that signs tokens, which is shown once and never stored by EventfulDB.
func NewAuthKey() (publicID string, seed []byte, err error) {
	pair, err := nkeys.CreateAccount()
	if err != nil {
		return "", nil, fmt.Errorf("create auth key: %w", err)
	}
	return publicAndSeed(pair)
}

// PublicID is the public id of an auth key's seed; the error is a *problem.Problem that does not repeat the seed.
func PublicID(authKeySeed []byte) (string, error) {
	pair, err := authKey(authKeySeed)
	if err != nil {
		return "", err
	}
	return pair.PublicKey()
}

// Mint signs an access token with an auth key, for a new user of the account (the public id of APP). From c it takes the identifier, the
// rights, Limit, NotBefore and Expires. It gives the JWT, a bearer secret, and the user's seed for clients that answer the server's nonce.
// Claims that no site would accept, and a JWT above MaxSize, are refused with a *problem.Problem; the ceilings of the auth key are checked by
// Verify, since the seed does not carry them.
func Mint(authKeySeed []byte, account string, c Claims) (token string, userSeed []byte, err error) {
	pair, err := authKey(authKeySeed)
	if err != nil {
		return "", nil, err
	}
	if !nkeys.IsValidPublicAccountKey(account) {
		return "", nil, problem.New(problem.Malformed, "account %.80q is no public account key", account).
			WithHint("take the account that the server names in adm.server.status")
	}
	if c.Expires.Unix() <= 0 || c.Expires.IsZero() {
		return "", nil, problem.New(problem.Malformed, "the token has no expiry").WithHint("give an expiration in seconds")
	}
	if c.Issuer, err = pair.PublicKey(); err != nil {
		return "", nil, fmt.Errorf("read public id of the auth key: %w", err)
	}
	if p := c.check(); p != nil {
		return "", nil, p
	}
	return sign(pair, account, c)
}

// MintAdmin signs the token with which the holder of an auth key administers: it names the key itself and lives from now for MaxAuthKey.
func MintAdmin(authKeySeed []byte, account string, now time.Time) (token string, userSeed []byte, err error) {
	id, err := PublicID(authKeySeed)
	if err != nil {
		return "", nil, err
	}
	return Mint(authKeySeed, account, Claims{IdentifierType: AuthKeyType, IdentifierID: id, Aggregates: []string{All},
		Actions: []Action{ActionAdmin}, Expires: now.Add(MaxAuthKey)})
}

func sign(pair nkeys.KeyPair, account string, c Claims) (string, []byte, error) {
	user, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, fmt.Errorf("create user of the token: %w", err)
	}
	public, seed, err := publicAndSeed(user)
	if err != nil {
		return "", nil, err
	}
	c.User, c.Inbox = public, inboxOf(seed)
	uc := jwt.NewUserClaims(public)
	uc.SetScoped(true)
	uc.IssuerAccount = account
	uc.Expires = c.Expires.Unix()
	if !c.NotBefore.IsZero() {
		uc.NotBefore = c.NotBefore.Unix()
	}
	uc.Tags = c.tags() // not by Add, which lower-cases: the inbox tag is in upper case
	uc.Name = tagsDigest(uc.Tags)
	text, err := uc.Encode(pair)
	if err != nil {
		return "", nil, fmt.Errorf("sign token: %w", err)
	}
	if len(text) > MaxSize {
		return "", nil, problem.New(problem.TooLarge, "the token has %d bytes, at most %d are accepted", len(text), MaxSize).
			WithHint("name fewer types or aggregates, or make several tokens")
	}
	return text, seed, nil
}

// inboxOf is the name of a user's inbox: 160 bits that follow from the seed, which only the holder has, and from which nothing follows.
func inboxOf(userSeed []byte) string {
	sum := sha256.Sum256(append([]byte("eventful.inbox.v1\x00"), userSeed...))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20])
}

// authKey opens a seed; the error never repeats it.
func authKey(seed []byte) (nkeys.KeyPair, error) {
	pair, err := nkeys.FromSeed(seed)
	if err == nil {
		var public string
		if public, err = pair.PublicKey(); err == nil && nkeys.IsValidPublicAccountKey(public) {
			return pair, nil
		}
	}
	return nil, problem.New(problem.Unauthenticated, "the auth key cannot be read").
		WithHint("give the secret that token:generate --auth-key showed; it begins with SA")
}

func publicAndSeed(pair nkeys.KeyPair) (string, []byte, error) {
	public, err := pair.PublicKey()
	if err != nil {
		return "", nil, fmt.Errorf("read public key: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", nil, fmt.Errorf("read seed of %s: %w", public, err)
	}
	return public, seed, nil
}
