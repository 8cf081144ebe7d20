package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// olderNATS is what nats-servers were told of a site by an eventful whose engines asked in SYS: accounts that import nothing and export nothing.
func (s *site) olderNATS() string {
	s.t.Helper()
	keys, secrets := s.secrets()
	operator, err := nkeys.FromSeed(secrets.OperatorSigningSeed)
	if err != nil {
		s.t.Fatal(err)
	}
	text := s.must("config", "show", "--nats")
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		claims, err := jwt.DecodeAccountClaims(keys.AccountJWT(account))
		if err != nil {
			s.t.Fatal(err)
		}
		if len(claims.Imports)+len(claims.Exports) == 0 {
			s.t.Fatalf("account %s asks nothing: the test is void", account)
		}
		claims.Imports, claims.Exports = nil, nil
		older, err := claims.Encode(operator)
		if err != nil {
			s.t.Fatal(err)
		}
		text = strings.Replace(text, keys.AccountJWT(account), older, 1)
	}
	return text
}

// olderCreds writes a writer's credentials file as an older eventful did, without questions in LOG and APP; in SYS with one. It may make streams.
func (s *site) olderCreds(account keyring.Account) string {
	s.t.Helper()
	_, secrets := s.secrets()
	p, err := streams.RolePermissions(s.installation(), string(account), streams.RoleWriter)
	if err != nil {
		s.t.Fatal(err)
	}
	rights := keyring.Rights{Publish: map[keyring.Account][]string{keyring.LOG: {"$JS.API.STREAM.CREATE.*"}, keyring.APP: {"$JS.API.STREAM.CREATE.CMD_INBOX", "$JS.API.STREAM.CREATE.FEED", "$JS.API.STREAM.UPDATE.FEED"}}[account]}
	for _, one := range p.Publish {
		if !strings.HasPrefix(one.Subject, "$SYS.") {
			rights.Publish = append(rights.Publish, one.Subject)
		}
	}
	for _, one := range p.Subscribe {
		if !strings.HasPrefix(one.Subject, "$SYS.") {
			rights.Subscribe = append(rights.Subscribe, one.Subject)
		}
	}
	if account == keyring.SYS {
		rights.Publish = []string{streams.AskServers}
	}
	text, seed, err := secrets.RightsUser(account, "writer", rights, time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(text, seed)
	if err != nil {
		s.t.Fatal(err)
	}
	name := "older-" + string(account) + ".creds"
	s.put(name, string(file))
	return filepath.Join(s.root, name)
}

// TestNoCredentialRemovesStreams runs on three servers of a site that an older eventful made, with older credentials: the first engine brings the accounts up to date, and everything works.
// Then every credential that `eventful creds` writes asks everything that it may, and wants the answers where they would remove streams, and tries to make streams that remove others. What older
// credentials can do shows that they would.
func TestNoCredentialRemovesStreams(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	c := newClusterOf(t, s, 3, s.olderNATS())
	older := c.olderCreds(keyring.SYS)
	w := c.engine("writer", "writer", "--replicas=3", "--log-creds="+c.olderCreds(keyring.LOG), "--app-creds="+c.olderCreds(keyring.APP), "--sys-creds="+older)
	p := c.engine("projector", "projector")
	c.put("schema.yaml", "aggregate: patient\nevents: {seen: {}}\n")
	c.introduce("schema.yaml")
	c.must("event:add", "patient/seen", "--id=A")
	c.must("event:add", "patient/seen", "--id=A", "--inbox")
	for _, want := range []string{"account of an older eventful was brought up to date", "credentials file of an older eventful lacks a right", "credentials file of an older eventful may make streams", "--sys-creds is not used any more", "account APP was brought"} {
		if text, err := os.ReadFile(filepath.Join(w.dir, "output")); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the writer's output: got %s (%v), want it to say %q", text, err, want)
		}
	}
	until(t, "doctor finds nothing", func() bool { return c.run("doctor").status == 0 })
	before, log := c.streamsThere(), "EVT_"+c.installation().Site+"_patient"
	for _, role := range streams.HandedOut() {
		if role != streams.RoleBreakGlass { // which may remove streams without a trick
			c.must("creds", string(role), "--out="+c.credsDir())
			c.aims(role)
		}
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if after := c.streamsThere(); len(after) < len(before) || after[log] < before[log] {
			t.Fatalf("got streams %v, want %v", after, before)
		}
	}
	c.seenToRepublish()
	c.verify()
	w.stop()
	p.stop()
	republisher := c.dialWith(c.olderCreds(keyring.LOG))
	within := 50 * time.Millisecond
	until(t, "an older writer's credential removes the log", func() bool {
		c.republishes(republisher, log, within)
		within = min(2*within, time.Second)
		_, there := c.streamsThere()[log]
		return !there
	})
	nc, err := nats.Connect(c.server, nats.UserCredentials(older))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.PublishRequest(streams.AskServers, "$JS.API.ACCOUNT.PURGE."+c.installation().LOG, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "a credential in SYS removes the streams", func() bool { return len(c.streamsThere()) == 0 })
}

// aims asks as a role, with the answers aimed at what removes streams.
func (c *cluster) aims(role streams.Role) {
	c.t.Helper()
	in := c.installation()
	log := "EVT_" + in.Site + "_patient"
	for account, id := range map[string]string{streams.AccountLOG: in.LOG, streams.AccountAPP: in.APP, streams.AccountSYS: "none"} {
		p, err := streams.RolePermissions(in, account, role)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := os.Stat(c.creds(role, account)); os.IsNotExist(err) {
			continue
		}
		if account == streams.AccountSYS {
			c.t.Errorf("%s has a credential in SYS", role)
		}
		nc := c.dialAs(role, account)
		for _, one := range p.Publish {
			if !strings.HasPrefix(one.Subject, "$SYS.") && !strings.HasPrefix(one.Subject, "$JS.API.STREAM.INFO") && !strings.HasPrefix(one.Subject, "$JS.API.STREAM.NAMES") {
				continue // pkg/jetlog TestAimedAnswersRemoveNothing
			}
			for _, target := range []string{"$JS.API.ACCOUNT.PURGE." + in.LOG, "$JS.API.ACCOUNT.PURGE." + id, "$JS.API.STREAM.DELETE." + log, "$JS.API.STREAM.PURGE." + log, "$SYS.REQ.CLAIMS.DELETE"} {
				for _, body := range []string{"", "{}", "x"} {
					if err := nc.PublishRequest(strings.Replace(one.Subject, "*", log, 1), target, []byte(body)); err != nil {
						c.t.Fatal(err)
					}
				}
			}
		}
		c.republishes(nc, log, 50*time.Millisecond)
		if err := nc.Flush(); err != nil {
			c.t.Fatal(err)
		}
		nc.Close()
	}
}

// republishes tries to make a stream, and to change those that writers made, so that they delete another one: they send what comes, without content, to the API.
func (c *cluster) republishes(nc *nats.Conn, victim string, within time.Duration) {
	c.t.Helper()
	site := c.installation().Site
	for call, from := range map[string]string{"CREATE.EVIL": "eng." + site + ".evil", "CREATE.EVIL_" + victim: "eng." + site + "." + victim, "CREATE.CMD_INBOX": "cmd.evil", "CREATE.FEED": "cmd.evil", "UPDATE.FEED": "cmd.evil", "UPDATE." + victim: "evt." + site + ".patient"} {
		_, name, _ := strings.Cut(call, ".")
		config := `{"name":"` + name + `","subjects":["` + from + `"],"storage":"file","retention":"limits","discard":"old","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"num_replicas":1,` +
			`"republish":{"src":"` + from + `","dest":"$JS.API.STREAM.DELETE.` + victim + `","headers_only":true}}`
		answer, err := nc.Request("$JS.API.STREAM."+call, []byte(config), within) // what is refused has no answer
		if err == nil && !strings.Contains(string(answer.Data), `"error"`) {
			until(c.t, "the server that this client is at knows the stream", func() bool {
				_, err = nc.Request(from, []byte("x"), 2*time.Second) // its leader may not be there yet: it is tried again
				return !errors.Is(err, nats.ErrNoResponders)
			})
		}
		if err != nil && !errors.Is(err, nats.ErrTimeout) {
			c.t.Fatal(err)
		}
	}
}

// seenToRepublish: while a writer runs, what an older writer's credential makes is recorded, and what it has the server delete.
func (c *cluster) seenToRepublish() {
	c.t.Helper()
	nc, site := c.dialWith(c.olderCreds(keyring.LOG)), c.installation().Site
	if m, err := nc.Request("$JS.API.STREAM.CREATE.VICTIM", []byte(`{"name":"VICTIM","subjects":["eng.`+site+`.victim"],"storage":"file","retention":"limits","discard":"old","num_replicas":3}`), patience); err != nil || strings.Contains(string(m.Data), `"error"`) {
		c.t.Fatalf("make a stream: %v, %s", err, m.Data)
	}
	within := 50 * time.Millisecond
	until(c.t, "the victim is gone", func() bool {
		c.republishes(nc, "VICTIM", within)
		within = min(2*within, time.Second) // the machine may be busy
		_, there := c.streamsThere()["VICTIM"]
		return !there
	})
	for _, want := range [][2]string{{"EVIL", "action=create"}, {"VICTIM", "action=create"}, {"VICTIM", "role=JetStream"}} {
		until(c.t, want[0]+" with "+want[1]+" is in the audit", func() bool {
			return strings.Contains(c.must("audit:list", "--aggregate=eventful-stream/"+want[0], "--account="+c.account, "EVENTFUL_TOKEN="), want[1])
		})
	}
}

// dialWith connects a stock client with a credentials file.
func (c *cluster) dialWith(path string) *nats.Conn {
	c.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	userJWT, err := jwt.ParseDecoratedJWT(text)
	if err != nil {
		c.t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(userJWT)
	if err != nil {
		c.t.Fatal(err)
	}
	nc, err := nats.Connect(c.server, nats.UserCredentials(path), nats.CustomInboxPrefix(streams.InboxPrefix(claims.Subject)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// streamsThere are the streams of LOG with the number of their messages.
func (c *cluster) streamsThere() map[string]uint64 {
	c.t.Helper()
	_, secrets := c.secrets()
	text, seed, err := secrets.EngineUser(keyring.LOG, "test")
	if err != nil {
		c.t.Fatal(err)
	}
	nc, err := nats.Connect(c.server, nats.UserJWTAndSeed(text, string(seed)))
	if err != nil {
		c.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	all, there := js.ListStreams(ctx), make(map[string]uint64)
	for one := range all.Info() {
		there[one.Config.Name] = one.State.Msgs
	}
	if err := all.Err(); err != nil {
		c.t.Fatal(err)
	}
	return there
}
