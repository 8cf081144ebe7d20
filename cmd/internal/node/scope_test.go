package node_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// every subject a token is tried on; a name of one letter stands for an aggregate id.
var subjects = []string{
	"cmd.patient", "cmd.patient.A.crp", "cmd.ward", "cmd.ward.A.crp", "cmd", "cmd.*", "cmd.>",
	"inbox.cmd.patient", "inbox.cmd.patient.A.crp", "inbox.cmd.ward", "inbox.cmd.ward.A.crp", "inbox.cmd",
	"qry.patient.list", "qry.patient.verify", "qry.patient.A.get", "qry.patient.A.verify", "qry.ward.list", "qry.ward.A.verify",
	"qry._.list", "qry._.verify",
	"adm.server.status", "adm.schema.list", "adm.schema.show", "adm.schema.migrate", "adm.key.add", "adm.token.issue", "adm.import.done",
	"adm.staged.add", "adm.staged.commit", "adm.inbox.status",
	"evt.ward.patient", "event.patient.A.crp", "$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$SRV.PING", "$SYS.REQ.SERVER.PING",
	"_INBOX.x", "eventful", "foo",
}

var forAll = []string{"adm.server.status", "adm.schema.list", "adm.schema.show"}

func TestScopedTokenReachesItsSubjectsOnly(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "all", Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionVerify, token.ActionArchive, token.ActionAdmin}})
	for name, c := range map[string]struct {
		actions    []token.Action
		aggregates []string
		want       []string
	}{
		"write": {[]token.Action{token.ActionWrite}, []string{"patient"},
			[]string{"cmd.patient", "cmd.patient.A.crp", "inbox.cmd.patient", "inbox.cmd.patient.A.crp", "adm.import.done",
				"adm.staged.add", "adm.staged.commit", "adm.inbox.status"}},
		"read": {[]token.Action{token.ActionRead}, []string{"patient"}, []string{"qry.patient.list", "qry.patient.verify", "qry.patient.A.get",
			"qry.patient.A.verify", "qry._.list", "qry._.verify"}},
		"verify": {[]token.Action{token.ActionVerify}, []string{"patient"}, []string{"qry.patient.verify", "qry.patient.A.verify", "qry._.verify"}},
		"write and read, all types": {[]token.Action{token.ActionWrite, token.ActionRead}, []string{token.All},
			[]string{"cmd.patient", "cmd.patient.A.crp", "cmd.ward", "cmd.ward.A.crp", "inbox.cmd.patient", "inbox.cmd.patient.A.crp", "inbox.cmd.ward",
				"inbox.cmd.ward.A.crp", "adm.staged.add", "adm.staged.commit", "adm.inbox.status",
				"qry.patient.list", "qry.patient.verify", "qry.patient.A.get", "qry.patient.A.verify", "qry.ward.list", "qry.ward.A.verify", "qry._.list",
				"qry._.verify", "adm.import.done", "cmd.*", "cmd.>"}},
		"archive": {[]token.Action{token.ActionArchive}, []string{"patient"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text, _, err := token.Mint(seed, n.account, token.Claims{IdentifierType: "person", IdentifierID: "Dr. Ä",
				Aggregates: c.aggregates, Actions: c.actions, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			checkReach(t, n.Node, text, append(slices.Clone(forAll), c.want...))
		})
	}
	t.Run("admin", func(t *testing.T) {
		text, _, err := token.MintAdmin(seed, n.account, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		checkReach(t, n.Node, text, append(slices.Clone(forAll), "adm.schema.migrate", "adm.key.add", "adm.token.issue", "adm.import.done",
			"adm.staged.add", "adm.staged.commit", "adm.inbox.status"))
	})
	t.Run("local", func(t *testing.T) {
		text, _, err := n.secrets.LocalUser()
		if err != nil {
			t.Fatal(err)
		}
		checkReach(t, n.Node, text, []string{"adm.server.status", "adm.key.add"})
	})
}

// A key without an action gives none of its subjects, whatever the tags say.
func TestKeyBoundsItsTokens(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "reader", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}})
	text := forge(t, seed, n.account, func(c *jwt.UserClaims) { c.Tags = append(c.Tags, "inbox:"+c.Subject[1:]) },
		"write:patient", "import:*", "adm:*", "read:patient")
	checkReach(t, n.Node, text, append(slices.Clone(forAll), "qry.patient.list", "qry.patient.verify", "qry.patient.A.get", "qry.patient.A.verify"))
}

// Whoever holds an auth key can put anything into a token. It may widen nothing beyond the doors of the key's actions, and no inbox.
func TestForgedTokens(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "all", Aggregates: []string{"patient"},
		Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionVerify, token.ActionAdmin}})
	for _, value := range []string{">", "*", "", " ", "a.>", "*.>", "x y", "\x00", ".", "a..b"} {
		var tags []string
		for _, name := range []string{"write", "read", "verify", "query", "import", "adm", "inbox"} {
			tags = append(tags, name+":"+value)
		}
		for _, subject := range []string{"", "*", ">", "x.*"} {
			nc := dial(t, n.Node, forge(t, seed, n.account, func(c *jwt.UserClaims) {
				if subject != "" {
					c.Subject = subject
				}
			}, tags...))
			if nc == nil {
				continue // refused as a whole
			}
			for _, s := range subjects {
				if first, _, _ := strings.Cut(s, "."); !slices.Contains([]string{"cmd", "qry", "adm", "inbox"}, first) || s == "cmd" {
					if !denied(t, nc, "publish", s) {
						t.Errorf("tags %q: publish to %s passed, want it refused", value, s)
					}
				}
			}
			for _, s := range []string{">", "*", "_INBOX.>", "_INBOX.*.>", "_INBOX.*.*", "cmd.>", "qry.>", "adm.>", "evt.>", "$SRV.>", "$SYS.>",
				"_INBOX.UABC.>", "_INBOX." + n.victim + ".>"} {
				if !denied(t, nc, "subscription", s) {
					t.Errorf("tags %q, subject %q: subscribe to %s passed, want it refused", value, subject, s)
				}
			}
			nc.Close()
		}
	}
}

// Whoever holds an auth key knows the public keys of other keys' users, which stand in the system log. They open no inbox of theirs.
func TestForgedTokenHearsNobody(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "ward", Aggregates: []string{"ward"}, Actions: []token.Action{token.ActionRead}})
	text, _, err := token.Mint(seed, n.account, token.Claims{IdentifierType: "user", IdentifierID: "ada", Aggregates: []string{"ward"},
		Actions: []token.Action{token.ActionRead}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	nc := dial(t, n.Node, forge(t, seed, n.account, func(c *jwt.UserClaims) { c.Subject = ada.Subject; c.Tags = append(c.Tags, "inbox:"+ada.Subject[1:]) }, "read:ward"))
	if nc == nil {
		t.Fatal("the forged token was refused as a whole: the test tries nothing")
	}
	defer nc.Close()
	if inbox := streams.TokenInboxPrefix(ada.Subject, ada.Tags); !denied(t, nc, "subscription", inbox+".>") {
		t.Errorf("a forged token of ada's user listens to %s", inbox)
	}
}

func TestUserWithPermissionsOfItsOwnIsRefused(t *testing.T) {
	n, seed := withKey(t, token.Key{Name: "all", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite}})
	text := forge(t, seed, n.account, func(c *jwt.UserClaims) { c.Pub.Allow.Add(">") }, "write:patient")
	if nc := dial(t, n.Node, text); nc != nil {
		t.Error("got a connection, want it refused")
	}
}

func TestAuthKeyWorksAtOnceAndBehindARestart(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	account := s.config.Keyring.AccountID(keyring.APP)
	text, _, err := token.Mint(seed, account, token.Claims{IdentifierType: "person", IdentifierID: "x", Aggregates: []string{"patient"},
		Actions: []token.Action{token.ActionWrite}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if nc := dial(t, n, text); nc != nil {
		t.Fatal("got a connection before the key was added, want none")
	}
	addKey(t, s, n, token.Key{ID: id, Name: "k", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}})
	checkReach(t, n, text, append(slices.Clone(forAll), "cmd.patient", "cmd.patient.A.crp", "inbox.cmd.patient", "inbox.cmd.patient.A.crp",
		"adm.import.done", "adm.staged.add", "adm.staged.commit", "adm.inbox.status"))
	n.Shutdown()

	n = s.start(t)
	if nc := dial(t, n, text); nc == nil {
		t.Error("got no connection behind the restart, want one")
	}
}

// scoped is a node with an auth key.
type scoped struct {
	*node.Node
	account string
	secrets *keyring.Secrets
	victim  string // public key of another user
}

func withKey(t *testing.T, key token.Key) (*scoped, []byte) {
	t.Helper()
	s := newSite(t)
	n := s.start(t)
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	key.ID = id
	addKey(t, s, n, key)
	return &scoped{Node: n, account: s.config.Keyring.AccountID(keyring.APP), secrets: s.config.Secrets, victim: newUser(t)}, seed
}

func newUser(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// addKey does what adm.key.add does.
func addKey(t *testing.T, s *site, n *node.Node, key token.Key) {
	t.Helper()
	old, err := n.AccountJWT(keyring.APP)
	if err != nil {
		t.Fatal(err)
	}
	updated, err := token.AddAuthKey(old, s.operator, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(token.CheckAppUpdate(old, updated, s.config.Keyring.OperatorKeys()...), token.CheckAuthKey(updated, key)); err != nil {
		t.Fatal(err)
	}
	reply, err := connect(t, n, keyring.SYS).Request("$SYS.REQ.CLAIMS.UPDATE", []byte(updated), patience)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data  struct{ Code int }
		Error any
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Data.Code != 200 {
		t.Fatalf("got answer %s (%v), want code 200", reply.Data, err)
	}
	if err := n.SaveAccounts(); err != nil {
		t.Fatal(err)
	}
}

// forge signs a token by hand, with tags and subject as they are given.
func forge(t *testing.T, seed []byte, account string, change func(*jwt.UserClaims), tags ...string) string {
	t.Helper()
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	c := jwt.NewUserClaims(newUser(t))
	c.SetScoped(true)
	c.IssuerAccount, c.Tags, c.Type, c.Version, c.IssuedAt = account, tags, jwt.UserClaim, 2, time.Now().Unix()
	if change != nil {
		change(c)
	}
	if c.Issuer, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + b64(payload)
	signature, err := pair.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

// dial connects with a bearer token; nil if that is refused.
func dial(t *testing.T, n *node.Node, text string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(n.ClientURL(), nats.UserJWT(func() (string, error) { return text, nil }, func([]byte) ([]byte, error) { return nil, nil }),
		nats.NoReconnect(), nats.SkipSubjectValidation(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil
	}
	t.Cleanup(nc.Close)
	return nc
}

// denied tells whether the server refuses to publish or subscribe. The violation comes before the answer to the ping of Flush.
func denied(t *testing.T, nc *nats.Conn, verb, subject string) bool {
	t.Helper()
	if verb == "publish" {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	} else {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	violation := nc.LastError()
	if violation == nil {
		return false
	}
	message := strings.ToLower(violation.Error())
	return strings.Contains(message, verb) && strings.Contains(message, strings.ToLower(`"`+subject+`"`))
}

func checkReach(t *testing.T, n *node.Node, text string, want []string) {
	t.Helper()
	nc := dial(t, n, text)
	if nc == nil {
		t.Fatal("got no connection, want one")
	}
	var got []string
	for _, s := range subjects {
		if !denied(t, nc, "publish", s) {
			got = append(got, s)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("subjects that may be published to (-want +got):\n%s", diff)
	}
	claims, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	if denied(t, nc, "subscription", streams.TokenInboxPrefix(claims.Subject, claims.Tags)+".>") {
		t.Error("own inbox was refused")
	}
	for _, s := range []string{">", "_INBOX.>", "_INBOX." + newUser(t) + ".>", "cmd.>", "evt.>", "event.>", "$SRV.>", "adm.server.status"} {
		if !denied(t, nc, "subscription", s) {
			t.Errorf("subscribe to %s passed, want it refused", s)
		}
	}
}
