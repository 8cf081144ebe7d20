package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// rolesSite is a site on a stock nats-server with TLS that writes every message's subject to its log, with the real engines on credentials of `eventful creds`.
func rolesSite(t *testing.T) *cluster {
	t.Helper()
	s := configuredSite(t)
	conf, err := os.ReadFile("../../../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	keys := s.must("config", "show", "--nats")
	certificate := filepath.Join(s.root, "server")
	if err := natstest.Certificate(certificate, time.Now().AddDate(0, 6, 0)); err != nil {
		t.Fatal(err)
	}
	c := &cluster{site: s, nats: natstest.Start(t, 1, func(n natstest.Node) string {
		return nodeConfig(t, n, string(conf), keys) + "\ntrace: true\ntls: {cert_file: \"" + certificate + ".pem\", key_file: \"" + certificate + ".key\"}\n"
	})}
	s.server = strings.Replace(c.nats.URLs("", ""), "nats://", "tls://", 1)
	s.env = append(s.env, "EVENTFUL_SERVER="+s.server, "EVENTFUL_TLS_CA="+s.ca(), "EVENTFUL_ARCHIVE="+s.cold())
	for _, role := range streams.HandedOut() {
		if role != streams.RoleBreakGlass {
			s.must("creds", string(role), "--out="+s.credsDir())
		}
	}
	for _, name := range []string{"writer", "second"} {
		c.engine("writer", name, append(s.engineCreds("writer"), "--archive="+s.cold())...)
	}
	c.engine("projector", "projector", append(s.engineCreds("projector"), "--archive="+s.cold(), "--archiver-creds="+s.creds(streams.RoleArchiver, "log"))...)
	c.engine("plugin-runner", "runner", append(s.engineCreds("plugin-runner"), "--plugin-pii", "--key-creds="+s.creds(streams.RoleKeyReader, "log"), "--plugin-programs="+filepath.Join(c.root, "sink.py"))...)
	schema := filepath.Join(s.root, "schema.yaml")
	if err := os.WriteFile(schema, []byte(schemaText), 0o600); err != nil {
		t.Fatal(err)
	}
	s.introduce(schema)
	t.Cleanup(func() { c.must("aggregate:verify", "--all") })
	return c
}

func (s *site) ca() string { return filepath.Join(s.root, "server-ca.pem") }

func (s *site) credsDir() string { return filepath.Join(s.root, "creds") }

func (s *site) creds(role streams.Role, account string) string {
	return filepath.Join(s.credsDir(), string(role)+"-"+strings.ToLower(account)+".creds")
}

func (s *site) engineCreds(role streams.Role) (flags []string) {
	for _, account := range []string{"log", "app"} {
		flags = append(flags, "--"+account+"-creds="+s.creds(role, account))
	}
	return flags
}

// userOf is the public key of a role's credential.
func (s *site) userOf(role streams.Role, account string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.creds(role, account))
	if err != nil {
		s.t.Fatal(err)
	}
	userJWT, err := jwt.ParseDecoratedJWT(text)
	if err != nil {
		s.t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(userJWT)
	if err != nil {
		s.t.Fatal(err)
	}
	return claims.Subject
}

// dialAs connects a stock client as a role.
func (s *site) dialAs(role streams.Role, account string) *nats.Conn {
	s.t.Helper()
	options := []nats.Option{nats.UserCredentials(s.creds(role, account)), nats.CustomInboxPrefix(streams.InboxPrefix(s.userOf(role, account))),
		nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if strings.HasPrefix(s.server, "tls:") {
		options = append(options, nats.RootCAs(s.ca()))
	}
	nc, err := nats.Connect(s.server, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// TestEnginesNeedTheirPermissions runs real engines with the credentials that `eventful creds` writes, through everything that they do. The server refuses them nothing, and
// each permission is used: what nobody uses is not granted.
func TestEnginesNeedTheirPermissions(t *testing.T) {
	t.Parallel()
	c := rolesSite(t)
	c.must("event:add", "patient/crp", "--id=A", "--crp=1")
	c.must("aggregate:apply", "patient/crp", "--id=B", "--crp=2")
	c.must("aggregate:commit")
	for _, id := range []string{"W1", "W2"} {
		c.must("event:add", "ward/note", "--id="+id, "--text=x", "--expected-version=9", "--inbox")
	}
	until(t, "the inbox refused both", func() bool { return strings.Count(c.refusals(), "\n") == 2 })
	c.must("inbox:retry", "1")
	until(t, "it is refused again", func() bool { return strings.Count(c.refusals(), "\n") == 2 })
	c.must("inbox:purge", "--all")
	until(t, "the index has it", func() bool { return c.run("aggregate:get", "patient/A").status == 0 })
	c.must("aggregate:snapshot", "patient/A", "--comment=seen")
	c.must("aggregate:verify", "--all")
	c.must("audit:list", "--account="+c.account, "EVENTFUL_TOKEN=")
	c.must("projector:rebuild", "patient", "--account="+c.account)
	c.must("writer:resign", "patient", "--account="+c.account)
	c.must("event:archive", "--log=patient", "--account="+c.account)
	c.must("event:archive", "--log=patient", "--account="+c.account) // there is nothing new
	c.must("aggregate:history", "patient/A")
	c.plugged()
	c.fed()
	c.must("doctor")
	for line := range strings.Lines(c.must("audit:list", "--aggregate=eventful-stream", "--account="+c.account, "EVENTFUL_TOKEN=")) {
		if strings.Contains(line, "stream-changed") && !strings.Contains(line, "action=purge") { // of the archiver
			t.Errorf("what engines do by themselves is recorded: %s", line)
		}
	}

	text, err := os.ReadFile(filepath.Join(c.nats.Dir(0), "log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "ermissions Violation") || strings.Contains(line, "Violation - ") {
			t.Errorf("refused: %s", line)
		}
	}
	c.makersUsed(string(text))
	in := c.installation()
	for _, role := range []streams.Role{streams.RoleWriter, streams.RoleProjector, streams.RoleRunner, streams.RoleArchiver, streams.RoleKeyReader, streams.RoleDoctor} {
		for account, id := range map[string]string{streams.AccountLOG: in.LOG, streams.AccountAPP: in.APP, streams.AccountSYS: ""} {
			used := subjectsUsed(string(text), role, id)
			p, err := streams.RolePermissions(in, account, role)
			if err != nil {
				t.Fatal(err)
			}
			for verb, all := range map[string][]streams.Permission{"PUB": p.Publish, "SUB": p.Subscribe} {
				for _, one := range all {
					subject, _, _ := strings.Cut(one.Subject, " ") // of a queue group
					if !used.any(verb, subject) && !slices.Contains(seldom(in.Site), one.Subject) {
						t.Errorf("%s in %s: %s %s is granted, and nobody used it", role, account, verb, one.Subject)
					}
				}
			}
		}
	}
}

// makersUsed: each stream was made by a user that may make that stream, and did nothing else.
func (c *cluster) makersUsed(log string) {
	c.t.Helper()
	in := c.installation()
	made := map[string][]string{
		streams.AccountLOG: {"EVT_" + in.Site + "_eventful", "EVT_" + in.Site + "_patient", "EVT_" + in.Site + "_person", "KV_LEASES", "KV_STAGED_" + in.Site, "KV_KEYS_" + in.Site, "KV_SNAP_" + in.Site,
			"KV_CHECKPOINTS_" + in.Site, "REFUSED_" + in.Site, "KV_POSITIONS_" + in.Site, "DEAD_" + in.Site},
		streams.AccountAPP: {streams.InboxStream, streams.FeedStream},
	}
	for account, id := range map[string]string{streams.AccountLOG: in.LOG, streams.AccountAPP: in.APP} {
		used, granted := subjectsUsed(log, streams.RoleMaker, id), map[string]bool{}
		for _, in.Stream = range made[account] {
			p, err := streams.RolePermissions(in, account, streams.RoleMaker)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, one := range p.Publish {
				if granted[one.Subject] = true; !used["PUB"][one.Subject] {
					c.t.Errorf("maker in %s: %s is granted, and nobody used it", account, one.Subject)
				}
			}
		}
		for subject := range used["PUB"] {
			if !granted[subject] && !strings.HasPrefix(subject, "$JS.API.STREAM.CREATE.EVT_") {
				c.t.Errorf("maker in %s: %s was used", account, subject)
			}
		}
	}
}

// plugged takes a plugin through everything that plugins do: it is tried, delivers, parks, retries, and is purged, disabled and removed.
func (c *cluster) plugged() {
	c.t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		c.t.Skip("python3 is missing: the program of the plugin is written in it")
	}
	c.put("sink.py", "#!/usr/bin/env python3\nimport json, os, sys\nfor line in sys.stdin:\n e = json.loads(line)\n bad = e['aggregatetype'] == 'patient' and not os.path.exists('mended')\n"+
		" print(json.dumps({'id': e['id'], 'status': 'park' if bad else 'done', 'error': 'no'}), flush=True)\n")
	if err := os.Chmod(filepath.Join(c.root, "sink.py"), 0o700); err != nil {
		c.t.Fatal(err)
	}
	account := "--account=" + c.account
	c.must("plugin:config", "sink", "--type=process", "--command="+filepath.Join(c.root, "sink.py"), "--dir="+c.root, account)
	until(c.t, "a plugin-runner knows the plugin", func() bool { return c.run("plugin:test", "sink", account).status == 0 })
	c.must("plugin:enable", "sink", account)
	parked := func() int { return strings.Count(c.must("plugin:parked", "sink", "-o", "ndjson", account), "\n") }
	until(c.t, "changes are parked", func() bool { return parked() >= 2 })
	c.must("plugin:parked", "sink", "purge", "1", account)
	c.put("mended", "")
	c.must("plugin:parked", "sink", "retry", "--all", account)
	until(c.t, "the retry delivers them", func() bool { return parked() == 0 })
	c.must("plugin:remove", "sink", "--disable", account)
}

// fed takes the site's own feed through everything, with a stock client that follows it.
func (c *cluster) fed() {
	c.t.Helper()
	account := "--account=" + c.account
	c.put("person.yaml", "aggregate: person\nfields:\n  name: {pii: true}\nevents:\n  named: {fields: [name]}\n")
	c.must("schema:apply", filepath.Join(c.root, "person.yaml"), account)
	c.must("schema:migrate", "-f", account)
	c.must("event:add", "person/named", "--id=P", "--name=canary")
	c.must("plugin:config", "feed", "--type=nats", account)
	until(c.t, "a plugin-runner knows the feed", func() bool { return c.run("plugin:test", "feed", account).status == 0 })
	c.must("plugin:config", "feed", "--type=nats", "--max-age=24h", "--pii", account)
	c.must("plugin:enable", "feed", account)
	patients, persons := c.follow("event.patient.A.*"), c.follow("event.person.>")
	if m := c.next(patients); m.Subject != "event.patient.A.crp" || !strings.Contains(string(m.Data), `"crp":"1"`) {
		c.t.Errorf("the feed begins with %s %s", m.Subject, m.Data)
	}
	if m := c.next(persons); m.Subject != "event.person.P.named" || !strings.Contains(string(m.Data), `"name":"canary"`) {
		c.t.Errorf("the feed has %s %s, want what --pii opens", m.Subject, m.Data)
	}
	c.must("data:forget", "person/P", "--yes", account)
	if m := c.next(persons); m.Subject != "event.person.P.eventful-forgotten" {
		c.t.Errorf("the feed has %s %s, want what tells of the forget", m.Subject, m.Data)
	}
	if m := c.next(c.follow("event.person.>")); m.Subject != "event.person.P.eventful-forgotten" {
		c.t.Errorf("the feed still has %s %s", m.Subject, m.Data)
	}
	c.must("plugin:remove", "feed", "--disable", account)
}

// follow is what a stock client with the credential of a feed-reader gets on a subject, from the start.
func (c *cluster) follow(subject string) <-chan *nats.Msg {
	c.t.Helper()
	js, err := c.dialAs(streams.RoleFeedReader, "app").JetStream()
	if err != nil {
		c.t.Fatal(err)
	}
	got := make(chan *nats.Msg, 1000)
	sub, err := js.ChanSubscribe(subject, got, nats.OrderedConsumer(), nats.BindStream(streams.FeedStream))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return got
}

func (c *cluster) next(from <-chan *nats.Msg) *nats.Msg {
	c.t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		c.t.Fatal("nothing came by the feed")
		return nil
	}
}

// seldom is what the run above does not come to.
func seldom(site string) []string {
	return []string{
		"adm.>",                                     // an act that comes in the moment of a hand-over
		"$JS.API.STREAM.NAMES",                      // of a writer: one that lists logs is a projector
		"$JS.FC.>",                                  // more to read than a consumer sends at once
		"$JS.API.STREAM.MSG.GET.CMD_INBOX",          // a refused command that is larger than a message
		"$JS.API.CONSUMER.DELETE.CMD_INBOX.*",       // another process empties the inbox from now on
		"$JS.API.STREAM.MSG.DELETE.KV_SNAP_" + site, // and more snapshots of one aggregate than are kept
	}
}

// usage is which subjects clients published to and subscribed to.
type usage map[string]map[string]bool

// subjectsUsed reads a server's trace: what connections of a role, by their names, used in an account (empty: any).
func subjectsUsed(log string, role streams.Role, account string) usage {
	name := map[streams.Role]string{streams.RoleDoctor: "eventful doctor"}[role]
	if name == "" {
		name = string(role)
	}
	line := regexp.MustCompile(`:` + name + `" - "(\w+)/.*<<- \[H?(PUB|SUB) (\S+)`)
	u := usage{"PUB": {}, "SUB": {}}
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		if account == "" || m[1] == account {
			u[m[2]][strings.TrimSuffix(m[3], "]")] = true
		}
	}
	return u
}

func (u usage) any(verb, pattern string) bool {
	for subject := range u[verb] {
		if matches(pattern, subject) {
			return true
		}
	}
	return false
}

// matches is NATS's own rule.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

func (s *site) installation() streams.Installation {
	s.t.Helper()
	keys, _ := s.secrets()
	return streams.Installation{Site: keys.Site(), LOG: keys.AccountID(keyring.LOG), APP: keys.AccountID(keyring.APP)}
}

// TestRolesReachTheirSubjectsOnly tries subjects with each role, from a stock client: what must be refused is refused by the server, what must work works.
func TestRolesReachTheirSubjectsOnly(t *testing.T) {
	t.Parallel()
	c := rolesSite(t)
	c.must("event:add", "patient/crp", "--id=A", "--crp=1")
	site := c.installation().Site
	c.must("creds", "break-glass", "--out="+c.credsDir(), "--expiration=600")
	const readers = "writer projector plugin-runner archiver"
	stream := "EVT_" + site + "_patient"
	for _, row := range []struct {
		account, verb, subject string
		roles                  string // that may; nobody else
	}{
		{"LOG", "PUB", "evt." + site + ".patient", "writer"},
		{"LOG", "PUB", "evt." + site + ".eventful", "writer"},
		{"LOG", "PUB", "evt.other.patient", ""},
		{"LOG", "SUB", "evt.>", ""},
		{"LOG", "SUB", "evt." + site + ".patient", ""},
		{"LOG", "SUB", "_INBOX.>", ""},
		{"LOG", "SUB", "$JS.>", ""},
		{"LOG", "PUB", "$JS.API.STREAM.DELETE." + stream, ""},
		{"LOG", "PUB", "$JS.API.STREAM.UPDATE." + stream, ""},
		{"LOG", "PUB", "$JS.API.STREAM.RESTORE." + stream, ""},
		{"LOG", "PUB", "$JS.API.STREAM.SNAPSHOT." + stream, ""},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.DELETE." + stream, ""},
		{"LOG", "PUB", "$JS.API.STREAM.PURGE." + stream, "archiver"},
		{"LOG", "PUB", "$JS.API.STREAM.PURGE.KV_STAGED_" + site, ""},
		{"LOG", "PUB", "$JS.API.STREAM.PURGE.REFUSED_" + site, ""},
		{"LOG", "PUB", "$JS.API.STREAM.PURGE.KV_LEASES", ""},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.DELETE.REFUSED_" + site, "writer"},
		{"LOG", "PUB", "$JS.API.STREAM.CREATE.EVT_" + site + "_new", ""}, // who makes a stream may have the server publish anything anywhere
		{"LOG", "PUB", "$JS.API.STREAM.CREATE.KV_LEASES", ""},
		{"LOG", "PUB", "$JS.API.STREAM.INFO." + stream, readers},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.GET." + stream, readers},
		{"LOG", "PUB", "$JS.API.DIRECT.GET." + stream, ""}, // an empty answer, aimed at the API, deletes a stream
		{"LOG", "PUB", "$JS.API.CONSUMER.MSG.NEXT." + stream + ".x", ""},
		{"LOG", "PUB", "$JS.ACK." + stream + ".x.1.1.1.1.1", ""},
		{"LOG", "PUB", "$JS.API.CONSUMER.CREATE.KV_CHECKPOINTS_" + site + ".x.>", "writer"},
		{"LOG", "PUB", "$JS.API.CONSUMER.CREATE." + stream + ".x.evt." + site + ".patient", readers},
		{"LOG", "PUB", "$JS.API.CONSUMER.CREATE.KV_STAGED_" + site + ".x.>", "writer"},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.GET.KV_STAGED_" + site, "writer"},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.GET.REFUSED_" + site, "writer"},
		{"LOG", "PUB", "$JS.API.STREAM.MSG.GET.KV_KEYS_" + site, "writer projector key-reader"},
		{"LOG", "PUB", "$JS.API.CONSUMER.CREATE.KV_KEYS_" + site + ".x.>", "writer projector"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.KV_KEYS_" + site, "writer projector key-reader"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.KV_SNAP_" + site, "writer projector"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.KV_STAGED_" + site, "writer"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.KV_LEASES", "writer plugin-runner"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.KV_POSITIONS_" + site, "writer plugin-runner"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.DEAD_" + site, "writer plugin-runner"},
		{"LOG", "PUB", "$JS.API.STREAM.INFO.REFUSED_" + site, "writer"},
		{"LOG", "PUB", "$KV.KEYS_" + site + ".x", "writer"},
		{"LOG", "PUB", "$KV.LEASES.1.log.patient", "writer"},
		{"LOG", "PUB", "$KV.STAGED_" + site + ".x", "writer"},
		{"LOG", "PUB", "refused." + site, "writer"},
		{"LOG", "PUB", "eng." + site + ".patient.status", "writer"},
		{"LOG", "SUB", "eng." + site + ".>", "writer"},
		{"APP", "PUB", "cmd.patient.A.crp", "writer client"},
		{"APP", "SUB", "cmd.>", "writer"},
		{"APP", "PUB", "inbox.cmd.patient.A.crp", "writer client"},
		{"APP", "SUB", "inbox.>", ""},
		{"APP", "PUB", "qry._.list", "client"},
		{"APP", "PUB", "qry._.audit", "writer client"},
		{"APP", "SUB", "qry.>", ""}, // the projector in its queue group only
		{"APP", "PUB", "adm.schema.list", "writer client"},
		{"APP", "SUB", "adm.>", "writer"},
		{"APP", "SUB", "_INBOX.>", ""},
		{"APP", "PUB", "$JS.API.STREAM.DELETE.CMD_INBOX", ""},
		{"APP", "PUB", "$JS.API.STREAM.PURGE.CMD_INBOX", ""},
		{"APP", "PUB", "$JS.API.STREAM.UPDATE.CMD_INBOX", ""},
		{"APP", "PUB", "$JS.API.STREAM.INFO.CMD_INBOX", "writer"},
		{"APP", "PUB", "$JS.ACK.CMD_INBOX.engine.1.1.1.1.1", "writer"},
		{"LOG", "PUB", "$SYS.REQ.SERVER.PING.JSZ", "writer projector plugin-runner"},
		{"LOG", "PUB", "$SYS.REQ.CLAIMS.UPDATE", ""},
		{"LOG", "PUB", "$SYS.REQ.SERVER.PING.CONNZ", ""},
		{"LOG", "SUB", "$SYS.>", ""},
		{"APP", "PUB", "$SYS.REQ.CLAIMS.UPDATE", "writer"},
		{"APP", "PUB", "$SYS.REQ.CLAIMS.DELETE", ""},
		{"APP", "PUB", "$SYS.REQ.SERVER.PING.JSZ", ""},
		{"APP", "SUB", "$SYS.>", ""},
		{"SYS", "PUB", "$SYS.REQ.SERVER.PING.JSZ", ""},
		{"APP", "PUB", "event.patient.A.crp", ""},
		{"APP", "PUB", "feed.x.patient.A.crp", "plugin-runner"},
		{"APP", "SUB", "event.>", ""},
		{"APP", "SUB", "feed.>", ""},
		{"APP", "PUB", "$JS.API.STREAM.CREATE.FEED", ""},
		{"APP", "PUB", "$JS.API.STREAM.UPDATE.FEED", ""},
		{"APP", "PUB", "$JS.API.STREAM.CREATE.CMD_INBOX", ""},
		{"APP", "PUB", "$JS.API.STREAM.CREATE.x", ""},
		{"APP", "PUB", "$JS.API.STREAM.INFO.FEED", "writer plugin-runner"}, // it tells the subjects that only engines know
		{"APP", "PUB", "$JS.API.STREAM.PURGE.FEED", "plugin-runner"},
		{"APP", "PUB", "$JS.API.STREAM.MSG.DELETE.FEED", "plugin-runner"},
		{"APP", "PUB", "$JS.API.STREAM.DELETE.FEED", ""},
		{"APP", "PUB", "$JS.API.STREAM.MSG.GET.FEED", ""},
		{"APP", "PUB", "$JS.API.DIRECT.GET.FEED", ""},
		{"APP", "PUB", "$JS.API.CONSUMER.CREATE.FEED.x.event.>", "feed-reader"},
		{"APP", "PUB", "$JS.API.CONSUMER.CREATE.FEED", "feed-reader"},
		{"APP", "PUB", "$JS.API.CONSUMER.CREATE.CMD_INBOX", ""},
		{"APP", "PUB", "$JS.API.CONSUMER.DURABLE.CREATE.FEED.x", ""},
		{"APP", "PUB", "$JS.API.CONSUMER.CREATE.CMD_INBOX.x.>", "writer"},
		{"APP", "PUB", "$JS.API.CONSUMER.MSG.NEXT.FEED.x", ""},
		{"APP", "PUB", "$JS.ACK.FEED.x.1.1.1.1.1", ""},
	} {
		for _, role := range streams.HandedOut() {
			want := strings.Contains(" "+row.roles+" ", " "+string(role)+" ") || role == streams.RoleBreakGlass && row.account == "LOG"
			if _, err := os.Stat(c.creds(role, row.account)); err != nil {
				if want {
					t.Errorf("%s has no credentials in %s", role, row.account)
				}
				continue
			}
			if want && role != streams.RoleBreakGlass {
				continue // TestEnginesNeedTheirPermissions runs them; here they would spoil the site
			}
			if got := c.may(role, row.account, row.verb, row.subject); got != want && (!want || row.verb == "SUB") {
				t.Errorf("%s in %s: %s %s: got %v, want %v", role, row.account, row.verb, row.subject, got, want)
			}
		}
	}
}

// may says whether the server lets a role use a subject. What is allowed to break glass is not published, only subscribed to.
func (c *cluster) may(role streams.Role, account, verb, subject string) bool {
	c.t.Helper()
	if role == streams.RoleBreakGlass && verb == "PUB" {
		return true
	}
	nc := c.dialAs(role, account)
	defer nc.Close()
	refused := make(chan error, 1)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			refused <- err
		}
	})
	var err error
	if verb == "SUB" {
		_, err = nc.SubscribeSync(subject)
	} else {
		err = nc.Publish(subject, []byte("{}"))
	}
	if err == nil {
		err = nc.FlushTimeout(patience)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-refused:
		return false
	case <-time.After(20 * time.Millisecond): // the refusal comes before the answer to the flush, and is told on another goroutine
		return true
	}
}

// TestBreakGlass: issuing and using it are events of the system log, and it lives for a day at most.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	c := rolesSite(t)
	c.refused(2, "longer than a day", "creds", "break-glass", "--out="+c.credsDir(), "--expiration=86401")
	c.refused(2, "", "creds", "administrator", "--out="+c.credsDir())
	c.refused(4, "is there already", "creds", "writer", "--out="+c.credsDir())
	c.strangers()
	c.must("creds", "break-glass", "--out="+c.credsDir())
	nc := c.dialAs(streams.RoleBreakGlass, "LOG")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "REPAIR", Subjects: []string{"repair"}}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx, "REPAIR"); err != nil {
		t.Fatal(err)
	}
	user := c.userOf(streams.RoleBreakGlass, "LOG")
	for _, want := range [][2]string{{"credential-issued", "eventful-credential/" + user}, {"credential-used", "eventful-credential/" + user}, {"action=create", "eventful-stream/REPAIR"}, {"action=delete", "eventful-stream/REPAIR"}} {
		until(t, want[0]+" shows in the audit", func() bool {
			return strings.Contains(c.must("audit:list", "--aggregate="+want[1], "--account="+c.account, "EVENTFUL_TOKEN="), want[0])
		})
	}
	// So does a change of a log's settings, with who made it; what writers do by themselves does not.
	log, err := js.Stream(ctx, "EVT_"+c.name()+"_patient")
	if err != nil {
		t.Fatal(err)
	}
	settings := log.CachedInfo().Config
	settings.Description = "changed by hand"
	if _, err := js.UpdateStream(ctx, settings); err != nil {
		t.Fatal(err)
	}
	until(t, "the change shows in the audit", func() bool {
		list := c.must("audit:list", "--actor=nats-user:"+user, "--account="+c.account, "EVENTFUL_TOKEN=")
		return strings.Contains(list, "action=update") && strings.Contains(list, "eventful-stream/EVT_"+c.name()+"_patient")
	})
	c.changesInbox(ctx)
	if list := c.must("audit:list", "--aggregate=eventful-stream", "--account="+c.account, "EVENTFUL_TOKEN="); strings.Count(list, "stream-changed") != 4 {
		t.Errorf("got the changes\n%s\nwant one that was made, one deletion and two updates", list)
	}
}

// changesInbox: who holds the site's keys can make a user of account APP with all rights. What he does to the inbox is recorded.
func (c *cluster) changesInbox(ctx context.Context) {
	c.t.Helper()
	_, secrets := c.secrets()
	text, seed, err := secrets.EngineUser(keyring.APP, "somebody")
	if err != nil {
		c.t.Fatal(err)
	}
	nc, err := nats.Connect(c.server, nats.UserJWTAndSeed(text, string(seed)), nats.RootCAs(c.ca()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	inbox, err := js.Stream(ctx, "CMD_INBOX")
	if err != nil {
		c.t.Fatal(err)
	}
	settings := inbox.CachedInfo().Config
	settings.Description = "changed by hand"
	if _, err := js.UpdateStream(ctx, settings); err != nil {
		c.t.Fatal(err)
	}
	until(c.t, "the change of the inbox shows in the audit", func() bool {
		list := c.must("audit:list", "--aggregate=eventful-stream/CMD_INBOX", "--account="+c.account, "EVENTFUL_TOKEN=")
		return strings.Contains(list, "action=update") && strings.Contains(list, "role=somebody")
	})
}

// strangers tries to have recorded what is no break-glass credential of the site.
func (c *cluster) strangers() {
	c.t.Helper()
	keys, secrets := c.secrets()
	local, _, err := secrets.LocalUser()
	if err != nil {
		c.t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if text, err := os.ReadFile(c.ca()); err != nil || !authorities.AppendCertsFromPEM(text) {
		c.t.Fatalf("read the CA: %v", err)
	}
	nc, err := client.Connect(c.t.Context(), client.Options{URL: c.server, Token: client.Static(local), TLS: &tls.Config{RootCAs: authorities}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer nc.Close()
	everything := keyring.Rights{Publish: []string{">"}}
	proof := func(text string) string {
		claims, err := jwt.DecodeUserClaims(text)
		if err != nil {
			return "x"
		}
		signed, err := keys.SignCredentials(keyring.By{User: "eve"}, secrets, map[string]string{"role": "break-glass", "users": claims.Subject})
		if err != nil {
			c.t.Fatal(err)
		}
		return signed
	}
	good, _, err := secrets.RightsUser(keyring.LOG, "break-glass", everything, time.Now().Add(time.Hour))
	if err != nil {
		c.t.Fatal(err)
	}
	other, _, err := secrets.RightsUser(keyring.LOG, "break-glass", everything, time.Now().Add(time.Hour))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, wrong := range map[string]string{"no proof": "", "the proof of another": proof(other), "the credential itself": good} {
		if err := nc.CredentialRecord(c.t.Context(), good, wrong); !errors.Is(err, client.ErrForbidden) && !errors.Is(err, client.ErrMalformed) {
			c.t.Errorf("a credential with %s: got %v, want that it is not recorded", name, err)
		}
	}
	for name, user := range map[string]func() (string, []byte, error){
		"no JWT": func() (string, []byte, error) { return "x", nil, nil },
		"of another account": func() (string, []byte, error) {
			return secrets.RightsUser(keyring.APP, "break-glass", everything, time.Now().Add(time.Hour))
		},
		"of another role": func() (string, []byte, error) {
			return secrets.RightsUser(keyring.LOG, "writer", everything, time.Now().Add(time.Hour))
		},
		"without an end": func() (string, []byte, error) {
			return secrets.RightsUser(keyring.LOG, "break-glass", everything, time.Time{})
		},
		"for two days": func() (string, []byte, error) {
			return secrets.RightsUser(keyring.LOG, "break-glass", everything, time.Now().Add(48*time.Hour))
		},
	} {
		text, _, err := user()
		if err != nil {
			c.t.Fatal(err)
		}
		if err := nc.CredentialRecord(c.t.Context(), text, proof(text)); !errors.Is(err, client.ErrForbidden) && !errors.Is(err, client.ErrMalformed) {
			c.t.Errorf("a user %s: got %v, want that it is not recorded", name, err)
		}
	}
}
