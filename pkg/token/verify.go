package token

import (
	"bytes"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Verify checks a token in every respect that docs/spec/tokens.md, section 3, lists: size, signature, kind, issuer, times, form, and that
// its rights and ceilings lie within those of its auth key. The error is a *problem.Problem with a hint. It costs a signature check, about
// 0.1 ms; a Cache makes it cheap for tokens seen before.
func Verify(token string, now time.Time, keys Keys) (*Claims, error) {
	uc, p := decodeUser(token)
	if p != nil {
		return nil, p
	}
	key, p := issuerOf(uc.Issuer, keys)
	if p != nil {
		return nil, p
	}
	c, p := covered(uc)
	if p != nil {
		return nil, p
	}
	if p := c.checkTimes(now); p != nil {
		return nil, p
	}
	if keys.Ended(c.ID) {
		return nil, c.ended()
	}
	if p := c.checkKey(key); p != nil {
		return nil, p
	}
	return c, nil
}

// read makes all checks of Verify that depend on the text of the token and on the auth keys alone.
func read(token string, keys Keys) (*Claims, *problem.Problem) {
	uc, p := decodeUser(token)
	if p != nil {
		return nil, p
	}
	key, p := issuerOf(uc.Issuer, keys)
	if p != nil {
		return nil, p
	}
	c, p := covered(uc)
	if p != nil {
		return nil, p
	}
	if p := c.checkKey(key); p != nil {
		return nil, p
	}
	return c, nil
}

// Recheck says why a token that was accepted before is not any more, or nil: it was ended, or its auth key revoked or given other rights. The clock has
// no part in it. c is not changed.
func (c *Claims) Recheck(keys Keys) *problem.Problem {
	if keys.Ended(c.ID) {
		return c.ended()
	}
	key, p := issuerOf(c.Issuer, keys)
	if p != nil {
		return p
	}
	return c.checkRights(key)
}

// Shown reads a token that somebody shows to have it ended: signature, form and issuer are checked; its times, whether its rights are still its auth
// key's, and whether its id covers its tags (as it does not in tokens of earlier versions), have no part in it. The error is a *problem.Problem.
func Shown(token string, keys Keys) (*Claims, error) {
	uc, p := decodeUser(token)
	if p != nil {
		return nil, p
	}
	if _, ok := keys.Key(uc.Issuer); !ok {
		return nil, unknownIssuer(uc.Issuer)
	}
	c, p := readClaims(uc)
	if p != nil {
		return nil, p
	}
	return c, nil
}

func (c *Claims) ended() *problem.Problem {
	return refuse("it was revoked, or refreshed").WithHint("use the token that `eventful token:refresh` gave in its place, or ask for a new one")
}

func unknownIssuer(id string) *problem.Problem {
	return refuse("its issuer %.80q is no auth key of this site", id).WithHint("use a token that an auth key of this site issued")
}

// issuerOf is the auth key with that id, if its tokens count.
func issuerOf(id string, keys Keys) (Key, *problem.Problem) {
	key, ok := keys.Key(id)
	if !ok {
		return key, unknownIssuer(id)
	}
	if key.Revoked {
		return key, refuse("its auth key %s is revoked", key.ID).WithHint("ask for a token of another auth key")
	}
	return key, nil
}

func refuse(format string, args ...any) *problem.Problem {
	return problem.New(problem.Unauthenticated, "the token is refused: "+format, args...)
}

// decodeUser checks size, encoding and signature, and that the JWT is a scoped user's.
func decodeUser(token string) (*jwt.UserClaims, *problem.Problem) {
	if token == "" {
		return nil, problem.New(problem.Unauthenticated, "the request carries no token").
			WithHint("set EVENTFUL_TOKEN, sign in with token:auth, or send the header Eventful-Token")
	}
	if len(token) > MaxSize {
		return nil, refuse("it has %d bytes, at most %d are accepted", len(token), MaxSize).WithHint("check that this is a token")
	}
	if p := checkEncoding(token); p != nil {
		return nil, p
	}
	claims, err := jwt.Decode(token)
	if err != nil {
		return nil, refuse("%.200s", err).WithHint("check that the token is complete and unchanged")
	}
	uc, ok := claims.(*jwt.UserClaims)
	if !ok || uc.Version != 2 {
		return nil, refuse("it is a JWT of type %.40q, version 2 of type %q is needed", claims.ClaimType(), jwt.UserClaim).
			WithHint("use an access token, as token:generate makes it")
	}
	return uc, nil
}

// checkEncoding holds what jwt/v2 lets pass: each part is the one base64url text of its bytes, so no token has a second spelling (unused bits, padding,
// line ends), and the header says exactly what docs/spec/tokens.md, section 1, shows.
func checkEncoding(token string) *problem.Problem {
	const hint = "check that the token is complete and unchanged"
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return refuse("it is no JWT of three parts").WithHint(hint)
	}
	for i, part := range parts {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(text) != part {
			return refuse("its part %d is not base64url without padding", i+1).WithHint(hint)
		}
		if i == 0 && !isHeader(text) {
			return refuse("its header is not typ %q, alg %q and nothing else", jwt.TokenTypeJwt, jwt.AlgorithmNkey).WithHint("make a new token with token:generate")
		}
	}
	return nil
}

// isHeader reports whether text is a JSON object of exactly typ and alg, each once.
func isHeader(text []byte) bool {
	missing := map[json.Token]json.Token{"typ": jwt.TokenTypeJwt, "alg": jwt.AlgorithmNkey}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false
		}
		value, err := d.Token()
		if want, known := missing[name]; err != nil || !known || value != want {
			return false
		}
		delete(missing, name)
	}
	_, closed := d.Token()
	_, end := d.Token()
	return closed == nil && errors.Is(end, io.EOF) && len(missing) == 0
}

// covered is readClaims for a token that is to be used: its id covers all that it says, so of one id there is one token.
func covered(uc *jwt.UserClaims) (*Claims, *problem.Problem) {
	if !strings.HasPrefix(uc.Name, digestMark) {
		return nil, refuse("its id does not cover its tags, as that of tokens of earlier versions does not").
			WithHint("make a new token with token:generate, or, of a recorded one, with token:refresh and its id")
	}
	return readClaims(uc)
}

// readClaims checks the form of a user JWT and takes the claims out of it. Times are left to checkTimes, which has the caller's clock.
func readClaims(uc *jwt.UserClaims) (*Claims, *problem.Problem) {
	const hint = "make a new token with token:generate"
	var results jwt.ValidationResults
	uc.Validate(&results)
	if results.IsBlocking(false) {
		return nil, refuse("%.200s", results.Errors()[0]).WithHint(hint)
	}
	switch {
	case !nkeys.IsValidPublicUserKey(uc.Subject):
		return nil, refuse("its subject is no public user key").WithHint(hint)
	case !nkeys.IsValidPublicAccountKey(uc.IssuerAccount):
		return nil, refuse("it names no account").WithHint(hint)
	case !uc.HasEmptyPermissions():
		return nil, refuse("it carries permissions of its own").WithHint(hint)
	case uc.ID == "" || uc.ID != tokenID(uc.ClaimsData):
		return nil, refuse("its id is not the one that its claims have").WithHint(hint)
	case uc.Expires <= 0 || uc.IssuedAt <= 0 || uc.NotBefore < 0:
		return nil, refuse("it has no expiry or no time of issue").WithHint(hint)
	}
	if strings.HasPrefix(uc.Name, digestMark) && uc.Name != tagsDigest(uc.Tags) {
		return nil, refuse("its tags are not the ones that its id covers").WithHint(hint)
	}
	c := &Claims{ID: uc.ID, User: uc.Subject, Issuer: uc.Issuer, Account: uc.IssuerAccount,
		IssuedAt: time.Unix(uc.IssuedAt, 0).UTC(), Expires: time.Unix(uc.Expires, 0).UTC()}
	if uc.NotBefore > 0 {
		c.NotBefore = time.Unix(uc.NotBefore, 0).UTC()
	}
	if err := c.readTags(uc.Tags); err != nil {
		return nil, refuse("%s", err).WithHint(hint)
	}
	return c, nil
}

// tokenID is the jti that jwt/v2 gives: base32 of SHA-512/256 over the standard claims without it. Checking it keeps one issuer from
// taking the id, and with it the budget, of another's token, since issuer and user are among the claims.
func tokenID(data jwt.ClaimsData) string {
	data.ID = ""
	text, err := json.Marshal(data)
	if err != nil {
		return ""
	}
	sum := sha512.Sum512_256(text)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
}

// checkTimes checks what depends on the clock: at Expires the token is spent.
func (c *Claims) checkTimes(now time.Time) *problem.Problem {
	switch {
	case !now.Before(c.Expires):
		return refuse("it expired at %s", c.Expires.Format(time.RFC3339)).WithHint("ask for a new token")
	case now.Before(c.NotBefore):
		return refuse("it is not valid before %s", c.NotBefore.Format(time.RFC3339)).WithHint("wait until then, or ask for a new token")
	case c.IssuedAt.Sub(now) > MaxClockSkew:
		return refuse("it was issued in the future, at %s", c.IssuedAt.Format(time.RFC3339)).WithHint("compare the clocks of client and server")
	}
	return nil
}

// checkKey holds c within the rights and ceilings of its auth key. The token that a key makes for itself gets the key's types.
func (c *Claims) checkKey(key Key) *problem.Problem {
	if c.IdentifierType == AuthKeyType {
		if lifetime := c.Expires.Sub(c.IssuedAt); lifetime > MaxAuthKey {
			return refuse("an auth key's own token may live for %s, this one lives for %s", MaxAuthKey, lifetime).WithHint("make it anew")
		}
		c.Aggregates = slices.Clone(key.Aggregates)
	}
	return c.checkRights(key)
}

func (c *Claims) checkRights(key Key) *problem.Problem {
	lifetime := c.Expires.Sub(c.IssuedAt)
	if c.IdentifierType == AuthKeyType && !hasAction(key.Actions, ActionAdmin) {
		return beyond("auth key %s may not administer", key.ID)
	}
	for _, a := range c.Actions {
		for _, t := range c.Aggregates {
			if !key.covers(a, t) {
				p := beyond("auth key %s may not grant %s on %s", key.ID, a, t)
				if event.IsReserved(t) {
					p = p.WithHint("EventfulDB's own types are not in *: make an auth key that names them, with `eventful token:generate --auth-key --aggregates=%s --actions=read,admin`", t)
				}
				return p
			}
		}
	}
	if key.MaxLimit > 0 && c.Limit > key.MaxLimit {
		return beyond("auth key %s may grant %d events, the token has %d", key.ID, key.MaxLimit, c.Limit)
	}
	if key.MaxExpiration > 0 && lifetime > key.MaxExpiration && c.IdentifierType != AuthKeyType {
		return beyond("auth key %s may grant %s, the token lives for %s", key.ID, key.MaxExpiration, lifetime)
	}
	return nil
}

func beyond(format string, args ...any) *problem.Problem {
	return problem.New(problem.Forbidden, format, args...).WithHint("ask for less, or use an auth key with wider rights")
}
