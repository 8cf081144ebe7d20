package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// operator signs accounts.
type operator struct {
	pair nkeys.KeyPair
	id   string
	seed []byte
}

func newOperator(t testing.TB) operator {
	t.Helper()
	pair, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	id, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return operator{pair, id, seed}
}

// edit gives the account with a change, signed anew.
func (o operator) edit(t *testing.T, text string, change func(*jwt.AccountClaims)) string {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	if text, err = c.Encode(o.pair); err != nil {
		t.Fatal(err)
	}
	return text
}

func (o operator) account(t *testing.T) string {
	t.Helper()
	c := jwt.NewAccountClaims(newIssuer(t).id)
	c.Name = "APP"
	c.SigningKeys.Add(newIssuer(t).id)
	text, err := c.Encode(o.pair)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func someKey(t *testing.T) token.Key {
	t.Helper()
	return token.Key{ID: newIssuer(t).id, Name: "imports", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite, token.ActionAdmin}}
}

func TestAddAuthKey(t *testing.T) {
	o := newOperator(t)
	account := o.account(t)
	for range 3 {
		key := someKey(t)
		updated, err := token.AddAuthKey(account, o.seed, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := token.CheckAppUpdate(account, updated, "OX", o.id); err != nil {
			t.Errorf("got %v, want the update to pass", err)
		}
		if err := token.CheckAuthKey(updated, key); err != nil {
			t.Errorf("got %v, want the account to hold the key", err)
		}
		isProblem(t, token.CheckAuthKey(account, key), problem.Forbidden)
		wider := key
		wider.Actions = append(wider.Actions, token.ActionRead)
		isProblem(t, token.CheckAuthKey(updated, wider), problem.Forbidden)
		_, err = token.AddAuthKey(updated, o.seed, key)
		isProblem(t, err, problem.Conflict)
		account = updated
	}
}

func TestAddAuthKeyRefuses(t *testing.T) {
	o := newOperator(t)
	account := o.account(t)
	for name, change := range map[string]func(*token.Key){
		"no id":         func(k *token.Key) { k.ID = "" },
		"user id":       func(k *token.Key) { k.ID = publicOf(t, userSeed(t)) },
		"no rights":     func(k *token.Key) { k.Actions = nil },
		"bad type":      func(k *token.Key) { k.Aggregates = []string{">"} },
		"no name":       func(k *token.Key) { k.Name = "" },
		"name of lines": func(k *token.Key) { k.Name = "a\nb" },
		"name with NUL": func(k *token.Key) { k.Name = "a\x00" },
		"name with C1":  func(k *token.Key) { k.Name = "a\u0085b" },
		"invalid UTF-8": func(k *token.Key) { k.Name = "\xff" },
		"long name":     func(k *token.Key) { k.Name = strings.Repeat("x", token.MaxNameLen+1) },
	} {
		t.Run(name, func(t *testing.T) {
			key := someKey(t)
			change(&key)
			_, err := token.AddAuthKey(account, o.seed, key)
			isProblem(t, err, problem.Malformed)
		})
	}
	_, err := token.AddAuthKey("x", o.seed, someKey(t))
	isProblem(t, err, problem.Malformed)
	if _, err := token.AddAuthKey(account, userSeed(t), someKey(t)); err == nil {
		t.Error("got an account signed by a user, want an error")
	}
}

func TestCheckAppUpdateRefuses(t *testing.T) {
	o := newOperator(t)
	account, err := token.AddAuthKey(o.account(t), o.seed, someKey(t))
	if err != nil {
		t.Fatal(err)
	}
	id := newIssuer(t).id
	for name, updated := range map[string]string{
		"no JWT":              "x",
		"other operator":      newOperator(t).edit(t, account, func(*jwt.AccountClaims) {}),
		"other account":       o.edit(t, account, func(c *jwt.AccountClaims) { c.Subject = id }),
		"unscoped key":        o.edit(t, account, func(c *jwt.AccountClaims) { c.SigningKeys.Add(id) }),
		"key removed":         o.edit(t, account, func(c *jwt.AccountClaims) { c.SigningKeys.Remove(c.SigningKeys.Keys()[0]) }),
		"all keys removed":    o.edit(t, account, func(c *jwt.AccountClaims) { c.SigningKeys = nil }),
		"limits":              o.edit(t, account, func(c *jwt.AccountClaims) { c.Limits.Conn = 1 }),
		"revocation":          o.edit(t, account, func(c *jwt.AccountClaims) { c.Revoke("*") }),
		"default permissions": o.edit(t, account, func(c *jwt.AccountClaims) { c.DefaultPermissions.Pub.Allow.Add("x") }),
		"name":                o.edit(t, account, func(c *jwt.AccountClaims) { c.Name = "B" }),
		"expiry":              o.edit(t, account, func(c *jwt.AccountClaims) { c.Expires = 1 << 40 }),
		"expired":             o.edit(t, account, func(c *jwt.AccountClaims) { c.Expires = 1 }),
		"wide scope": o.edit(t, account, func(c *jwt.AccountClaims) {
			s := token.ScopeTemplate(token.Key{ID: id})
			s.Template.Pub.Allow.Add(">")
			c.SigningKeys.AddScopedSigner(&s)
		}),
		"widened key": o.edit(t, account, func(c *jwt.AccountClaims) {
			for _, scope := range c.SigningKeys {
				if s, ok := scope.(*jwt.UserScope); ok {
					s.Template.Sub.Allow.Add(">")
				}
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			err := token.CheckAppUpdate(account, updated, o.id)
			if p := problem.From(err); err == nil || p.Code == problem.Internal || p.Hint == "" {
				t.Errorf("got %v, want a problem with a hint", err)
			}
		})
	}
	if err := token.CheckAppUpdate(account, o.edit(t, account, func(*jwt.AccountClaims) {}), o.id); err != nil {
		t.Errorf("got %v for the same account signed anew, want it to pass", err)
	}
}

// A key that an earlier version put in with a narrower template gets the present one; a missing one comes back.
func TestBringAuthKeys(t *testing.T) {
	o := newOperator(t)
	k := token.Key{ID: newIssuer(t).id, Name: "k", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}}
	empty := o.account(t)
	added, err := token.AddAuthKey(empty, o.seed, k)
	if err != nil {
		t.Fatal(err)
	}
	older := o.edit(t, added, func(c *jwt.AccountClaims) {
		scope := token.ScopeTemplate(k)
		scope.Template.Pub.Allow = scope.Template.Pub.Allow[:3]
		c.SigningKeys.AddScopedSigner(&scope)
	})
	if token.CheckAuthKey(older, k) == nil {
		t.Error("an older template: got nil, want an error")
	}
	for what, account := range map[string]string{"missing": empty, "older": older, "as it is": added} {
		restored, changed, err := token.BringAccount(account, o.seed, token.Recorded{Keys: []token.Key{k}}, time.Now())
		if err != nil || token.CheckAuthKey(restored, k) != nil || changed != (what != "as it is") {
			t.Errorf("%s: got %v, %v, changed %v, want the key with its template", what, err, token.CheckAuthKey(restored, k), changed)
		}
	}
}

// What the log says of ended tokens and keys comes into the account, what expired goes, and nothing is signed where nothing changes.
func TestBringRevocations(t *testing.T) {
	o := newOperator(t)
	now := time.Now()
	gone := token.Key{ID: newIssuer(t).id, Name: "gone", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionRead}}
	stays := token.Key{ID: newIssuer(t).id, Name: "stays", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionRead}}
	user := func(n int) string { return fmt.Sprintf("U%055d", n) }
	at := func(r token.Recorded, account string, now time.Time) (string, *jwt.AccountClaims, bool) {
		t.Helper()
		text, changed, err := token.BringAccount(account, o.seed, r, now)
		if err != nil {
			t.Fatal(err)
		}
		c, err := jwt.DecodeAccountClaims(text)
		if err != nil {
			t.Fatal(err)
		}
		return text, c, changed
	}
	r := token.Recorded{Keys: []token.Key{gone, stays}, Revoked: []token.Revocation{{User: user(1), Expires: now.Add(time.Minute)}, {User: user(2), Expires: now.Add(-time.Minute)}}}
	account, c, changed := at(r, o.account(t), now)
	if !changed || len(c.Revocations) != 1 || c.Revocations[user(1)] != now.Add(time.Minute).Unix() || !c.SigningKeys.Contains(gone.ID) || !c.SigningKeys.Contains(stays.ID) {
		t.Errorf("got %v and %v, want the user that has not expired, and both keys", c.Revocations, c.SigningKeys)
	}
	if again, _, changed := at(r, account, now); changed || again != account {
		t.Error("got the account changed where it is as recorded")
	}
	r.Keys[0].Revoked = true
	if _, c, changed = at(r, account, now); !changed || c.SigningKeys.Contains(gone.ID) || !c.SigningKeys.Contains(stays.ID) {
		t.Errorf("got the keys %v, want the revoked one out", c.SigningKeys)
	}
	if _, c, changed = at(r, account, now.Add(2*time.Minute)); !changed || len(c.Revocations) != 0 {
		t.Errorf("got %v, want what expired gone", c.Revocations)
	}
	r.Revoked = nil
	for n := range token.MaxRevocations + 10 {
		r.Revoked = append(r.Revoked, token.Revocation{User: user(n + 10), Expires: now.Add(time.Hour)})
	}
	text, c, _ := at(r, account, now)
	if len(c.Revocations) != token.MaxRevocations || c.Revocations[user(19)] != 0 || c.Revocations[user(20)] == 0 || len(text) > 1<<19 {
		t.Errorf("got %d revocations in %d bytes, want the newest %d", len(c.Revocations), len(text), token.MaxRevocations)
	}
}
