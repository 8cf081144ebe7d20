package natsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const site = "test-site"

var key = []byte("0123456789abcdef0123456789abcdef")

// caller sends requests to doors that are open.
type caller struct {
	t     *testing.T
	nc    *nats.Conn
	token string
}

// startNATS starts a server, and gives what connects to it.
func startNATS(t *testing.T) (connect func() *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, MaxPayload: 2 << 20, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

// open opens the doors that each configuration has, on one server, until the test is over.
func open(t *testing.T, each ...natsapi.Config) *caller {
	t.Helper()
	connect := startNATS(t)
	for _, cfg := range each {
		cfg.App, cfg.Site, cfg.Version = connect(), site, "1.0.0"
		api, err := natsapi.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{})
		during(t, func(ctx context.Context) error { return api.Run(ctx, func() { close(ready) }) })
		<-ready
	}
	return &caller{t: t, nc: connect()}
}

// during runs something until the test is over.
func during(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v, want an end in peace", err)
		}
	})
}

// ask sends a request and gives the answer, or the problem in it.
func (c *caller) ask(subject, body string, header nats.Header) (string, *problem.Problem) {
	c.t.Helper()
	m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte(body)}
	if c.token != "" {
		m.Header.Set("Eventful-Token", c.token)
	}
	for name, values := range header {
		m.Header[name] = values
	}
	answer, err := c.nc.RequestMsg(m, 5*time.Second)
	if err != nil {
		c.t.Fatalf("%s: %v", subject, err)
	}
	if answer.Header.Get("Nats-Service-Error-Code") == "" {
		return string(answer.Data), nil
	}
	p := &problem.Problem{}
	if err := json.Unmarshal(answer.Data, p); err != nil {
		c.t.Fatalf("%s: %v", answer.Data, err)
	}
	return "", p
}

// refused holds that a request is refused for that reason, in words for people.
func (c *caller) refused(subject, body string, header nats.Header, code problem.Code, says string) {
	c.t.Helper()
	answer, p := c.ask(subject, body, header)
	if p == nil {
		c.t.Errorf("%s %s %v: got answer %s, want %s", subject, body, header, answer, code)
		return
	}
	if p.Code != code || !strings.Contains(p.Detail, says) || p.Hint == "" || strings.Contains(p.Detail, "Go ") || strings.Contains(p.Detail, "json:") {
		c.t.Errorf("%s %s %v: got %s %q, hint %q, want %s with %q", subject, body, header, p.Code, p.Detail, p.Hint, code, says)
	}
}

// A header is refused before the writer, which does not run here, sees the command.
func TestCommandHeaders(t *testing.T) {
	w, err := writer.New(writer.Config{Site: site, Store: eventlog.NewMemory(), Dir: t.TempDir(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, natsapi.Config{Writer: w})
	const subject = "cmd.patient.A.crp"
	for _, h := range []struct{ name, value, says string }{
		{"Eventful-Dry-Run", "1", "Dry-Run"}, {"Eventful-Dry-Run", "TRUE", "Dry-Run"}, {"Eventful-Dry-Run", "", "empty"},
		{"Eventful-Expected-Version", "", "empty"}, {"eventful-expected-version", "", "empty"}, {"Eventful-Command-Id", "", "empty"},
		{"Eventful-Occurred-At", "", "empty"}, {"Eventful-Correlation-Id", "", "empty"}, {"traceparent", "", "empty"},
		{"Eventful-Expected-Version", "9223372036854775807", "expected version"}, {"Eventful-Occurred-At", "2014-10-22T11:27:00+24:00", "occurred-at"},
	} {
		c.refused(subject, "{}", nats.Header{h.name: {h.value}}, problem.Malformed, h.says)
	}
	c.refused(subject, `{"crp":1,"crp":2}`, nil, problem.Malformed, "twice")
	c.refused(subject, "{}", nats.Header{"Nats-Msg-Id": {"1"}}, problem.Malformed, "Nats-")
}

// ward has a patient with two events, and a caller who may read it.
func ward(t *testing.T) (*caller, []event.Position) {
	t.Helper()
	seed, store, at := wardLogs(t)
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	c := open(t, natsapi.Config{Projector: p, Store: store}, natsapi.Config{Projector: p, Store: store}) // as two processes have it
	c.token = mint(t, seed, "ada")
	return c, at
}

// wardLogs are logs with a patient that has two events, and the seed of an auth key that allows reading.
func wardLogs(t *testing.T) ([]byte, eventlog.Store, []event.Position) {
	t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	reader := token.Key{ID: id, Name: "reading", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionRead}}
	var fields []event.Field
	for _, name := range []string{"actions", "aggregates", "maxexpiration", "maxlimit", "name"} {
		fields = append(fields, event.Field{Name: name, Value: reader.Fields()[name], Set: true})
	}
	store := eventlog.NewMemory()
	build := func(log string, commits ...verifytest.Commit) []event.Position {
		l, err := store.Create(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		return verifytest.New(t, l).Block(commits...)
	}
	build(event.Reserved, verifytest.Commit{Aggregate: verifytest.Aggregate("eventful-key", id), Events: []verifytest.Event{{Type: "key-added", Fields: fields}}})
	return seed, store, build("patient", verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Events: []verifytest.Event{{Type: "crp"}, {Type: "crp"}}})
}

// mint makes a token for reading patients.
func mint(t *testing.T, seed []byte, user string) string {
	t.Helper()
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := token.Mint(seed, account, token.Claims{IdentifierType: "user", IdentifierID: user, Aggregates: []string{"patient"},
		Actions: []token.Action{token.ActionRead}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestKeysThatAreNotReadYet: a query that comes while the writer beside the projector starts is not told that its token is wrong.
func TestKeysThatAreNotReadYet(t *testing.T) {
	store := eventlog.NewMemory()
	w, err := writer.New(writer.Config{Site: site, Store: store, Dir: t.TempDir(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, natsapi.Config{Writer: w, Projector: p, Store: store})
	c.token = "not.a.token"
	c.refused("qry.patient.A.get", "", nil, problem.Unavailable, "has not read all auth keys yet")
	during(t, w.Run)
	<-w.Ready()
	c.refused("qry.patient.A.get", "", nil, problem.Unauthenticated, "token")
}

// Any number of processes answer queries, and each query gets one answer.
func TestAQueryIsAnsweredOnce(t *testing.T) {
	c, _ := ward(t)
	answers, err := c.nc.SubscribeSync("_INBOX.here.*")
	if err != nil {
		t.Fatal(err)
	}
	const asked = 20
	for i := range asked {
		err := c.nc.PublishMsg(&nats.Msg{Subject: "qry.patient.A.get", Reply: fmt.Sprintf("_INBOX.here.%d", i), Header: nats.Header{"Eventful-Token": {c.token}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range asked {
		if _, err := answers.NextMsg(5 * time.Second); err != nil {
			t.Fatalf("a query has no answer: %v", err)
		}
	}
	if m, err := answers.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("got one more answer on %s: %s", m.Subject, m.Data)
	}
}

func TestQueryBodies(t *testing.T) {
	c, _ := ward(t)
	const get, history = "qry.patient.A.get", "qry.patient.A.history"
	for _, b := range []struct{ subject, body, want string }{
		{get, "", `"version":2`}, {get, " {} ", `"version":2`}, {get, `{"version":1}`, `"version":1`}, {get, `{"version":null}`, `"version":2`},
		{history, `{"from":2,"take":5}`, `"version":2`},
	} {
		if answer, p := c.ask(b.subject, b.body, nil); p != nil || !strings.Contains(answer, b.want) {
			t.Errorf("%s %s: got %s, %v, want %s", b.subject, b.body, answer, p, b.want)
		}
	}
	for _, b := range []struct{ subject, body, says string }{
		{get, `{"version":0}`, "version is 0"}, {get, `{"version":-1}`, "version is the number -1, where a whole number from 0 is wanted"},
		{get, `{"version":"3"}`, "version is a string"}, {get, `{"version":1.5}`, "the number 1.5"}, {get, `{"version":18446744073709551616}`, "the number"},
		{get, `{"version":[]}`, "version is an array"}, {get, `{"version":true}`, "version is true or false"},
		{history, `{"from":"x"}`, "from is a string"}, {history, `{"take":{}}`, "take is an object, where a whole number is wanted"},
		{"qry.patient.list", `{"cursor":1}`, "where a string is wanted"},
		{get, `{"version":1,"version":2}`, `"version" stands twice`}, {get, `{"version":1,"Version":2}`, `"Version" is unknown`}, {get, `{"Version":2}`, `"Version" is unknown`},
		{get, `{"instant":1}`, `"instant" is unknown`}, {get, `{} {}`, "behind"}, {get, `{} }`, "behind"}, {get, `{"version":1`, "ends in the middle"}, {get, `{"version":x}`, "at byte"},
		{get, `{"at":"yesterday"}`, "which is no time"}, {get, `{"at":"9999-99-99T00:00:00Z"}`, "which is no time"}, {get, `{"version":1,"at":"2026-01-01T00:00:00Z"}`, "need not be the same"},
		{"qry.patient.A.diff", "", "from one version to another"}, {"qry.patient.A.diff", `{"from":0,"to":0}`, "not 0"}, {"qry.patient.A.diff", `{"from":-1,"to":1}`, "from is the number -1"},
		{"qry._.list", `{"filter":"crp = 1"}`, "several types"}, {"qry._.list", `{"sort":"crp"}`, "several types"},
		{"qry.patient.list", `{"cursor":"AAAA"}`, "not one that this query gave"}, {"qry.patient.events", `{"event":"No Event"}`, "the body"}, {"qry._.events", `{"id":"A"}`, "id"},
		{"qry.patient.events", `{"until":"then"}`, "which is no time"}, {"qry._.tail", `{"cursor":"x"}`, "not one that this query gave"}, {"qry._.trace", `{"hash":"xyzw"}`, "hexadecimal"},
		{history, `{"skip":18446744073709551615}`, "behind every event"},
		{get, `[]`, "no JSON object"}, {get, `null`, "no JSON object"}, {get, `3`, "no JSON object"}, {get, "{\"version\":\"\xff\"}", "UTF-8"},
	} {
		c.refused(b.subject, b.body, nil, problem.Malformed, b.says)
	}
	c.refused(get, `{"version":3}`, nil, problem.NotFound, "")
	c.refused(get, strings.Repeat(" ", 1<<20)+"{}", nil, problem.TooLarge, "bytes")
}

func TestWaitForHeader(t *testing.T) {
	c, at := ward(t)
	const get = "qry.patient.A.get"
	ghost := at[0]
	ghost.Log = "ghost"
	for _, position := range []string{"latest", at[0].String()} {
		if _, p := c.ask(get, "", nats.Header{"Eventful-Wait-For": {position}}); p != nil {
			t.Errorf("%s: got %v, want an answer", position, p)
		}
	}
	c.refused(get, "", nats.Header{"Eventful-Wait-For": {ghost.String()}}, problem.NotFound, "no log ghost") // at once: ask waits for less than the server would
	c.refused(get, "", nats.Header{"Eventful-Wait-For": {""}}, problem.Malformed, "empty")
	c.refused(get, "", nats.Header{"Eventful-Token": {""}}, problem.Unauthenticated, "no token")
}
