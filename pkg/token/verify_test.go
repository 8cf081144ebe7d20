package token_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// forge signs claims by hand, whatever they are; alg none and HS256 have no signature of the key.
func forge(t *testing.T, seed []byte, header string, change func(claims, nats map[string]any), base string) string {
	t.Helper()
	parts := strings.Split(base, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	change(claims, claims["nats"].(map[string]any))
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64(payload)
	if seed == nil {
		return text + "."
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := pair.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

// unused gives the character that differs in the bits that the last character of a signature of 64 bytes does not use.
func unused(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)^1])
}

const goodHeader = `{"typ":"JWT","alg":"ed25519-nkey"}`

func TestVerifyRefusesForgeries(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	base := i.mint(t, nil)
	same := func(_, _ map[string]any) {}
	tag := func(change func([]any) []any) func(_, nats map[string]any) {
		return func(_, nats map[string]any) { nats["tags"] = change(nats["tags"].([]any)) }
	}
	add := func(extra ...any) func(_, _ map[string]any) {
		return tag(func(tags []any) []any { return append(tags, extra...) })
	}
	forged := func(change func(_, _ map[string]any)) string { return forge(t, i.seed, goodHeader, change, base) }
	for name, text := range map[string]string{
		"empty":               "",
		"no JWT":              "abc",
		"two parts":           base[:strings.LastIndex(base, ".")],
		"cut":                 base[:len(base)-4],
		"too large":           base + strings.Repeat("A", token.MaxSize),
		"alg none":            forge(t, nil, `{"typ":"JWT","alg":"none"}`, same, base),
		"HS256":               forge(t, i.seed, `{"typ":"JWT","alg":"HS256"}`, same, base),
		"older alg":           forge(t, i.seed, `{"typ":"JWT","alg":"ed25519"}`, same, base),
		"alg in capitals":     forge(t, i.seed, `{"typ":"JWT","alg":"ED25519-NKEY"}`, same, base),
		"typ in small":        forge(t, i.seed, `{"typ":"jwt","alg":"ed25519-nkey"}`, same, base),
		"critical extension":  forge(t, i.seed, `{"typ":"JWT","alg":"ed25519-nkey","crit":["x"]}`, same, base),
		"member twice":        forge(t, i.seed, `{"typ":"JWT","alg":"ed25519-nkey","alg":"ed25519-nkey"}`, same, base),
		"member in capitals":  forge(t, i.seed, `{"Typ":"JWT","alg":"ed25519-nkey"}`, same, base),
		"no typ":              forge(t, i.seed, `{"alg":"ed25519-nkey"}`, same, base),
		"two headers":         forge(t, i.seed, goodHeader+goodHeader, same, base),
		"header is no object": forge(t, i.seed, `["typ","JWT"]`, same, base),
		"header is cut":       forge(t, i.seed, `{"typ":"JWT","alg":"ed25519-nkey"`, same, base),
		"unused bits":         base[:len(base)-1] + unused(base[len(base)-1]),
		"padding":             base + "==",
		"line end":            base + "\n",
		"line end in a part":  base[:10] + "\r\n" + base[10:],
		"unknown issuer":      other.mint(t, nil),
		"another's signature": forge(t, other.seed, goodHeader, same, base),
		"changed":             base[:40] + "x" + base[41:],
		"version 1":           forged(func(_, nats map[string]any) { nats["version"] = 1 }),
		"newer version":       forged(func(_, nats map[string]any) { nats["version"] = 3 }),
		"account token":       forged(func(_, nats map[string]any) { nats["type"] = "account" }),
		"operator token":      forged(func(_, nats map[string]any) { nats["type"] = "operator" }),
		"unknown type":        forged(func(_, nats map[string]any) { nats["type"] = "x" }),
		"subject is no user":  forged(func(claims, _ map[string]any) { claims["sub"] = "*" }),
		"another user":        forged(func(claims, _ map[string]any) { claims["sub"] = publicOf(t, userSeed(t)) }),
		"another id":          forged(func(claims, _ map[string]any) { claims["jti"] = strings.Repeat("A", 52) }),
		"no id":               forged(func(claims, _ map[string]any) { delete(claims, "jti") }),
		"no expiry":           forged(func(claims, _ map[string]any) { delete(claims, "exp") }),
		"no account":          forged(func(_, nats map[string]any) { delete(nats, "issuer_account") }),
		"own permissions":     forged(func(_, nats map[string]any) { nats["pub"] = map[string]any{"allow": []string{">"}} }),
		"no tags":             forged(tag(func([]any) []any { return nil })),
		"newer format":        forged(tag(func(tags []any) []any { return append([]any{"eventful:2"}, tags[1:]...) })),
		"two formats":         forged(add("eventful:2")),
		"foreign tag":         forged(add("hello")),
		"right without gate":  forged(add("verify:patient", "query:verify")),
		"half a product":      forged(add("write:ward")),
		"admin":               forged(add("admin:patient", "adm:*")),
		"gate alone":          forged(add("adm:*")),
		"tag twice":           forged(add("write:patient")),
		"two budgets":         forged(add("limit:ge4q")),
		"bad base32":          forged(add("only:!")),
		"bad aggregate":       forged(add("only:me")),
		"wildcard":            forged(add("write:>", "read:>")),
		"another inbox":       forged(tag(func(tags []any) []any { return append(tags[:len(tags)-1], "inbox:*") })),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := token.Verify(text, time.Now(), i.wide())
			isProblem(t, err, problem.Unauthenticated)
			_, err = token.NewCache(i.wide(), 10).Verify(text, time.Now())
			isProblem(t, err, problem.Unauthenticated)
		})
	}
	if _, err := token.Verify(forged(same), time.Now(), i.wide()); err != nil {
		t.Errorf("got %v for a token forged without a change, want it to pass", err)
	}
	if _, err := token.Verify(forge(t, i.seed, `{ "alg": "ed25519-nkey", "typ": "JWT" }`, same, base), time.Now(), i.wide()); err != nil {
		t.Errorf("got %v for a header in another order, want it to pass", err)
	}
}

func TestVerifyTimes(t *testing.T) {
	i := newIssuer(t)
	now := time.Now()
	text := i.mint(t, func(c *token.Claims) { c.NotBefore, c.Expires = now.Add(10*time.Minute), now.Add(time.Hour) })
	cache := token.NewCache(i.wide(), 10)
	for _, c := range []struct {
		at time.Duration
		ok bool
	}{{-time.Hour, false}, {0, false}, {9 * time.Minute, false}, {11 * time.Minute, true}, {59 * time.Minute, true}, {time.Hour, false}, {24 * time.Hour, false}, {11 * time.Minute, true}} {
		for which, verify := range map[string]func() error{
			"Verify": func() error { _, err := token.Verify(text, now.Add(c.at), i.wide()); return err },
			"Cache":  func() error { _, err := cache.Verify(text, now.Add(c.at)); return err },
		} {
			err := verify()
			if c.ok && err != nil {
				t.Errorf("%s after %s: got %v, want it to pass", which, c.at, err)
			}
			if !c.ok {
				isProblem(t, err, problem.Unauthenticated)
			}
		}
	}
	future := i.mint(t, nil)
	_, err := token.Verify(future, now.Add(-2*token.MaxClockSkew), i.wide())
	isProblem(t, err, problem.Unauthenticated)
}

func TestVerifyHoldsTokensWithinTheirKey(t *testing.T) {
	i := newIssuer(t)
	text := i.mint(t, nil) // write and read on patient, 100 events, an hour
	fits := token.Key{ID: i.id, Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite, token.ActionRead},
		MaxLimit: 100, MaxExpiration: time.Hour + time.Second}
	if _, err := token.Verify(text, time.Now(), keys{i.id: fits}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*token.Key)
		code   problem.Code
	}{
		"type":     {func(k *token.Key) { k.Aggregates = []string{"ward"} }, problem.Forbidden},
		"action":   {func(k *token.Key) { k.Actions = k.Actions[:1] }, problem.Forbidden},
		"budget":   {func(k *token.Key) { k.MaxLimit = 99 }, problem.Forbidden},
		"lifetime": {func(k *token.Key) { k.MaxExpiration = time.Minute }, problem.Forbidden},
		"revoked":  {func(k *token.Key) { k.Revoked = true }, problem.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			key := fits
			c.change(&key)
			_, err := token.Verify(text, time.Now(), keys{i.id: key})
			isProblem(t, err, c.code)
		})
	}
	all := i.mint(t, func(c *token.Claims) { c.Aggregates = []string{token.All} })
	_, err := token.Verify(all, time.Now(), keys{i.id: fits})
	isProblem(t, err, problem.Forbidden)
	reserved := i.mint(t, func(c *token.Claims) {
		c.Aggregates, c.Actions = []string{"eventful-key"}, []token.Action{token.ActionRead}
	})
	_, err = token.Verify(reserved, time.Now(), i.wide())
	isProblem(t, err, problem.Forbidden)
}

func TestAdminToken(t *testing.T) {
	i := newIssuer(t)
	text, _, err := token.MintAdmin(i.seed, i.account, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := token.Key{ID: i.id, Aggregates: []string{"patient", "ward"}, Actions: []token.Action{token.ActionRead, token.ActionAdmin}}
	c, err := token.Verify(text, time.Now(), keys{i.id: key})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Actor(), "auth-key:"+i.id; got != want {
		t.Errorf("got actor %q, want %q", got, want)
	}
	if !c.Allows(token.ActionAdmin, "ward") || c.Allows(token.ActionAdmin, "bed") || c.Allows(token.ActionRead, "ward") || c.Limit != 0 {
		t.Errorf("got %+v, want admin on the key's types and nothing else", c)
	}
	_, err = token.Verify(text, time.Now().Add(token.MaxAuthKey+time.Second), keys{i.id: key})
	isProblem(t, err, problem.Unauthenticated)
	key.Actions = key.Actions[:1]
	_, err = token.Verify(text, time.Now(), keys{i.id: key})
	isProblem(t, err, problem.Forbidden)

	long, _, err := token.Mint(i.seed, i.account, token.Claims{IdentifierType: token.AuthKeyType, IdentifierID: i.id, Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionAdmin}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = token.Verify(long, time.Now(), i.wide())
	isProblem(t, err, problem.Unauthenticated)
}

// TestActorsOfEventfulDBAreNotTaken: no token names an actor that looks like the operator, a server's user or an engine.
func TestActorsOfEventfulDBAreNotTaken(t *testing.T) {
	for kind, reserved := range map[string]bool{
		"operator": true, "Operator": true, "nats-user": true, "NATS-USER": true, "keys": true, "eventful": true, "eventful-writer": true, "Eventful.x": true, "Auth-Key": true,
		"user": false, "operators": false, "key": false, "auth-key": false, "an-eventful": false,
	} {
		if got := token.IsReservedKind(kind); got != reserved {
			t.Errorf("%s: got %v, want %v", kind, got, reserved)
		}
	}
}
