// Package keyring keeps the keys of a site in one file: the operator's, the accounts', and those under which everything at rest is encrypted.
//
// The file (keys.json, mode 0600) has a public part, a part sealed under the DEK, and the operator's seed sealed under the master key. Both
// secrets are whatever a person chose, of MinSecret characters or more, stretched by Argon2id with salts of their own; nothing but these two
// seals derives from them, so each can be changed without touching data. Every seal is AES-256-GCM, bound to its name and to the public part,
// so an exchanged operator or account does not open. A Keyring is not safe for concurrent use; Secrets are, since they are only read.
package keyring

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Account names one of the three accounts of a site.
type Account string

const (
	LOG Account = "LOG" // logs, leases, buckets: the engines alone
	APP Account = "APP" // people and services
	SYS Account = "SYS" // the system account of the NATS server
)

// Lengths of master key and DEK: characters at least, bytes at most.
const (
	MinSecret = 16
	MaxSecret = 4096
)

// Version of the file's layout; a newer one is refused by name.
const version = 1

const (
	sealOperator = "operator-seed"
	sealSecrets  = "secrets"
)

// Keyring is the key file of a site: its public part, and the seals that Open and OpenOperator break.
type Keyring struct {
	path string
	file file
}

type file struct {
	Version  int                     `json:"version"`
	Site     string                  `json:"site"`
	Operator string                  `json:"operator"` // JWT
	Accounts map[Account]accountInfo `json:"accounts"`
	Master   seal                    `json:"master"` // the operator's seed, under the master key
	DEK      seal                    `json:"dek"`    // all other secrets, under the DEK
	Acts     []noted                 `json:"acts,omitempty"`
}

type accountInfo struct {
	ID  string `json:"id"`
	JWT string `json:"jwt"` // as it was made; the present one is with the account resolver
}

type seal struct {
	KDF    kdf    `json:"kdf"`
	Sealed []byte `json:"sealed"`
}

// New is a key file that is to be made.
type New struct {
	Site           string
	MasterKey, DEK []byte
	Cost           Cost              // of Argon2id, which the file remembers; below DefaultCost guessing a secret gets cheaper
	By             By                // who configures the site
	Settings       map[string]string // with these, which are noted
}

// Create makes operator, accounts and all keys of a site, and writes them to path, which must not exist, with the note of it.
func (n New) Create(path string) (*Keyring, *Secrets, error) {
	k, operatorSeed, secrets, err := n.make(path)
	if err != nil {
		return nil, nil, err
	}
	if err := k.note(operatorSeed, noteOf{event: ActConfigured, by: n.By, settings: n.Settings}); err != nil {
		return nil, nil, err
	}
	return k, secrets, k.write()
}

// CreateWithCost makes a key file that notes nobody: for tests of what does not look at acts.
func CreateWithCost(path, site string, masterKey, dek []byte, cost Cost) (*Keyring, *Secrets, error) {
	k, _, secrets, err := New{Site: site, MasterKey: masterKey, DEK: dek, Cost: cost}.make(path)
	if err != nil {
		return nil, nil, err
	}
	return k, secrets, k.write()
}

func (n New) make(path string) (k *Keyring, operatorSeed []byte, secrets *Secrets, err error) {
	if err := errors.Join(event.CheckSite(n.Site), checkNewSecrets(n.MasterKey, n.DEK), n.Cost.check()); err != nil {
		return nil, nil, nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, nil, nil, fmt.Errorf("create key file %s: %w", path, os.ErrExist)
	}
	k = &Keyring{path: path, file: file{Version: version, Site: n.Site}}
	if operatorSeed, secrets, err = k.generate(); err != nil {
		return nil, nil, nil, err
	}
	plain, err := secrets.encode()
	if err != nil {
		return nil, nil, nil, err
	}
	k.file.Master = k.seal(n.MasterKey, n.Cost, sealOperator, operatorSeed)
	k.file.DEK = k.seal(n.DEK, n.Cost, sealSecrets, plain)
	return k, operatorSeed, secrets, nil
}

// Load reads a key file without opening it. It refuses a file of a newer version (ErrNewer), one that others can read or write (ErrExposed), and
// one whose public part is not whole (ErrCorrupt).
func Load(path string) (*Keyring, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	k := &Keyring{path: path}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("read key file %s: %w: %w", path, ErrCorrupt, err)
	}
	if head.Version > version {
		return nil, fmt.Errorf("read key file %s: %w: it has version %d, this program knows version %d", path, ErrNewer, head.Version, version)
	}
	if err := json.Unmarshal(data, &k.file); err != nil {
		return nil, fmt.Errorf("read key file %s: %w: %w", path, ErrCorrupt, err)
	}
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("read key file %s: %w: %w", path, ErrCorrupt, err)
	}
	return k, nil
}

// Open gives what is sealed under the DEK; another one gives ErrWrongKey.
func (k *Keyring) Open(dek []byte) (*Secrets, error) {
	plain, err := k.open(k.file.DEK, dek, sealSecrets)
	if err != nil {
		return nil, fmt.Errorf("open %s with the DEK: %w", k.path, err)
	}
	return decodeSecrets(plain)
}

// OpenOperator gives the operator's seed, which is sealed under the master key; another one gives ErrWrongKey.
func (k *Keyring) OpenOperator(masterKey []byte) ([]byte, error) {
	seed, err := k.open(k.file.Master, masterKey, sealOperator)
	if err != nil {
		return nil, fmt.Errorf("open %s with the master key: %w", k.path, err)
	}
	return seed, nil
}

// Renewal replaces a secret; without New nothing changes.
type Renewal struct {
	Old, New []byte
}

// Renew seals the operator's seed under another master key, everything else under another DEK, or both, notes it, and writes the file once: a crash leaves the old
// file or the new one. An old secret that does not open its seal gives ErrWrongKey, and nothing is written; ErrFull: too many acts wait. Copies of the old file still open
// with the old secrets.
func (k *Keyring) Renew(master, dek Renewal, by By) error {
	return k.rewrite(func() error {
		if master.New != nil {
			seed, err := k.reseal(&k.file.Master, sealOperator, master)
			if err == nil {
				err = k.note(seed, noteOf{event: ActMasterKey, by: by})
			}
			if err != nil {
				return err
			}
		}
		if dek.New == nil {
			return nil
		}
		plain, err := k.reseal(&k.file.DEK, sealSecrets, dek)
		if err != nil {
			return err
		}
		secrets, err := decodeSecrets(plain)
		if err != nil {
			return err
		}
		return k.note(secrets.OperatorSigningSeed, noteOf{event: ActDEK, by: by})
	})
}

// CopyWithNewKeys writes a key file for the same site to path, which must not exist: the same operator, accounts and SessionKey, sealed under the same master
// key and DEK, and fresh keys for what they alone encrypt, the JetStream store, writer states and index. SessionKey stays: names and values that derive from
// it lie in streams and cannot all be made anew. The copy notes that it was made.
func (k *Keyring) CopyWithNewKeys(path string, dek []byte, by By) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create key file %s: %w", path, os.ErrExist)
	}
	secrets, err := k.Open(dek)
	if err != nil {
		return err
	}
	fresh := newSecrets()
	secrets.JetStreamKey, secrets.StateKey, secrets.IndexKey = fresh.JetStreamKey, fresh.StateKey, fresh.IndexKey
	plain, err := secrets.encode()
	if err != nil {
		return err
	}
	c := &Keyring{path: path, file: k.file}
	c.file.DEK = c.seal(dek, k.file.DEK.KDF.cost(), sealSecrets, plain)
	if err := c.note(secrets.OperatorSigningSeed, noteOf{event: ActReencrypted, by: by}); err != nil {
		return err
	}
	return c.write()
}

// reseal gives what is sealed.
func (k *Keyring) reseal(s *seal, name string, r Renewal) ([]byte, error) {
	if err := CheckSecret(r.New); err != nil {
		return nil, err
	}
	plain, err := k.open(*s, r.Old, name)
	if err != nil {
		return nil, fmt.Errorf("open %s of %s: %w", name, k.path, err)
	}
	*s = k.seal(r.New, s.KDF.cost(), name, plain)
	return plain, nil
}

// Site is the name of the site.
func (k *Keyring) Site() string { return k.file.Site }

// OperatorJWT is what a NATS server trusts.
func (k *Keyring) OperatorJWT() string { return k.file.Operator }

// AccountID is the public id of an account, empty for one that a site does not have.
func (k *Keyring) AccountID(a Account) string { return k.file.Accounts[a].ID }

// AccountJWT is the JWT of an account as it was made. The present one is with the account resolver.
func (k *Keyring) AccountJWT(a Account) string { return k.file.Accounts[a].JWT }

// OperatorKeys are the public keys that may sign accounts: the operator's identity and its signing key.
func (k *Keyring) OperatorKeys() []string {
	operator, err := jwt.DecodeOperatorClaims(k.file.Operator)
	if err != nil {
		return nil // cannot be: Create made it, Load checked it
	}
	return append([]string{operator.Subject}, operator.SigningKeys...)
}

// CheckSecret says why s is no master key or DEK, or nil. The error does not repeat it.
func CheckSecret(s []byte) error {
	characters := len(s)
	if utf8.Valid(s) {
		characters = utf8.RuneCount(s)
	}
	if characters < MinSecret || len(s) > MaxSecret {
		return fmt.Errorf("%w: it has %d characters, it must have %d or more, and at most %d bytes", ErrWeakSecret, characters, MinSecret, MaxSecret)
	}
	return nil
}

func checkNewSecrets(masterKey, dek []byte) error {
	if err := CheckSecret(masterKey); err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	if err := CheckSecret(dek); err != nil {
		return fmt.Errorf("DEK: %w", err)
	}
	if slices.Equal(masterKey, dek) {
		return fmt.Errorf("%w: master key and DEK are the same", ErrWeakSecret)
	}
	return nil
}

// binding is the associated data of a seal: its name and a digest of the public part.
func (k *Keyring) binding(name string) string {
	public, err := json.Marshal(struct {
		Site, Operator string
		Accounts       map[Account]accountInfo
	}{k.file.Site, k.file.Operator, k.file.Accounts})
	if err != nil {
		return name // cannot be: strings alone
	}
	sum := sha256.Sum256(public)
	return fmt.Sprintf("keys.json/%d/%s/%x", version, name, sum)
}

func (k *Keyring) seal(secret []byte, cost Cost, name string, plain []byte) seal {
	f := newKDF(cost)
	return seal{KDF: f, Sealed: Seal(f.derive(secret), k.binding(name), plain)}
}

func (k *Keyring) open(s seal, secret []byte, name string) ([]byte, error) {
	return Unseal(s.KDF.derive(secret), k.binding(name), s.Sealed)
}

// check holds the public part to what Create makes.
func (k *Keyring) check() error {
	if k.file.Version < 1 {
		return fmt.Errorf("version %d", k.file.Version)
	}
	if _, err := jwt.DecodeOperatorClaims(k.file.Operator); err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	for _, a := range []Account{LOG, APP, SYS} {
		claims, err := jwt.DecodeAccountClaims(k.file.Accounts[a].JWT)
		if err != nil {
			return fmt.Errorf("account %s: %w", a, err)
		}
		if claims.Subject != k.file.Accounts[a].ID || !slices.Contains(k.OperatorKeys(), claims.Issuer) {
			return fmt.Errorf("account %s is not the one that the operator signed", a)
		}
	}
	return errors.Join(event.CheckSite(k.file.Site), k.file.Master.KDF.check(), k.file.DEK.KDF.check())
}
