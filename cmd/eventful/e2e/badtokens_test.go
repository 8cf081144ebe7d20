package e2e_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// badTokens are no tokens of the site, or not any more.
func (s *site) badTokens() map[string]string {
	s.t.Helper()
	_, stranger, err := token.NewAuthKey()
	if err != nil {
		s.t.Fatal(err)
	}
	elsewhere, _, err := token.NewAuthKey() // an account is the same kind of key
	if err != nil {
		s.t.Fatal(err)
	}
	parts := strings.Split(s.token, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	none := b64([]byte(`{"typ":"JWT","alg":"none"}`))
	key := strings.Replace(parts[2], parts[2][:4], "AAAA", 1)
	return map[string]string{
		"expired":              s.mint(token.Claims{Expires: time.Now().Add(-time.Minute)}),
		"not yet valid":        s.mint(token.Claims{NotBefore: time.Now().Add(30 * time.Minute)}),
		"unknown issuer":       mintWith(s.t, string(stranger), s.account, token.Claims{}),
		"of another database":  mintWith(s.t, string(stranger), elsewhere, token.Claims{}),
		"alg none":             none + "." + parts[1] + ".",
		"alg none with a sign": none + "." + parts[1] + "." + parts[2],
		"another signature":    parts[0] + "." + parts[1] + "." + key,
		"cut":                  s.token[:len(s.token)-10],
		"no token":             "x",
		"three dots":           "...",
		"too long":             s.token + strings.Repeat("A", 17<<10),
	}
}

func TestBadTokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	const write, read = "cmd.patient.A.registered", "qry.patient.A.get"
	table := []badRequest{
		{name: "none", subject: write, token: "-", want: problem.Unauthenticated},
		{name: "none, to read", subject: read, token: "-", want: problem.Unauthenticated},
		{name: "empty", subject: write, token: "-", headers: []header{{"Eventful-Token", ""}}, want: problem.Unauthenticated},
		{name: "of another type", subject: write, token: g.mint(token.Claims{Aggregates: []string{"ward"}, Limit: 9}), want: problem.Forbidden},
		{name: "of another type, to read", subject: read, token: g.mint(token.Claims{Aggregates: []string{"ward"}}), want: problem.Forbidden},
		{name: "of another aggregate", subject: write, token: g.mint(token.Claims{AggregateIDs: []event.AggregateID{{Type: "patient", ID: "B"}}, Limit: 9}), want: problem.Forbidden},
		{name: "for reading", subject: write, token: g.mint(token.Claims{Actions: []token.Action{token.ActionRead}}), want: problem.Forbidden},
		{name: "for verifying, to read", subject: read, token: g.mint(token.Claims{Actions: []token.Action{token.ActionVerify}}), want: problem.Forbidden},
		{name: "without a budget", subject: write, token: g.mint(token.Claims{}), want: problem.BudgetSpent},
	}
	for name, bad := range g.badTokens() {
		table = append(table, badRequest{name: name, subject: write, token: bad, want: problem.Unauthenticated},
			badRequest{name: name + ", to read", subject: read, token: bad, want: problem.Unauthenticated})
	}
	g.all(t, table)
	for name, bad := range g.badTokens() {
		t.Run("connect/"+name, func(t *testing.T) {
			if name == "too long" {
				bad = strings.Repeat("A", 25<<10) // longer than the server's longest line
			}
			if _, f := tryDial(t, g.info().NATS, bad); f.op != "-ERR" && f.op != "closed" {
				t.Errorf("got %s %s, want no connection", f.op, f.text)
			}
			g.unchanged(t)
		})
	}
	t.Run("connect with a token of another type", func(t *testing.T) {
		ward := g.mint(token.Claims{Aggregates: []string{"ward"}, Limit: 9})
		k := dialSocket(t, g.info().NATS, ward)
		for _, subject := range []string{write, "cmd.patient", read, "qry.patient.list"} {
			reply := k.request(subject, []header{{"Eventful-Token", g.token}}, "{}")
			checkFrame(t, k.next(), reply, violation)
		}
		g.unchanged(t)
	})
	t.Run("listen to others", func(t *testing.T) {
		k := dialSocket(t, g.info().NATS, g.mint(token.Claims{}))
		for _, subject := range []string{">", "_INBOX.>", inboxOf(g.token) + ".>", "cmd.>", "evt.>", "$SYS.>"} {
			k.write("SUB %s 9\r\n", subject)
			if f := k.next(); f.op != "-ERR" || !strings.Contains(f.text, "Permissions Violation for Subscription") {
				t.Errorf("SUB %s: got %s %s, want a permissions violation", subject, f.op, f.text)
			}
		}
	})
}

// resigned is a token with another header, its payload changed, and signed anew by sign; nil: as it was.
func resigned(t *testing.T, text, header string, change func(claims map[string]any), sign func(text []byte) ([]byte, error)) string {
	t.Helper()
	parts := strings.Split(text, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	change(claims)
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text = b64([]byte(header)) + "." + b64(payload)
	if sign == nil {
		return text + "." + parts[2]
	}
	signature, err := sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

// TestForgedTokens sends what attackers of JWTs try: each request is refused, and nothing is stored.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	pair, err := nkeys.FromSeed([]byte(g.authKey))
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	const header = `{"typ":"JWT","alg":"ed25519-nkey"}`
	same := func(map[string]any) {}
	hmacked := func(text []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, []byte(public))
		mac.Write(text)
		return mac.Sum(nil), nil
	}
	with := func(member string) string { return strings.TrimSuffix(header, "}") + "," + member + "}" }
	reader := g.mint(token.Claims{Actions: []token.Action{token.ActionRead}, IdentifierType: "user", IdentifierID: "reader"})
	more := func(claims map[string]any) {
		nats := claims["nats"].(map[string]any)
		nats["tags"] = append(nats["tags"].([]any), "write:*", "import:*")
	}
	var table []badRequest
	for name, bad := range map[string]string{
		"HS256 with the public key":      resigned(t, g.token, `{"typ":"JWT","alg":"HS256"}`, same, hmacked),
		"our alg, HS256 signature":       resigned(t, g.token, header, same, hmacked),
		"HS256, our signature":           resigned(t, g.token, `{"typ":"JWT","alg":"HS256"}`, same, pair.Sign),
		"jwk":                            resigned(t, g.token, with(`"jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), same, pair.Sign),
		"jku":                            resigned(t, g.token, with(`"jku":"https://127.0.0.1/keys"`), same, pair.Sign),
		"kid":                            resigned(t, g.token, with(`"kid":"../../dev/null"`), same, pair.Sign),
		"crit":                           resigned(t, g.token, with(`"crit":["exp"]`), same, pair.Sign),
		"reader claims to write":         resigned(t, reader, header, more, nil),
		"reader claims, another signing": resigned(t, reader, header, more, func([]byte) ([]byte, error) { return make([]byte, 64), nil }),
		"expiry moved":                   resigned(t, g.token, header, func(c map[string]any) { c["exp"] = 4_000_000_000 }, nil),
		"issuer of another site":         resigned(t, g.token, header, func(c map[string]any) { c["iss"] = g.account }, nil),
	} {
		table = append(table, badRequest{name: name, subject: "cmd.patient.A.registered", token: bad, want: problem.Unauthenticated},
			badRequest{name: name + ", to read", subject: "qry.patient.A.get", token: bad, want: problem.Unauthenticated})
		t.Run("connect/"+name, func(t *testing.T) {
			k, f := tryDial(t, g.info().NATS, bad)
			if !slices.Contains([]string{"jwk", "jku", "kid", "crit"}, name) {
				if f.op != "-ERR" && f.op != "closed" {
					t.Errorf("got %s %s, want no connection", f.op, f.text)
				}
				return
			}
			if f.op != "PONG" { // nats-server looks at no such member: who signed it holds the auth key
				t.Fatalf("got %s %s, want a connection that reaches nothing", f.op, f.text)
			}
			k.readsNothing(t, bad)
		})
	}
	auditor := g.mint(token.Claims{Actions: []token.Action{token.ActionRead, token.ActionVerify}, Aggregates: []string{"patient"},
		AggregateIDs: []event.AggregateID{{Type: "patient", ID: "A"}}, IdentifierType: "auditor", IdentifierID: "of-A"})
	for name, asks := range map[string]struct {
		subject string
		want    problem.Code
	}{
		"B": {"qry.patient.B.get", problem.Forbidden}, "B's history": {"qry.patient.B.history", problem.Forbidden}, "B's proof": {"qry.patient.B.verify", problem.Forbidden},
		"star": {"qry.patient.*.get", problem.Malformed}, "an escaped star": {"qry.patient.=2A.get", problem.Forbidden}, "star in per cent": {"qry.patient.%2a.get", problem.Malformed},
		"another type": {"qry.ward.A.get", problem.Forbidden}, "auth keys": {"qry.eventful-key." + public + ".get", problem.Forbidden},
		"to write": {"cmd.patient.A.registered", problem.Forbidden},
	} {
		table = append(table, badRequest{name: "auditor of A asks for " + name, subject: asks.subject, token: auditor, want: asks.want})
	}
	table = append(table, badRequest{name: "1 MB", subject: "cmd.patient.A.registered", token: g.token + strings.Repeat("A", 1<<20-4096), want: problem.TooLarge})
	g.all(t, table)
}

// readsNothing holds that a connection is refused what it asks with that token.
func (k *socket) readsNothing(t *testing.T, text string) {
	t.Helper()
	k.inbox += ".apart" // another connection has the same user
	k.write("SUB %s.* 1\r\n", k.inbox)
	reply := k.request("qry.patient.A.get", []header{{"Eventful-Token", text}}, "")
	checkFrame(t, k.next(), reply, problem.Unauthenticated)
}

// TestRevokedKeysToken: the token of an auth key that was revoked, and of one that got less rights, on every door.
func TestRevokedKeysToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var second struct {
		AuthKey string `json:"auth-key"`
		ID      string `json:"id"`
	}
	s.ask(&second, "token:generate", "--auth-key", "--name=second", "EVENTFUL_MASTER_KEY="+masterKey)
	text := mintWith(t, second.AuthKey, s.account, token.Claims{Limit: 10})
	k := dialSocket(t, s.info().NATS, s.token)
	doors := map[string]string{"cmd.patient.A.registered": "", "cmd.patient": `{"commits":[{"type":"patient","id":"B","events":[{"event":"registered"}]}]}`,
		"qry.patient.list": "", "adm.staged.list": "", "adm.inbox.status": "", "adm.schema.list": ""}
	for subject, body := range doors {
		k.request(subject, []header{{"Eventful-Token", text}}, body)
		if f := k.next(); f.header.Get("Nats-Service-Error-Code") != "" {
			t.Errorf("%s before: got %.300s, want an answer", subject, f.body)
		}
	}
	s.must("token:update", second.ID, "--actions=verify,admin", "EVENTFUL_MASTER_KEY="+masterKey)
	reply := k.request("cmd.patient.A.registered", []header{{"Eventful-Token", text}}, "")
	checkFrame(t, k.next(), reply, problem.Forbidden)
	s.must("token:revoke", "--auth-key="+second.ID)
	for subject, body := range doors {
		reply := k.request(subject, []header{{"Eventful-Token", text}}, body)
		checkFrame(t, k.next(), reply, problem.Unauthenticated)
	}
	// The inbox takes whatever comes; what is decided there is refused as well, and the refusal kept.
	k.request("inbox.cmd.patient.A.registered", []header{{"Eventful-Token", text}}, "")
	if f := k.next(); !strings.Contains(string(f.body), `"stream":"CMD_INBOX"`) {
		t.Errorf("the inbox: got %.300s, want the server's acknowledgement", f.body)
	}
	c := s.adminClient()
	s.inboxIsEmpty(c)
	if all := s.refusedCommands(c); len(all) != 1 || all[0].Problem.Code != problem.Unauthenticated {
		t.Errorf("got %+v refused, want the one command, as unauthenticated", all)
	}
}

// TestSpentBudget: exact to the unit, also behind a kill; refusals, dry runs and repeats cost nothing.
func TestSpentBudget(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.client()
	short := s.mint(token.Claims{IdentifierType: "user", IdentifierID: "short", Limit: 5})
	a := event.AggregateID{Type: "patient", ID: "A"}
	write := func(x client.Context, fields client.Fields) error {
		x.Token = short
		_, err := c.Command(context.Background(), client.Command{Aggregate: a, Event: "crp", Fields: fields, Context: x})
		return err
	}
	for range 3 {
		if err := write(client.Context{CommandID: "same"}, client.Fields{"crp": 1}); err != nil {
			t.Fatal(err)
		}
		if err := write(client.Context{DryRun: true}, client.Fields{"crp": 1}); err != nil {
			t.Fatal(err)
		}
		if err := write(client.Context{}, client.Fields{"crp": "x"}); problem.From(err).Code != problem.Invalid {
			t.Fatalf("got %v, want code invalid", err)
		}
	}
	for range 2 {
		if err := write(client.Context{}, client.Fields{"crp": 2}); err != nil {
			t.Fatal(err)
		}
	}
	s.again(s.kill())
	for range 2 {
		if err := write(client.Context{}, client.Fields{"crp": 3}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := write(client.Context{}, client.Fields{"crp": 4}); problem.From(err).Code != problem.BudgetSpent {
			t.Errorf("got %v, want code budget_spent", err)
		}
	}
	k := dialSocket(t, s.info().NATS, s.token)
	reply := k.request("cmd.patient", []header{{"Eventful-Token", short}}, `{"commits":[{"type":"patient","id":"B","events":[{"event":"registered"}]}]}`)
	checkFrame(t, k.next(), reply, problem.BudgetSpent)
	if err := write(client.Context{CommandID: "same"}, client.Fields{"crp": 1}); err != nil {
		t.Errorf("repeat with a spent token: %v", err)
	}
	state, err := c.Get(context.Background(), a, client.Latest())
	if err != nil || state.Version != 5 {
		t.Errorf("got %+v (%v), want version 5", state, err)
	}
	s.refused(5, "may store 0 more events of its 5", "event:add", "patient/crp", "--id=A", "--crp=1", "EVENTFUL_TOKEN="+short)
}
