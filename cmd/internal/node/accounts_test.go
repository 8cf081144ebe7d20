package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// The server writes account JWTs in place and does not flush them: a power cut leaves an empty, a cut or an older file. The auth keys stay.
func TestAccountSurvivesATornFile(t *testing.T) {
	for name, spoil := range map[string]func(path, initial string) error{
		"empty":   func(path, _ string) error { return os.WriteFile(path, nil, 0o600) },
		"cut":     func(path, _ string) error { return os.Truncate(path, 100) },
		"gone":    func(path, _ string) error { return os.Remove(path) },
		"initial": func(path, initial string) error { return os.WriteFile(path, []byte(initial), 0o600) },
		"foreign": func(path, _ string) error {
			other, err := os.ReadFile(filepath.Join(filepath.Dir(path), "foreign"))
			if err != nil {
				return err
			}
			return os.WriteFile(path, other, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			id := s.config.Keyring.AccountID(keyring.APP)
			n := s.start(t)
			foreign, err := n.AccountJWT(keyring.LOG)
			if err != nil {
				t.Fatal(err)
			}
			text := addSomeKey(t, s, n)
			n.Shutdown()
			if err := os.WriteFile(filepath.Join(s.config.ResolverDir, "foreign"), []byte(foreign), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(s.config.ResolverDir, id+".jwt"), s.config.Keyring.AccountJWT(keyring.APP)); err != nil {
				t.Fatal(err)
			}
			if nc := dial(t, s.start(t), text); nc == nil {
				t.Error("got no connection with a token of the auth key, want one")
			}
		})
	}
}

// addSomeKey adds an auth key and gives a token of it.
func addSomeKey(t *testing.T, s *site, n *node.Node) string {
	t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	actions := []token.Action{token.ActionWrite}
	addKey(t, s, n, token.Key{ID: id, Name: "k", Aggregates: []string{token.All}, Actions: actions})
	text, _, err := token.Mint(seed, s.config.Keyring.AccountID(keyring.APP), token.Claims{IdentifierType: "person", IdentifierID: "x",
		Aggregates: []string{"patient"}, Actions: actions, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSecondKeyLeavesTheFirst(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	first, second := addSomeKey(t, s, n), addSomeKey(t, s, n)
	for i, text := range []string{first, second} {
		if nc := dial(t, n, text); nc == nil {
			t.Errorf("token %d: got no connection, want one", i)
		}
	}
}

// A token as large as is accepted fits into CONNECT, and its many types into the server's bound on expanded subjects.
func TestLargestTokenConnects(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "all", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionRead}})
	c := token.Claims{IdentifierType: "person", IdentifierID: strings.Repeat("x", event.MaxActorLen-len("person:")),
		Actions: []token.Action{token.ActionWrite, token.ActionRead}, Expires: time.Now().Add(time.Hour)}
	var text string
	for i := range 1000 {
		c.Aggregates = append(c.Aggregates, fmt.Sprintf("a%d", i))
		next, _, err := token.Mint(seed, n.account, c)
		if err != nil {
			break // one type too many
		}
		text = next
	}
	if len(text) < token.MaxSize-100 {
		t.Fatalf("got a largest token of %d bytes, want about %d", len(text), token.MaxSize)
	}
	checkReach(t, n.Node, text, append(slices.Clone(forAll), "qry._.list", "qry._.verify", "adm.import.done", "adm.staged.add", "adm.staged.commit", "adm.inbox.status"))
}

// TestAccountsOfOlderSites: accounts that an older eventful made ask nothing. The server starts with ones that do, and with what stood in them besides.
func TestAccountsOfOlderSites(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	text := addSomeKey(t, s, n)
	present := make(map[keyring.Account]string)
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		present[account] = withoutQuestions(t, s, n, account)
	}
	n.Shutdown()
	for account, older := range present {
		id := s.config.Keyring.AccountID(account)
		if err := errors.Join(os.WriteFile(filepath.Join(s.config.ResolverDir, id+".jwt"), []byte(older), 0o600), os.WriteFile(filepath.Join(s.config.ResolverDir, id+".saved"), []byte(older), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	n = s.start(t)
	if nc := dial(t, n, text); nc == nil {
		t.Error("got no connection with a token of the auth key, want one")
	}
	asking, err := n.ConnAs(keyring.LOG, []streams.Role{streams.RoleProjector})
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	if servers, err := jetlog.Servers(t.Context(), asking, time.Now); err != nil || len(servers) != 1 {
		t.Errorf("in LOG: got servers %v, error %v, want one", servers, err)
	}
	app, err := n.ConnAs(keyring.APP, []streams.Role{streams.RoleWriter})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if got, err := natsapi.LookupAccount(t.Context(), app, s.config.Keyring.AccountID(keyring.APP)); err != nil || got == "" {
		t.Errorf("in APP: got account %q, error %v", got, err)
	}
}

// withoutQuestions is the present account without imports and exports, signed anew.
func withoutQuestions(t *testing.T, s *site, n *node.Node, account keyring.Account) string {
	t.Helper()
	text, err := n.AccountJWT(account)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := nkeys.FromSeed(s.config.Secrets.OperatorSigningSeed)
	if err != nil {
		t.Fatal(err)
	}
	claims.Imports, claims.Exports = nil, nil
	if text, err = claims.Encode(operator); err != nil {
		t.Fatal(err)
	}
	return text
}
