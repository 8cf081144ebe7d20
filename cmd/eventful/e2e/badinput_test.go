package e2e_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// What the NATS server itself does with a request that EventfulDB never sees.
const (
	violation problem.Code = "the server: permissions violation" // the connection stays
	cut       problem.Code = "the server: connection closed"     // after an -ERR
)

// badWords are what nobody may use as a name. None of them is one.
var badWords = []struct{ name, word string }{
	{"empty", ""}, {"star", "*"}, {"gt", ">"}, {"a star", "a.*"}, {"empty token", "a..b"}, {"space", "a b"}, {"line break", "a\r\nPUB cmd.patient.A.registered 0\r\n\r\n"},
	{"NUL", "a\x00b"}, {"invalid UTF-8", "a\xffb"}, {"5000 bytes", strings.Repeat("a", 5000)}, {"70000 bytes", strings.Repeat("a", 70_000)}, {"path", "../../etc"}, {"JetStream", "$JS.x"}, {"dash", "-x"},
}

// badRequest is one request and what must come of it.
type badRequest struct {
	name    string
	subject string
	headers []header // besides the token
	token   string   // empty: the site's; "-": none
	body    string
	want    problem.Code
}

// guarded is a site whose requests must change nothing.
type guarded struct {
	*site
	client *client.Client
	k      *socket
	before *client.Report
}

func newGuarded(t *testing.T) *guarded {
	s := newSite(t)
	g := &guarded{site: s, client: s.client(), k: dialSocket(t, s.info().NATS, s.token)}
	// The witness, whose head, history and log must stay as they are; its type is also granted units here, so that no later grant changes the system log.
	for _, a := range []client.Command{
		{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "crp", Fields: client.Fields{"crp": 1}, Context: client.Context{CommandID: "first"}},
		{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "registered"},
		{Aggregate: event.AggregateID{Type: "ward", ID: "A"}, Event: "note"},
	} {
		if _, err := g.client.Command(context.Background(), a); err != nil {
			t.Fatal(err)
		}
	}
	g.before = g.report(t)
	return g
}

// report counts everything in every log, the system log included.
func (g *guarded) report(t *testing.T) *client.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := g.client.VerifyAll(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Logs {
		r.Logs[i].Covered = 0 // checkpoints follow by themselves
	}
	return r
}

// check sends the request and holds it to: one answer, the right one, nothing stored, the server alive.
func (g *guarded) check(t *testing.T, r badRequest) {
	t.Helper()
	headers := r.headers
	switch r.token {
	case "":
		headers = append([]header{{"Eventful-Token", g.token}}, headers...)
	case "-":
	default:
		headers = append([]header{{"Eventful-Token", r.token}}, headers...)
	}
	reply := g.k.request(r.subject, headers, r.body)
	checkFrame(t, g.k.next(), reply, r.want)
	if r.want == cut {
		g.k = dialSocket(g.t, g.info().NATS, g.token)
	}
	g.unchanged(t)
}

// unchanged holds the site to: it answers, once, and every log is as it was.
func (g *guarded) unchanged(t *testing.T) {
	t.Helper()
	reply := g.k.request("cmd.patient.A.registered", []header{{"Eventful-Token", g.token}, {"Eventful-Dry-Run", "true"}, {"Eventful-Expected-Version", "exists"}}, "")
	if f := g.k.next(); f.subject != reply || !strings.Contains(string(f.body), `"dry-run":true`) {
		t.Errorf("got %s %s %s on %s, want the next answer to be that of a dry run", f.op, f.text, f.body, f.subject)
	}
	after := g.report(t)
	if diff := cmp.Diff(g.before, after); diff != "" {
		t.Errorf("something was stored (-before +after):\n%s", diff)
	}
	g.before = after
}

func checkFrame(t *testing.T, f frame, reply string, want problem.Code) {
	t.Helper()
	switch want {
	case violation:
		if f.op != "-ERR" || !strings.Contains(f.text, "Permissions Violation for Publish") {
			t.Errorf("got %s %s %.300s, want a permissions violation", f.op, f.text, f.body)
		}
		return
	case cut:
		if f.op != "-ERR" && f.op != "closed" {
			t.Errorf("got %s %s %.300s, want the connection cut", f.op, f.text, f.body)
		}
		return
	}
	p := problem.Decode(f.body)
	status := problem.New(want, "").Status
	if f.subject != reply || p.Code != want || p.Status != status || f.header.Get("Nats-Service-Error-Code") != strconv.Itoa(status) {
		t.Errorf("got %s %s %v %.300s, want code %s", f.op, f.text, f.header, f.body, want)
	} else if p.Title == "" || p.Detail == "" || p.Hint == "" || f.header.Get("Nats-Service-Error") != p.Title {
		t.Errorf("got %.300s, want a title, a detail and a hint", f.body)
	}
}

// all runs a table one request after the other.
func (g *guarded) all(t *testing.T, table []badRequest) {
	t.Helper()
	for _, r := range table {
		t.Run(r.name, func(t *testing.T) { g.check(t, r) })
	}
}

// TestBadSubjects sends what no client of ours would form, over a bare socket.
func TestBadSubjects(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	refusedByServer := map[string]problem.Code{"empty": violation, "empty token": violation, "path": violation, "space": cut, "line break": cut, "70000 bytes": cut}
	positions := []struct {
		name, before, after string
		want                map[string]problem.Code // by word, where it is not malformed
	}{
		{"type", "cmd.", ".A.registered", nil},
		{"event type", "cmd.patient.A.", "", nil},
		{"id", "cmd.patient.", ".registered", map[string]problem.Code{"dash": ""}}, // -x is an id
		{"transaction", "cmd.", "", nil},
		{"query type", "qry.", ".A.get", nil},
		{"query id", "qry.patient.", ".get", map[string]problem.Code{"dash": problem.NotFound}},
		{"query verb", "qry.patient.A.", "", map[string]problem.Code{"star": problem.NotFound, "gt": problem.NotFound, "NUL": problem.NotFound,
			"invalid UTF-8": problem.NotFound, "5000 bytes": problem.NotFound, "dash": problem.NotFound}},
	}
	for _, position := range positions {
		for _, w := range badWords {
			want := problem.Malformed
			if p, ok := position.want[w.name]; ok {
				want = p
			} else if p, ok := refusedByServer[w.name]; ok {
				want = p
			}
			if want != "" {
				t.Run(position.name+"/"+w.name, func(t *testing.T) {
					g.check(t, badRequest{subject: position.before + w.word + position.after, body: "{}", want: want})
				})
			}
		}
	}
	g.all(t, []badRequest{
		{name: "too short", subject: "cmd.patient.A", want: problem.Malformed},
		{name: "too long", subject: "cmd.patient.A.registered.x", want: problem.Malformed},
		{name: "doors alone", subject: "cmd", want: violation},
		{name: "unknown type", subject: "cmd.nobody.A.registered", want: problem.NotFound},
		{name: "reserved type", subject: "cmd.eventful-schema.patient.schema-drafted", body: `{"definition":"{}"}`, want: problem.Forbidden},
		{name: "the log itself", subject: "evt." + g.info().Site + ".patient", want: violation},
		{name: "JetStream", subject: "$JS.API.STREAM.PURGE.EVT_" + g.info().Site + "_patient", want: violation},
		{name: "the server", subject: "$SYS.REQ.SERVER.PING", want: violation},
		{name: "somebody's inbox", subject: "_INBOX.UABC.1", want: violation},
		{name: "an act", subject: "adm.schema.migrate", body: `{"type":""}`, want: violation},
		{name: "transaction of another type", subject: "cmd.ward", body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"registered"}]}]}`, want: problem.Malformed},
		{name: "transaction over two logs", subject: "cmd.ward", want: problem.Invalid,
			body: `{"commits":[{"type":"ward","id":"A","events":[{"event":"note"}]},{"type":"patient","id":"A","events":[{"event":"registered"}]}]}`},
		{name: "transaction with one bad event", subject: "cmd.patient", want: problem.Invalid,
			body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"registered"}]},{"type":"patient","id":"B","events":[{"event":"crp"}]}]}`},
		{name: "transaction with a header of its body", subject: "cmd.patient", headers: []header{{"Eventful-Expected-Version", "1"}}, want: problem.Malformed,
			body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"registered"}]}]}`},
		{name: "an aggregate twice in a transaction", subject: "cmd.patient", want: problem.Malformed,
			body: `{"commits":[{"type":"patient","id":"A","events":[{"event":"registered"}]},{"type":"patient","id":"A","events":[{"event":"registered"}]}]}`},
		{name: "empty transaction", subject: "cmd.patient", body: `{"commits":[]}`, want: problem.Malformed},
	})
	t.Run("answer to a command's subject", func(t *testing.T) {
		block := "NATS/1.0\r\nEventful-Token: " + g.token + "\r\n\r\n"
		g.k.write("HPUB qry.patient.A.get cmd.patient.A.registered %d %d\r\n%s\r\n", len(block), len(block), block)
		g.unchanged(t)
	})
}

func TestBadFields(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	const crp, note = "cmd.patient.A.crp", "cmd.patient.A.note"
	table := []badRequest{
		{name: "unknown event", subject: "cmd.patient.A.nothing", want: problem.Invalid},
		{name: "unknown field", subject: note, body: `{"nothing":1}`, want: problem.Invalid},
		{name: "field in another case", subject: crp, body: `{"crp":1,"Unit":"x"}`, want: problem.Invalid},
		{name: "missing required", subject: crp, body: `{"unit":"mg/l"}`, want: problem.Invalid},
		{name: "required unset", subject: crp, body: `{"crp":null}`, want: problem.Invalid},
		{name: "too long", subject: crp, body: `{"crp":1,"unit":"123456"}`, want: problem.Invalid},
		{name: "wrong type", subject: crp, body: `{"crp":"x"}`, want: problem.Invalid},
		{name: "wrong number", subject: note, body: `{"age":1.5}`, want: problem.Invalid},
		{name: "locked field", subject: note, body: `{"code":"x"}`, want: problem.Locked},
		{name: "locked field unset", subject: note, body: `{"code":null}`, want: problem.Locked},
		{name: "locked type", subject: "cmd.closed.A.note", body: `{"text":"x"}`, want: problem.Locked},
		{name: "duplicate key", subject: note, body: `{"text":"x","text":"y"}`, want: problem.Malformed},
		{name: "duplicate key, escaped", subject: note, body: `{"text":"x","\u0074ext":"y"}`, want: problem.Malformed},
		{name: "lone surrogate", subject: note, body: `{"text":"\ud800"}`, want: problem.Malformed},
		{name: "nested object", subject: note, body: `{"text":{"a":1}}`, want: problem.Malformed},
		{name: "array", subject: note, body: `{"text":[1]}`, want: problem.Malformed},
		{name: "deep nesting", subject: note, body: `{"text":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, want: problem.Malformed},
		{name: "something behind", subject: note, body: `{"text":"x"}{}`, want: problem.Malformed},
		{name: "cut", subject: note, body: `{"text":"x"`, want: problem.Malformed},
		{name: "no object", subject: note, body: `["text"]`, want: problem.Malformed},
		{name: "no JSON", subject: note, body: `text=x`, want: problem.Malformed},
		{name: "invalid UTF-8", subject: note, body: "{\"text\":\"\xff\"}", want: problem.Malformed},
		{name: "control character", subject: note, body: "{\"text\":\"\x01\"}", want: problem.Malformed},
		{name: "NUL", subject: note, body: "\x00", want: problem.Malformed},
		{name: "NaN", subject: crp, body: `{"crp":NaN}`, want: problem.Malformed},
		{name: "leading zero", subject: crp, body: `{"crp":01}`, want: problem.Malformed},
		{name: "1025 fields", subject: note, body: `{"a":1` + manyFields(1024) + `}`, want: problem.TooLarge},
		{name: "1 MiB and a byte", subject: note, body: `{"text":"` + strings.Repeat("x", 1<<20+1) + `"}`, want: problem.TooLarge},
		{name: "1.5 MB", subject: note, body: `{"text":"` + strings.Repeat("x", 1_500_000) + `"}`, want: problem.TooLarge},
	}
	for _, w := range badWords {
		name, err := json.Marshal(w.word)
		if err != nil {
			t.Fatal(err)
		}
		if w.name == "invalid UTF-8" {
			name = []byte("\"a\xffb\"")
		}
		table = append(table, badRequest{name: "field name: " + w.name, subject: note, body: `{` + string(name) + `:1}`, want: problem.Malformed})
	}
	g.all(t, table)
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"f` + strconv.Itoa(i) + `":1`)
	}
	return b.String()
}

func TestBadHeaders(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	const expected, id = "Eventful-Expected-Version", "Eventful-Command-Id"
	var table []badRequest
	for _, h := range []struct {
		name, value string
		want        problem.Code
	}{
		{expected, "-1", problem.Malformed}, {expected, "18446744073709551616", problem.Malformed}, {expected, "9223372036854775808", problem.Malformed},
		{expected, "abc", problem.Malformed}, {expected, "01", problem.Malformed}, {expected, "+2", problem.Malformed}, {expected, "2.0", problem.Malformed}, {expected, "ANY", problem.Malformed},
		{expected, "1", problem.Conflict}, {expected, "3", problem.Conflict}, {expected, "0", problem.Conflict}, {expected, "none", problem.Conflict},
		{id, strings.Repeat("x", 129), problem.Malformed}, {id, "a b", problem.Malformed}, {id, "ä", problem.Malformed}, {id, "\x01", problem.Malformed}, {id, "first", problem.CommandIDReused},
		{"Eventful-Occurred-At", "yesterday", problem.Malformed}, {"Eventful-Occurred-At", "2014-10-22", problem.Malformed}, {"Eventful-Occurred-At", "2014-02-30T00:00:00Z", problem.Malformed},
		{"Eventful-Dry-Run", "perhaps", problem.Malformed}, {"traceparent", strings.Repeat("0", 129), problem.Malformed}, {"traceparent", "a b", problem.Malformed},
		{"Eventful-Correlation-Id", strings.Repeat("x", 129), problem.Malformed}, {"Eventful-Causation-Id", strings.Repeat("x", 30_000), problem.TooLarge},
		{"Nats-Msg-Id", "1", problem.Malformed}, {"Nats-Expected-Last-Sequence", "0", problem.Malformed}, {"Nats-Rollup", "all", problem.Malformed}, {"nats-anything", "1", problem.Malformed},
		{"Nats-Service-Error-Code", "200", problem.Malformed},
	} {
		table = append(table, badRequest{name: h.name + " " + h.value[:min(len(h.value), 30)], subject: "cmd.patient.A.registered", headers: []header{{h.name, h.value}}, want: h.want})
	}
	for _, name := range []string{expected, id, "Eventful-Token", "eventful-token", "EVENTFUL-DRY-RUN", "traceparent"} {
		value := map[string]string{expected: "2", "eventful-token": g.token, "Eventful-Token": g.token, "EVENTFUL-DRY-RUN": "true", id: "x", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}[name]
		table = append(table, badRequest{name: name + " twice", subject: "cmd.patient.A.registered", headers: []header{{name, value}, {name, value}}, want: problem.Malformed})
	}
	table = append(table,
		badRequest{name: "twice in two cases", subject: "cmd.patient.A.registered", headers: []header{{id, "x"}, {strings.ToLower(id), "x"}}, want: problem.Malformed},
		badRequest{name: "exists, of nothing", subject: "cmd.patient.B.registered", headers: []header{{expected, "exists"}}, want: problem.Conflict},
		badRequest{name: "a query waits for nonsense", subject: "qry.patient.A.get", headers: []header{{"Eventful-Wait-For", "patient/1"}}, want: problem.Malformed},
	)
	g.all(t, table)
	for name, broken := range map[string]string{
		"header longer than the message": "HPUB cmd.patient.A.registered 12 2\r\nNATS/1.0\r\n\r\n\r\n",
		"negative size":                  "HPUB cmd.patient.A.registered -1 -1\r\n",
		"9 MB":                           "HPUB cmd.patient.A.registered 12 9000000\r\n",
		"no protocol":                    "NONSENSE\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g.k.write("%s", broken)
			checkFrame(t, g.k.next(), "", cut)
			g.k = dialSocket(g.t, g.info().NATS, g.token)
			g.unchanged(t)
		})
	}
}
