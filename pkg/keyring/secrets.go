package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// Secrets is what a running site needs, sealed under the DEK. It prints as a placeholder. It must not be changed.
type Secrets struct {
	JetStreamKey        string   // text for nats-server's store encryption
	StateKey            [32]byte // writer states
	IndexKey            [32]byte // projector index
	SessionKey          [32]byte // root of the keys that Derived gives
	OperatorSigningSeed []byte   // signs account updates while the master key is away
	Accounts            map[Account]AccountSecret
}

// AccountSecret is an account with the seed of its unscoped signing key. The account's identity seed is not kept: nothing needs it.
type AccountSecret struct {
	ID          string
	SigningSeed []byte
}

// sealed is the layout of Secrets inside the seal.
type sealedSecrets Secrets

// String, GoString and MarshalJSON keep secrets out of logs.
func (Secrets) String() string { return "keyring.Secrets(sealed)" }

// GoString is String.
func (s Secrets) GoString() string { return s.String() }

// MarshalJSON is String as JSON.
func (s Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

func (s *Secrets) encode() ([]byte, error) {
	plain, err := json.Marshal((*sealedSecrets)(s))
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	return plain, nil
}

func decodeSecrets(plain []byte) (*Secrets, error) {
	s := &Secrets{}
	if err := json.Unmarshal(plain, (*sealedSecrets)(s)); err != nil {
		return nil, fmt.Errorf("decode secrets: %w", ErrCorrupt)
	}
	return s, nil
}

// EngineUser makes a user with all rights in an account, for one connection of an engine. It has no expiry. It gives the user's JWT and the seed
// that answers the server's nonce.
func (s *Secrets) EngineUser(account Account, name string) (userJWT string, seed []byte, err error) {
	return s.user(account, name, func(*jwt.UserClaims) {})
}

// Rights are the subjects that a user may publish and subscribe to, besides its own inboxes; a deny goes before an allow.
type Rights struct{ Publish, Deny, Subscribe []string }

// RightsUser makes a user with these rights in an account. Expires is when it ends; the zero time: never. It may subscribe to
// `_INBOX.<its public key>.>` besides, so its connection must have that as its inbox prefix.
func (s *Secrets) RightsUser(account Account, name string, r Rights, expires time.Time) (userJWT string, seed []byte, err error) {
	return s.user(account, name, func(c *jwt.UserClaims) {
		c.Pub.Allow, c.Pub.Deny = r.Publish, r.Deny
		c.Sub.Allow = append([]string{"_INBOX." + c.Subject + ".>"}, r.Subscribe...)
		if len(r.Publish) == 0 {
			c.Pub.Deny = []string{">"} // an empty list would allow everything
		}
		if !expires.IsZero() {
			c.Expires = expires.Unix()
		}
	})
}

// LocalUser makes the credential that `start` leaves in run.json: a bearer user of APP that may ask for the account, send the acts on auth keys and tokens that
// the operator must have signed, record a credential that the site's keys signed, and ask for the status. It has no expiry.
func (s *Secrets) LocalUser() (userJWT string, seed []byte, err error) {
	return s.user(APP, "local", func(c *jwt.UserClaims) {
		c.BearerToken = true
		c.Pub.Allow = []string{"adm.key.account", "adm.key.add", "adm.key.show", "adm.key.update", "adm.key.revoke", "adm.token.revoke", "adm.credential.record", "adm.server.status"}
		c.Sub.Allow = []string{"_INBOX." + c.Subject + ".>"}
	})
}

func (s *Secrets) user(account Account, name string, restrict func(*jwt.UserClaims)) (string, []byte, error) {
	secret, ok := s.Accounts[account]
	if !ok {
		return "", nil, fmt.Errorf("make user %s: no account %q", name, account)
	}
	pair, err := nkeys.FromSeed(secret.SigningSeed)
	if err != nil {
		return "", nil, fmt.Errorf("read signing seed of %s: %w", account, err)
	}
	public, seed, err := newUser()
	if err != nil {
		return "", nil, err
	}
	claims := jwt.NewUserClaims(public)
	claims.Name, claims.IssuerAccount = name, secret.ID
	restrict(claims)
	text, err := claims.Encode(pair)
	if err != nil {
		return "", nil, fmt.Errorf("sign user %s of %s: %w", name, account, err)
	}
	return text, seed, nil
}

func newUser() (public string, seed []byte, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, fmt.Errorf("create user: %w", err)
	}
	return publicAndSeed(pair)
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

func newSecrets() *Secrets {
	return &Secrets{
		JetStreamKey: hex.EncodeToString(random(32)),
		StateKey:     [32]byte(random(32)), IndexKey: [32]byte(random(32)), SessionKey: [32]byte(random(32)),
		Accounts: make(map[Account]AccountSecret),
	}
}

// Derived is the key for one purpose that has none of its own in the key file: HKDF-SHA256 (RFC 5869) of SessionKey, with the purpose as info. Key files
// of every age give it, and every copy of a site's key file the same.
func (s *Secrets) Derived(purpose string) ([32]byte, error) {
	key, err := hkdf.Key(sha256.New, s.SessionKey[:], nil, "eventful.derived.v1\x00"+purpose, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	return [32]byte(key), nil
}
