package e2e_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

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
	parts := strings.Split(s.token, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	none := b64([]byte(`{"typ":"JWT","alg":"none"}`))
	key := strings.Replace(parts[2], parts[2][:4], "AAAA", 1)
	return map[string]string{
		"expired":              s.mint(token.Claims{Expires: time.Now().Add(-time.Minute)}),
		"not yet valid":        s.mint(token.Claims{NotBefore: time.Now().Add(30 * time.Minute)}),
		"unknown issuer":       mintWith(s.t, string(stranger), s.account, token.Claims{}),
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
		for _, subject := range []string{">", "_INBOX.>", "_INBOX." + subject(g.token) + ".>", "cmd.>", "evt.>", "$SYS.>"} {
			k.write("SUB %s 9\r\n", subject)
			if f := k.next(); f.op != "-ERR" || !strings.Contains(f.text, "Permissions Violation for Subscription") {
				t.Errorf("SUB %s: got %s %s, want a permissions violation", subject, f.op, f.text)
			}
		}
	})
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
