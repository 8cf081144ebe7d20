package natsapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// minted is an auth key of the office, added with its seed, and what it signs.
type minted struct {
	o    *office
	key  token.Key
	seed []byte
}

func (o *office) issuer() minted {
	o.t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		o.t.Fatal(err)
	}
	m := minted{o: o, seed: seed, key: token.Key{ID: id, Name: "all", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionAdmin}}}
	if p := o.add(m.key); p != nil {
		o.t.Fatal(p)
	}
	return m
}

func (m minted) admin() string {
	m.o.t.Helper()
	text, _, err := token.MintAdmin(m.seed, m.key.ID, time.Now())
	if err != nil {
		m.o.t.Fatal(err)
	}
	return text
}

func (m minted) token() (text string, c *token.Claims) {
	m.o.t.Helper()
	text, _, err := token.Mint(m.seed, m.key.ID, token.Claims{IdentifierType: "user", IdentifierID: "ada", Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite}, Limit: 5, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		m.o.t.Fatal(err)
	}
	if c, err = token.Shown(text, m.o.w); err != nil {
		m.o.t.Fatal(err)
	}
	return text, c
}

// revokes reports whether the account revokes a user.
func (a *accounts) revokes(t *testing.T, user string) bool {
	t.Helper()
	text, _ := a.get(t.Context())
	c, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	return c.Revocations[user] > time.Now().Unix()
}

// A revocation is recorded first, then the server takes the account. Whichever fails, with or without effect: a token is refused as soon as it is recorded, and doing it
// again does what was left undone.
func TestARevocationFailsEachWay(t *testing.T) {
	refused := errors.New("the server says no")
	for _, test := range []struct {
		name            string
		fault           eventlog.Fault // of the record
		before, after   error          // of the account
		known, in, told bool
	}{
		{name: "the record is not stored", fault: eventlog.LoseBefore},
		{name: "the record is stored, its answer lost", fault: eventlog.LoseAfter, known: true, in: true, told: true},
		{name: "the account is not changed", before: refused, known: true},
		{name: "the account is changed, its answer lost", after: refused, known: true, in: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			m := o.issuer()
			text, c := m.token()
			o.token = m.admin()
			o.failRecord(test.fault)
			o.accounts.fails(test.before, test.after)
			body := fmt.Sprintf(`{"token":%q}`, text)
			if _, p := o.ask("adm.token.revoke", body, nil); test.told && p != nil || !test.told && (p == nil || p.Code != problem.Unavailable) {
				t.Errorf("got %v, want success %v, else unavailable", p, test.told)
			}
			if got := o.w.Ended(c.ID); got != test.known {
				t.Errorf("got the token ended %v, want %v", got, test.known)
			}
			if got := o.accounts.revokes(t, c.User); got != test.in {
				t.Errorf("got the user revoked in the account %v, want %v", got, test.in)
			}
			o.memory.SetFault(nil)
			o.accounts.fails(nil, nil)
			answer, p := o.ask("adm.token.revoke", body, nil)
			for deadline := time.Now().Add(10 * time.Second); p != nil && p.Code == problem.Unavailable && time.Now().Before(deadline); {
				answer, p = o.ask("adm.token.revoke", body, nil) // the log is being recovered
			}
			if p != nil || !strings.Contains(answer, fmt.Sprintf(`"repeated":%v`, test.known)) || !o.w.Ended(c.ID) || !o.accounts.revokes(t, c.User) {
				t.Errorf("once more: got %s, %v, want it revoked in log and account", answer, p)
			}
			o.refused("cmd.patient.A.crp", "{}", map[string][]string{"Eventful-Token": {text}}, problem.Unauthenticated, "revoked")
		})
	}
}

// Orders of the operator: only the master key's signature, only for the act and thing that they name, once for an update, and for a minute.
func TestOrders(t *testing.T) {
	o := newOffice(t)
	m := o.issuer()
	_, c := m.token()
	account := o.accountID
	sign := func(order token.Order, seed []byte, account string, at time.Time) string {
		text, err := order.Sign(seed, account, at)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	end := token.Order{Act: token.OrderRevokeKey, ID: m.key.ID}
	_, stranger, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(subject, id, order string) *problem.Problem {
		body, _ := json.Marshal(map[string]string{"id": id, "order": order})
		_, p := o.ask(subject, string(body), nil)
		return p
	}
	for name, bad := range map[string]string{
		"of an auth key":    sign(end, stranger, account, time.Now()),
		"for another site":  sign(end, o.operator, m.key.ID, time.Now()),
		"too old":           sign(end, o.operator, account, time.Now().Add(-time.Hour)),
		"for long":          sign(end, o.operator, account, time.Now().Add(time.Hour)),
		"of another key":    sign(token.Order{Act: token.OrderRevokeKey, ID: account}, o.operator, account, time.Now()),
		"of another act":    sign(token.Order{Act: token.OrderRevokeToken, ID: m.key.ID}, o.operator, account, time.Now()),
		"the account's JWT": o.accounts.present,
		"a token":           o.token,
		"junk":              "a.b.c",
	} {
		if p := ask("adm.key.revoke", m.key.ID, bad); p == nil || p.Code != problem.Unauthenticated && p.Code != problem.Forbidden || p.Hint == "" {
			t.Errorf("%s: got %v, want it refused", name, p)
		}
	}
	if k, _ := o.w.Key(m.key.ID); k.Revoked {
		t.Fatal("got the auth key revoked")
	}
	changed := m.key
	changed.MaxLimit = 3
	update := sign(token.Order{Act: token.OrderUpdateKey, ID: m.key.ID, Version: 1, Key: &changed}, o.operator, account, time.Now())
	back := sign(token.Order{Act: token.OrderUpdateKey, ID: m.key.ID, Version: 2, Key: &m.key}, o.operator, account, time.Now())
	for i, step := range []struct {
		order string
		want  problem.Code
	}{{back, ""}, {update, ""}, {update, ""}, {back, ""}, {update, problem.Conflict}} { // what changes nothing is no conflict
		if p := ask("adm.key.update", m.key.ID, step.order); step.want == "" && p != nil || step.want != "" && (p == nil || p.Code != step.want) {
			t.Errorf("update %d: got %v, want %q", i+1, p, step.want)
		}
	}
	if p := ask("adm.key.update", m.key.ID, ""); p == nil || p.Code != problem.Unauthenticated {
		t.Errorf("an update without an order: got %v", p)
	}
	if p := ask("adm.token.revoke", c.ID, sign(token.Order{Act: token.OrderRevokeToken, ID: c.ID}, o.operator, account, time.Now())); p == nil || p.Code != problem.NotFound {
		t.Errorf("a token that was never recorded, by its id: got %v, want not_found", p)
	}
	if p := ask("adm.key.revoke", m.key.ID, sign(end, o.operator, account, time.Now())); p != nil {
		t.Errorf("got %v, want the auth key revoked", p)
	}
	if k, _ := o.w.Key(m.key.ID); !k.Revoked || o.accounts.holds(t, m.key.ID) {
		t.Error("got the auth key in force, want it revoked and out of the account")
	}
}

// A process with a projector alone refuses a token that was revoked, or whose auth key was, once its index has the record.
func TestAProjectorAloneRefusesWhatWasEnded(t *testing.T) {
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	store := eventlog.NewMemory()
	log := func(name string) *verifytest.Builder {
		l, err := store.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return verifytest.New(t, l)
	}
	commit := func(kind, id, what string, values map[string]string) verifytest.Commit {
		e := verifytest.Event{Type: what}
		for _, name := range []string{"actions", "aggregates", "ended", "expires", "issuer", "maxexpiration", "maxlimit", "name"} {
			if values[name] != "" {
				e.Fields = append(e.Fields, event.Field{Name: name, Value: values[name], Set: true})
			}
		}
		return verifytest.Commit{Aggregate: verifytest.Aggregate(kind, id), Events: []verifytest.Event{e}}
	}
	system := log(event.Reserved)
	system.Block(commit("eventful-key", id, "key-added", token.Key{ID: id, Name: "reading", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionRead}}.Fields()))
	log("patient").Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Events: []verifytest.Event{{Type: "crp"}}})
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	c := open(t, natsapi.Config{Projector: p, Store: store})
	mint := func() string {
		text, _, err := token.Mint(seed, id, token.Claims{IdentifierType: "user", IdentifierID: "ada", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	reads := func(text string) *problem.Problem {
		_, p := c.ask("qry.patient.A.get", "", map[string][]string{"Eventful-Token": {text}})
		return p
	}
	indexed := func() {
		t.Helper()
		if err := p.WaitForLatest(t.Context(), event.Reserved); err != nil {
			t.Fatal(err)
		}
	}
	first, second := mint(), mint()
	for range 2 {
		if p := errors.Join(asError(reads(first)), asError(reads(second))); p != nil {
			t.Fatal(p)
		}
	}
	claims, err := jwt.DecodeUserClaims(first)
	if err != nil {
		t.Fatal(err)
	}
	system.Block(commit("eventful-token", claims.ID, "token-revoked", map[string]string{"ended": "revoked", "issuer": id, "expires": fmt.Sprint(claims.Expires)}))
	indexed()
	if p := reads(first); p == nil || p.Code != problem.Unauthenticated {
		t.Errorf("a revoked token: got %v, want unauthenticated", p)
	}
	if p := reads(second); p != nil {
		t.Errorf("another token: got %v", p)
	}
	system.Block(commit("eventful-key", id, "key-revoked", map[string]string{"ended": "revoked"}))
	indexed()
	if p := reads(second); p == nil || p.Code != problem.Unauthenticated {
		t.Errorf("a token of a revoked auth key: got %v, want unauthenticated", p)
	}
}

func asError(p *problem.Problem) error {
	if p == nil {
		return nil
	}
	return p
}
