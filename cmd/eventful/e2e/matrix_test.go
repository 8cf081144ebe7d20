package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// The columns of the matrix, in the order of its letters.
const (
	asWriter   = iota // writes patients
	asReader          // reads patients
	asVerifier        // verifies patients
	asAuditor         // reads patient/A alone
	asAll             // writes and reads every type
	asActs            // reads eventful-schema
	asWard            // writes and reads another type
	asArchiver        // moves patients between tiers, which is nothing yet
	asAdmin           // an auth key for itself
	columns
)

// What comes of a request.
const (
	passes  = 'y' // it is answered, whether the answer is an error of another kind or not
	refused = 'x' // an engine refuses it: forbidden, unauthenticated
	blocked = '-' // the NATS server does not let it through
)

// cell is one request, with what comes of it by column.
type cell struct {
	subject, body string
	want          string
}

// matrix is roles by verbs by objects. What is not in it is refused by default: TestNothingElsePasses.
func matrix(site string) []cell {
	const one = `{"id":"A"}`
	return []cell{ // wrvaALWza: writer reader verifier auditor All acts Ward archiver admin
		{"cmd.patient.A.note", "{}", "y---y----"},
		{"cmd.patient.B.note", "{}", "y---y----"},
		{"cmd.ward.A.note", "{}", "----y-y--"},
		{"cmd.patient", `{"commits":[]}`, "y---y----"},
		{"cmd.eventful-schema.patient.schema-drafted", "{}", "----x----"},
		{"inbox.cmd.patient.A.note", "{}", "y---y----"}, // the server takes it; what it holds is decided as a command
		{"inbox.cmd.ward.A.note", "{}", "----y-y--"},
		{"inbox.cmd.patient", `{"commits":[]}`, "y---y----"},
		{"qry.patient.A.get", "", "-y-yy----"},
		{"qry.patient.A.history", "", "-y-yy----"},
		{"qry.patient.A.export", "", "-y-yy----"},
		{"qry.patient.A.verify", "", "-yyyy----"},
		{"qry.patient.B.get", "", "-y-xy----"},
		{"qry.patient.B.verify", "", "-yyxy----"},
		{"qry.patient.A.snapshot", `{"comment":"c"}`, "-x-xy----"}, // it is kept: reading is not enough
		{"qry.patient.A.snapshots", "", "-y-yy----"},
		{"qry.patient.B.snapshot", "", "-x-xy----"},
		{"qry.ward.A.snapshots", "", "----y-y--"},
		{"qry.ward.A.get", "", "----y-y--"},
		{"qry.patient.list", "", "-y-yy----"}, // who may read one aggregate gets that one
		{"qry.patient.A.diff", `{"from":0,"to":1}`, "-y-yy----"},
		{"qry.patient.B.diff", `{"from":0,"to":1}`, "-y-xy----"},
		{"qry.patient.A.replay", "", "-y-yy----"},
		{"qry.patient.B.replay", "", "-y-xy----"},
		{"qry.patient.events", "", "-y-yy----"},
		{"qry.patient.tail", "", "-y-yy----"},
		{"qry.eventful-schema.events", "", "----xy---"},
		{"qry.patient.verify", "", "-yyxy----"},
		{"qry.eventful-schema.patient.get", "", "----xy---"},
		{"qry.eventful-key.X.get", "", "----x----"},
		{"cmd.eventful-config.X.dek-replaced", "{}", "----x----"},
		{"qry.eventful-config.X.get", "", "----x----"},
		{"qry._.list", "", "-y-yyyy--"},
		{"qry._.events", "", "-y-yyyy--"},
		{"qry._.tail", "", "-y-yyyy--"},
		{"qry._.trace", `{"hash":"abcd"}`, "-y-yyyy--"},
		{"qry._.verify", "", "-xxxyxx--"}, // everything, or not at all
		{"qry._.event", `{"hash":"abcd"}`, "-y-yyyy--"},
		{"qry._.resolve", one, "-y-yyyy--"},
		{"qry._.audit", "", "-x-xxyx--"},
		{"qry._.archive", "", "-x-xxxx--"},
		{"qry._.checkpoint", "", "xyyyyyyxx"},
		{"qry._.checkpoint", `{"log":"patient"}`, "xyyyyyyxx"},
		{"qry._.prove", `{"hash":"abcd"}`, "xyyyyyyxx"},
		{"qry._.entries", `{"log":"patient","from":0,"to":1}`, "xxxxyxxxx"},
		{"adm.server.status", "", "yyyyyyyyy"},
		{"adm.schema.list", "", "yyyyyyyyy"},
		{"adm.schema.show", `{"type":"patient"}`, "yyyyyxxyy"},
		{"adm.schema.draft", `{"definition":{}}`, "--------y"},
		{"adm.schema.migrate", `{"type":"patient","dry-run":true}`, "--------y"},
		{"adm.schema.discard", `{"type":"none"}`, "--------y"},
		{"adm.key.account", "", "--------y"},
		{"adm.key.add", "{}", "--------y"},
		{"adm.key.list", "", "--------y"},
		{"adm.key.show", `{"id":"X"}`, "--------y"},
		{"adm.key.update", "{}", "--------x"}, // the operator's order is missing
		{"adm.key.revoke", `{"id":"X"}`, "--------y"},
		{"adm.token.issue", "{}", "--------x"}, // the token that is recorded must be valid
		{"adm.token.list", "", "--------y"},
		{"adm.token.show", `{"id":"X"}`, "--------y"},
		{"adm.token.refresh", "{}", "--------y"},
		{"adm.token.revoke", `{"id":"X"}`, "--------y"},
		{"adm.credential.record", "{}", "--------y"},
		{"adm.data.forget", `{"type":"patient","id":"none"}`, "--------y"},
		{"adm.data.rollback", `{"type":"patient","id":"none","to":1}`, "--------y"},
		{"adm.data.rollback", `{"before":"1999-01-01T00:00:00Z","dry-run":true}`, "--------y"},
		{"adm.audit.list", "", "--------y"},
		{"adm.aggregate.archive", `{"type":"patient","id":"none"}`, "--------y"},
		{"adm.aggregate.restore", `{"type":"patient","id":"none"}`, "--------y"},
		{"adm.archive.run", `{"log":"none"}`, "--------y"},
		{"qry._.rebuild", `{"log":"none"}`, "-x-xxxx--"}, // it is for who administers, who asks the act
		{"adm.projector.rebuild", `{"log":"none"}`, "--------y"},
		{"adm.writer.list", "", "--------y"},
		{"adm.writer.resign", `{"log":"patient"}`, "--------y"},
		{"adm.import.state", `{"file":"` + strings.Repeat("0", 64) + `","aggregate":"patient"}`, "y---y-x-y"},
		{"adm.import.done", `{"file":"` + strings.Repeat("0", 64) + `","aggregate":"ward","ranges":"1-2","rows":2}`, "x---y-y-x"},
		{"adm.staged.add", `{"commits":[]}`, "y---y-y-x"},
		{"adm.staged.list", "", "y---y-y-x"},
		{"adm.staged.commit", "", "y---y-y-x"},
		{"adm.staged.discard", "", "y---y-y-x"},
		{"adm.inbox.status", "", "y---y-y-y"},
		{"adm.inbox.list", "", "y---y-y-y"},
		{"adm.inbox.show", `{"number":99}`, "y---y-y-y"},
		{"adm.inbox.retry", `{"number":99}`, "y---y-y-y"}, // not found: only one's own is there
		{"adm.inbox.purge", `{"number":99}`, "y---y-y-y"},
		{"adm.plugin.list", "", "--------y"},
		{"adm.plugin.config", `{"name":"none"}`, "--------y"},
		{"adm.plugin.show", `{"name":"none"}`, "--------y"},
		{"adm.plugin.enable", `{"name":"none"}`, "--------y"},
		{"adm.plugin.disable", `{"name":"none"}`, "--------y"},
		{"adm.plugin.remove", `{"name":"none"}`, "--------y"},
		{"adm.plugin.replay", `{"name":"none"}`, "--------y"},
		{"adm.plugin.test", `{"name":"none"}`, "--------y"},
		{"adm.plugin.parked", `{"name":"none"}`, "--------y"},
		{"adm.plugin.retry", `{"name":"none"}`, "--------y"},
		{"adm.plugin.purge", `{"name":"none"}`, "--------y"},
		{"run." + site + ".test", "{}", "---------"},
		{"evt." + site + ".patient", "x", "---------"},
		{"$JS.API.STREAM.NAMES", "", "---------"},
		{"$JS.API.STREAM.PURGE.CMD_INBOX", "", "---------"},
		{"$SYS.REQ.SERVER.PING", "", "---------"},
		{"$SRV.PING", "", "---------"},
		{"$SRV.INFO", "", "---------"},
		{"$SRV.STATS", "", "---------"},
		{"eng." + site + ".patient.resign", "{}", "---------"},
	}
}

// TestMatrix: roles by verbs by objects, over NATS with a stock client: each cell as the table has it.
func TestMatrix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("event:add", "patient/note", "--id=A", "--text=first")
	s.must("event:add", "ward/note", "--id=A", "--text=first")
	acts := s.must("token:generate", "--auth-key", "--name=acts", "--aggregates=eventful-schema", "--actions=read,admin", "-o", "json", "EVENTFUL_MASTER_KEY="+masterKey)
	var key struct {
		Seed string `json:"auth-key"`
	}
	if err := json.Unmarshal([]byte(acts), &key); err != nil {
		t.Fatal(err)
	}
	patients, read := []string{"patient"}, []token.Action{token.ActionRead}
	roles := [columns]string{
		asWriter:   s.mint(token.Claims{Aggregates: patients, Actions: []token.Action{token.ActionWrite}, Limit: 100}),
		asReader:   s.mint(token.Claims{Aggregates: patients, Actions: read}),
		asVerifier: s.mint(token.Claims{Aggregates: patients, Actions: []token.Action{token.ActionVerify}}),
		asAuditor:  s.mint(token.Claims{Aggregates: patients, Actions: read, AggregateIDs: []event.AggregateID{{Type: "patient", ID: "A"}}}),
		asAll:      s.mint(token.Claims{Limit: 100}),
		asActs:     mintWith(t, key.Seed, s.account, token.Claims{Aggregates: []string{"eventful-schema"}, Actions: read}),
		asWard:     s.mint(token.Claims{Aggregates: []string{"ward"}, Limit: 100}),
		asArchiver: s.mint(token.Claims{Aggregates: patients, Actions: []token.Action{token.ActionArchive}}),
		asAdmin:    s.adminToken(),
	}
	table := matrix(s.info().Site)
	got := make([][columns]byte, len(table))
	for role, jwt := range roles {
		k := dialStock(t, s.info().NATS, jwt)
		for i, c := range table {
			got[i][role] = k.try(c)
		}
	}
	for i, c := range table {
		if have := string(got[i][:]); have != c.want {
			t.Errorf("%-48s got %s, want %s", c.subject, have, c.want)
		}
	}
}

// TestTheMatrixIsWhole: every act and every query that the engines answer has a row.
func TestTheMatrixIsWhole(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for _, c := range matrix("site") {
		there[c.subject] = true
	}
	count := 0
	row := func(subject string) {
		if count++; !there[subject] {
			t.Errorf("%s is answered, and has no row in the matrix", subject)
		}
	}
	for _, found := range inSource(t, "admin.go", `AdminSubject\("([a-z]+)", "([a-z]+)"\)`) {
		row("adm." + found[1] + "." + found[2])
	}
	for _, file := range []string{"audit.go", "archive.go"} { // these are passed on to a projector
		for _, found := range inSource(t, file, `"(adm\.[a-z]+\.[a-z]+)"`) {
			row(found[1])
		}
	}
	for _, table := range []struct{ name, stem string }{{"ofAggregate", "qry.patient.A."}, {"ofType", "qry.patient."}, {"ofAll", "qry._."}} {
		whole := inSource(t, "query.go", `(?s)\t`+table.name+` += map\[string\]query\{(.*?)\n\t\}`)
		if len(whole) != 1 {
			t.Fatalf("%s is not found in query.go", table.name)
		}
		for _, found := range regexp.MustCompile(`"([a-z]+)": \{`).FindAllStringSubmatch(whole[0][1], -1) {
			row(table.stem + found[1])
		}
	}
	if count < 70 {
		t.Errorf("got %d verbs out of the source, want them all", count)
	}
}

// inSource finds an expression in a file of pkg/natsapi.
func inSource(t *testing.T, file, expression string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "natsapi", file))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1)
}

// stock is a connection of nats.go with a token, as anybody makes one.
type stock struct {
	t          *testing.T
	nc         *nats.Conn
	jwt, inbox string
	answers    chan *nats.Msg
	violations chan string
	asked      int
}

func dialStock(t *testing.T, url, jwt string) *stock {
	t.Helper()
	k := &stock{t: t, jwt: jwt, inbox: inboxOf(jwt) + ".matrix", answers: make(chan *nats.Msg, 64), violations: make(chan string, 64)}
	nc, err := nats.Connect(url, nats.UserJWT(func() (string, error) { return jwt, nil }, func([]byte) ([]byte, error) { return nil, nil }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { k.violations <- err.Error() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	k.nc = nc
	if _, err := nc.ChanSubscribe(k.inbox+".*", k.answers); err != nil {
		t.Fatal(err)
	}
	return k
}

// try sends one request and says what came of it.
func (k *stock) try(c cell) byte {
	k.t.Helper()
	k.asked++
	reply := fmt.Sprintf("%s.%d", k.inbox, k.asked)
	m := &nats.Msg{Subject: c.subject, Reply: reply, Data: []byte(c.body), Header: nats.Header{"Eventful-Token": {k.jwt}}}
	if err := k.nc.PublishMsg(m); err != nil {
		k.t.Fatalf("%s: %v", c.subject, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		select {
		case text := <-k.violations:
			if strings.Contains(text, "ermissions") {
				return blocked
			}
			k.t.Fatalf("%s: %s", c.subject, text)
		case m := <-k.answers:
			if m.Subject != reply {
				continue // more of an earlier answer
			}
			var p problem.Problem
			if m.Header.Get("Nats-Service-Error-Code") != "" && json.Unmarshal(m.Data, &p) == nil && (p.Code == problem.Forbidden || p.Code == problem.Unauthenticated) {
				return refused
			}
			return passes
		case <-ctx.Done():
			k.t.Fatalf("%s: no answer and no violation", c.subject)
		}
	}
}

// TestNothingElsePasses: by default a token publishes and subscribes to nothing.
func TestNothingElsePasses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, jwt := range map[string]string{"all": s.mint(token.Claims{Limit: 9}), "admin": s.adminToken()} {
		k := dialStock(t, s.info().NATS, jwt)
		for _, subject := range []string{"anything", "event.patient.A.note", "adm", "adm.server", "_INBOX.other.1", "$KV.KEYS.x", "refused." + s.info().Site, "qry", "$JS.ACK.x"} {
			if got := k.try(cell{subject: subject}); got != blocked {
				t.Errorf("%s, publish %s: got %c, want it blocked", name, subject, got)
			}
		}
		for _, subject := range []string{">", "cmd.>", "qry.>", "adm.>", "evt.>", "_INBOX.>", "$SYS.>", "$JS.>", "event.>"} {
			sub, err := k.nc.SubscribeSync(subject)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case text := <-k.violations:
				if !strings.Contains(text, "ermissions") {
					t.Errorf("%s, subscribe to %s: got %s", name, subject, text)
				}
			case <-time.After(patience):
				t.Errorf("%s may subscribe to %s", name, subject)
			}
			_ = sub.Unsubscribe() // the server has refused it
		}
	}
}
