package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// AddAuthKey gives the JWT of the account APP with one more scoped signing key, signed with the operator's seed. The account as given must be
// the present one. Errors are *problem.Problem where the input is at fault; none repeats the seed.
func AddAuthKey(appAccountJWT string, operatorSeed []byte, key Key) (string, error) {
	account, p := decodeAccount(appAccountJWT)
	if p != nil {
		return "", p
	}
	if p := checkNewKey(account, key); p != nil {
		return "", p
	}
	account.SigningKeys.AddScopedSigner(new(ScopeTemplate(key)))
	return signAccount(account, operatorSeed)
}

// Recorded is what the system log says about the account APP.
type Recorded struct {
	Keys    []Key
	Revoked []Revocation // the newest last
}

// Revocation is that no token of a user is accepted until it would have expired anyway.
type Revocation struct {
	User    string // public key
	Expires time.Time
}

// MaxRevocations is how many revocations the account carries, the newest: its JWT is one message. A server lets a revoked token of an older one connect; the engines
// refuse it all the same.
const MaxRevocations = 4096

// BringAccount gives the JWT of the account APP as the recorded keys and revocations want it, signed with the operator's seed: keys that are missing or
// have another template come in, revoked ones are taken out, tokens that were revoked are revoked there, and revocations that have expired are dropped. Signing
// keys that are not recorded stay. changed is false where the account is so already; it is given back as it is.
func BringAccount(appAccountJWT string, operatorSeed []byte, r Recorded, now time.Time) (text string, changed bool, err error) {
	account, p := decodeAccount(appAccountJWT)
	if p != nil {
		return "", false, p
	}
	for _, key := range r.Keys {
		scope, there := account.SigningKeys.GetScope(key.ID)
		switch {
		case key.Revoked && there:
			delete(account.SigningKeys, key.ID)
			changed = true
		case key.Revoked || sameJSON(scope, new(ScopeTemplate(key))):
		default:
			delete(account.SigningKeys, key.ID)
			if p := checkNewKey(account, key); p != nil {
				return "", false, fmt.Errorf("auth key %s: %w", key.ID, p)
			}
			account.SigningKeys.AddScopedSigner(new(ScopeTemplate(key)))
			changed = true
		}
	}
	if wanted := revocations(account.Revocations, r.Revoked, now); !maps.Equal(wanted, account.Revocations) {
		account.Revocations, changed = wanted, true
	}
	if !changed {
		return appAccountJWT, false, nil
	}
	text, err = signAccount(account, operatorSeed)
	return text, err == nil, err
}

// revocations are the revocations that the account is to have: a server refuses what was issued up to the time that stands there, which is the token's expiry, so
// that the clock of whoever issued it has no part in it.
func revocations(old jwt.RevocationList, revoked []Revocation, now time.Time) jwt.RevocationList {
	list := make(jwt.RevocationList)
	if all, ok := old[jwt.All]; ok {
		list[jwt.All] = all
	}
	for i := len(revoked) - 1; i >= 0 && len(list) < MaxRevocations; i-- {
		if r := revoked[i]; now.Before(r.Expires) {
			list[r.User] = max(list[r.User], r.Expires.Unix())
		}
	}
	return list
}

func signAccount(account *jwt.AccountClaims, operatorSeed []byte) (string, error) {
	operator, err := nkeys.FromSeed(operatorSeed)
	if err != nil {
		return "", fmt.Errorf("read operator seed: %w", err)
	}
	text, err := account.Encode(operator)
	if err != nil {
		return "", fmt.Errorf("sign account %s: %w", account.Subject, err)
	}
	return text, nil
}

// CheckAppUpdate says why the server must not take newJWT as the account APP in place of oldJWT, or nil: the account must be the same, be signed
// by one of operatorKeys (public keys: the operator's identity and its signing keys), not be older, and differ by added auth keys only.
func CheckAppUpdate(oldJWT, newJWT string, operatorKeys ...string) error {
	old, p := decodeAccount(oldJWT)
	if p != nil {
		return p
	}
	updated, p := decodeAccount(newJWT)
	if p != nil {
		return p
	}
	switch {
	case !slices.Contains(operatorKeys, updated.Issuer):
		return problem.New(problem.Unauthenticated, "the account is signed by %s, which is not this site's operator", updated.Issuer).
			WithHint("sign it with the operator key that this site's master key opens")
	case updated.Subject != old.Subject:
		return problem.New(problem.Forbidden, "account %s is not this site's %s", updated.Subject, old.Subject).
			WithHint("start from the account that adm.key.account gives")
	case updated.IssuedAt < old.IssuedAt:
		return problem.New(problem.Conflict, "the account was signed before the present one").
			WithHint("compare the clocks of client and server, and try again")
	}
	return checkDifference(old, updated)
}

// CheckAuthKey says whether the account holds the key as a signing key with exactly its template, or what is wrong.
func CheckAuthKey(appAccountJWT string, key Key) error {
	account, p := decodeAccount(appAccountJWT)
	if p != nil {
		return p
	}
	scope, _ := account.SigningKeys.GetScope(key.ID)
	if !sameJSON(scope, new(ScopeTemplate(key))) {
		return problem.New(problem.Forbidden, "the account does not hold auth key %.80q with the rights that are named", key.ID).
			WithHint("add the key with token:generate --auth-key")
	}
	return nil
}

// checkDifference takes out what may differ and compares the rest.
func checkDifference(old, updated *jwt.AccountClaims) error {
	hint := "start from the account that adm.key.account gives, and add auth keys only"
	for id, scope := range old.SigningKeys {
		if now, ok := updated.SigningKeys[id]; !ok || !sameJSON(scope, now) {
			return problem.New(problem.Conflict, "signing key %s of the account is missing or changed", id).WithHint("%s", hint)
		}
	}
	for id, scope := range updated.SigningKeys {
		if _, ok := old.SigningKeys[id]; !ok && !isTemplate(scope) {
			return problem.New(problem.Forbidden, "signing key %s is not scoped as an auth key is", id).WithHint("%s", hint)
		}
	}
	if !maps.Equal(old.Revocations, updated.Revocations) {
		return problem.New(problem.Conflict, "the account's revocations are not the present ones").WithHint("%s", hint)
	}
	a, b := *old, *updated
	for _, c := range []*jwt.AccountClaims{&a, &b} {
		c.SigningKeys, c.Revocations, c.ID, c.Issuer, c.IssuedAt = nil, nil, "", "", 0
	}
	if !sameJSON(a, b) {
		return problem.New(problem.Forbidden, "the account differs by more than auth keys").WithHint("%s", hint)
	}
	return nil
}

// isTemplate reports whether a scope is the template of an auth key with some rights.
func isTemplate(scope jwt.Scope) bool {
	user, ok := scope.(*jwt.UserScope)
	if !ok || user == nil {
		return false
	}
	for set := range 1 << len(actions) {
		var acts []Action
		for i, a := range actions {
			if set&(1<<i) != 0 {
				acts = append(acts, a)
			}
		}
		if sameJSON(user, new(ScopeTemplate(Key{ID: user.Key, Name: user.Description, Actions: acts}))) {
			return true
		}
	}
	return false
}

func checkNewKey(account *jwt.AccountClaims, key Key) *problem.Problem {
	if !nkeys.IsValidPublicAccountKey(key.ID) || key.ID == account.Subject {
		return problem.New(problem.Malformed, "%.80q is no public id of an auth key", key.ID).WithHint("take the id that token:generate --auth-key shows")
	}
	if account.SigningKeys.Contains(key.ID) {
		return problem.New(problem.Conflict, "the account has auth key %s already", key.ID).WithHint("make another key")
	}
	return key.Check()
}

func decodeAccount(text string) (*jwt.AccountClaims, *problem.Problem) {
	account, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		return nil, problem.New(problem.Malformed, "the account JWT cannot be read: %.200s", err).WithHint("take the account that adm.key.account gives")
	}
	var results jwt.ValidationResults
	account.Validate(&results)
	if results.IsBlocking(true) {
		return nil, problem.New(problem.Malformed, "the account JWT is not valid: %.200s", results.Errors()).WithHint("take the account that adm.key.account gives")
	}
	return account, nil
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
