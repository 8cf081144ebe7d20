package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// keys is a table of auth keys.
type keys map[string]token.Key

func (k keys) Ended(string) bool { return false }

func (k keys) Key(id string) (token.Key, bool) { key, ok := k[id]; return key, ok }

// issuer is an auth key with its seed.
type issuer struct {
	seed    []byte
	id      string
	account string
}

func newIssuer(t testing.TB) issuer {
	t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		t.Fatal(err)
	}
	return issuer{seed, id, account}
}

// wide may do everything.
func (i issuer) wide() keys {
	return keys{i.id: {ID: i.id, Name: "wide", Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionVerify, token.ActionArchive, token.ActionAdmin}}}
}

func (i issuer) mint(t testing.TB, change func(*token.Claims)) string {
	t.Helper()
	c := plain()
	if change != nil {
		change(&c)
	}
	text, _, err := token.Mint(i.seed, i.account, c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func plain() token.Claims {
	return token.Claims{IdentifierType: "org-group", IdentifierID: "A:?", Aggregates: []string{"patient"},
		Actions: []token.Action{token.ActionWrite, token.ActionRead}, Limit: 100, Expires: time.Now().Add(time.Hour)}
}

func isProblem(t *testing.T, err error, code problem.Code) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Code != code || p.Hint == "" {
		t.Errorf("got error %v, want a problem %s with a hint", err, code)
	}
}

func TestMintedTokenSaysWhatWasAsked(t *testing.T) {
	i := newIssuer(t)
	for name, c := range map[string]token.Claims{
		"plain":    plain(),
		"Unicode":  {IdentifierType: "Person", IdentifierID: "Dr. Müller (Ärztin)", Aggregates: []string{"patient", "ward"}, Actions: []token.Action{token.ActionRead}, Expires: time.Now().Add(time.Minute)},
		"all":      {IdentifierType: "svc", IdentifierID: "x", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite}, Limit: 1<<64 - 1, Expires: time.Now().Add(time.Minute)},
		"an audit": {IdentifierType: "auditor", IdentifierID: "y", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionVerify, token.ActionRead}, AggregateIDs: []event.AggregateID{{Type: "patient", ID: "A/b"}, {Type: "patient", ID: "ä*>"}}, NotBefore: time.Now().Add(-time.Hour), Expires: time.Now().Add(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			text, seed, err := token.Mint(i.seed, i.account, c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := token.Verify(text, time.Now(), i.wide())
			if err != nil {
				t.Fatal(err)
			}
			want := c
			if got.Inbox == "" || got.Inbox == got.User[1:] {
				t.Errorf("got inbox %q: want one that does not follow from the user's public key", got.Inbox)
			}
			want.ID, want.User, want.Inbox, want.IssuedAt, want.Issuer, want.Account = got.ID, publicOf(t, seed), got.Inbox, got.IssuedAt, i.id, i.account
			want.Expires = c.Expires.Truncate(time.Second).UTC()
			if !c.NotBefore.IsZero() {
				want.NotBefore = c.NotBefore.Truncate(time.Second).UTC()
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if len(got.ID) > event.MaxTokenIDLen || len(got.Issuer) > event.MaxTokenIDLen || time.Since(got.IssuedAt) > time.Minute {
				t.Errorf("got id %q, issuer %q, issued at %s, want ones that fit into a commit, and now", got.ID, got.Issuer, got.IssuedAt)
			}
		})
	}
}

func publicOf(t *testing.T, userSeed []byte) string {
	t.Helper()
	pair, err := nkeys.FromSeed(userSeed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestAllows(t *testing.T) {
	a, b := event.AggregateID{Type: "patient", ID: "A"}, event.AggregateID{Type: "patient", ID: "B"}
	for _, c := range []struct {
		claims token.Claims
		action token.Action
		id     event.AggregateID
		kind   bool
		one    bool
	}{
		{token.Claims{}, token.ActionRead, a, false, false},
		{token.Claims{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, a, true, true},
		{token.Claims{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}}, token.ActionVerify, a, true, true},
		{token.Claims{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionVerify}}, token.ActionRead, a, false, false},
		{token.Claims{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}}, token.ActionWrite, a, false, false},
		{token.Claims{Aggregates: []string{"ward"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, a, false, false},
		{token.Claims{Aggregates: []string{"*"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, a, true, true},
		{token.Claims{Aggregates: []string{"*"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, event.AggregateID{Type: "*", ID: "A"}, true, true},
		{token.Claims{Aggregates: []string{"*"}, Actions: []token.Action{token.ActionRead, token.ActionWrite}}, token.ActionWrite, event.AggregateID{Type: "eventful-key", ID: "A"}, false, false},
		{token.Claims{Aggregates: []string{"*"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, event.AggregateID{Type: "eventful-key", ID: "A"}, false, false},
		{token.Claims{Aggregates: []string{"eventful-key"}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, event.AggregateID{Type: "eventful-key", ID: "A"}, true, true},
		{token.Claims{Aggregates: []string{"patient"}, AggregateIDs: []event.AggregateID{a}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, a, true, true},
		{token.Claims{Aggregates: []string{"patient"}, AggregateIDs: []event.AggregateID{a}, Actions: []token.Action{token.ActionRead}}, token.ActionRead, b, true, false},
	} {
		if got := c.claims.Allows(c.action, c.id.Type); got != c.kind && c.id.Type != "*" {
			t.Errorf("%+v allows %s on %s: got %v, want %v", c.claims, c.action, c.id.Type, got, c.kind)
		}
		if got := c.claims.AllowsAggregate(c.action, c.id); got != c.one && c.id.Type != "*" {
			t.Errorf("%+v allows %s on %s: got %v, want %v", c.claims, c.action, c.id, got, c.one)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	i := newIssuer(t)
	for name, change := range map[string]func(*token.Claims){
		"no identifier type":    func(c *token.Claims) { c.IdentifierType = "" },
		"colon in the type":     func(c *token.Claims) { c.IdentifierType = "a:b" },
		"no identifier":         func(c *token.Claims) { c.IdentifierID = "" },
		"control character":     func(c *token.Claims) { c.IdentifierID = "a\nb" },
		"invalid UTF-8":         func(c *token.Claims) { c.IdentifierID = "\xff" },
		"long actor":            func(c *token.Claims) { c.IdentifierID = strings.Repeat("x", 256) },
		"no expiry":             func(c *token.Claims) { c.Expires = time.Time{} },
		"no types":              func(c *token.Claims) { c.Aggregates = nil },
		"no actions":            func(c *token.Claims) { c.Actions = nil },
		"wildcard type":         func(c *token.Claims) { c.Aggregates = []string{">"} },
		"type with a dot":       func(c *token.Claims) { c.Aggregates = []string{"a.b"} },
		"all and one":           func(c *token.Claims) { c.Aggregates = []string{"*", "patient"} },
		"type twice":            func(c *token.Claims) { c.Aggregates = []string{"patient", "patient"} },
		"action twice":          func(c *token.Claims) { c.Actions = []token.Action{token.ActionRead, token.ActionRead} },
		"unknown action":        func(c *token.Claims) { c.Actions = []token.Action{"fly"} },
		"reserved write":        func(c *token.Claims) { c.Aggregates = []string{"eventful-key"} },
		"admin":                 func(c *token.Claims) { c.Actions = []token.Action{token.ActionAdmin} },
		"the operator":          func(c *token.Claims) { c.IdentifierType = "operator" },
		"EventfulDB itself":     func(c *token.Claims) { c.IdentifierType = "eventful-writer" },
		"auth-key as a person":  func(c *token.Claims) { c.IdentifierType = token.AuthKeyType },
		"aggregate not allowed": func(c *token.Claims) { c.AggregateIDs = []event.AggregateID{{Type: "ward", ID: "A"}} },
		"bad aggregate":         func(c *token.Claims) { c.AggregateIDs = []event.AggregateID{{Type: "patient"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := plain()
			change(&c)
			_, _, err := token.Mint(i.seed, i.account, c)
			isProblem(t, err, problem.Malformed)
		})
	}
	_, _, err := token.Mint(i.seed, "AXX", plain())
	isProblem(t, err, problem.Malformed)
	for _, seed := range []string{"", "SAXX", i.id, string(userSeed(t))} {
		_, _, err := token.Mint([]byte(seed), i.account, plain())
		isProblem(t, err, problem.Unauthenticated)
		if seed != "" && strings.Contains(err.Error(), seed) {
			t.Error("got the seed in the error, want it left out")
		}
	}
	big := plain()
	for n := range 1000 {
		big.AggregateIDs = append(big.AggregateIDs, event.AggregateID{Type: "patient", ID: strings.Repeat("x", 60) + string(rune('a'+n%26)) + string(rune('A'+n/26))})
	}
	_, _, err = token.Mint(i.seed, i.account, big)
	isProblem(t, err, problem.TooLarge)
}

func userSeed(t *testing.T) []byte {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func TestTokenIsShortAndScoped(t *testing.T) {
	text := newIssuer(t).mint(t, nil)
	if len(text) > 1200 {
		t.Errorf("got a token of %d bytes, want at most 1200", len(text))
	}
	claims, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	if !claims.HasEmptyPermissions() {
		t.Error("got permissions in the token, want none: the server refuses those under a scoped key")
	}
}
