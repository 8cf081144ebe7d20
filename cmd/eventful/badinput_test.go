package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// The same on the wire, where a client sends what no library would, is in e2e.

// badInputSchema has one field and one type for each rule that the tables break.
const badInputSchema = `
aggregate: patient
fields:
  crp: {type: decimal, max-length: 400}
  code: {max-length: 5}
  sealed: {locked: true}
events:
  er-registration: {}
  crp: {fields: [crp], required: [crp]}
  note: {fields: [text, code, sealed]}
---
aggregate: frozen
locked: true
events:
  melted: {}
`

// liveSite is a configured, running EventfulDB with a schema and a token, used through the real binary.
type liveSite struct {
	t     *testing.T
	dir   string
	env   []string
	key   string // seed of the auth key
	token string // of user:anna, who may write and read everything
}

// startSite starts one for a test, which runs beside others.
func startSite(t *testing.T) *liveSite {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a server")
	}
	t.Parallel()
	return anotherSite(t)
}

func anotherSite(t *testing.T) *liveSite {
	t.Helper()
	s := &liveSite{t: t, dir: t.TempDir()}
	home := filepath.Join(s.dir, "home")
	for _, name := range []string{"PATH", "TMPDIR", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			s.env = append(s.env, name+"="+value)
		}
	}
	s.env = append(s.env, "HOME="+home, "NO_COLOR=1", "EVENTFUL_DATA_DIR="+filepath.Join(s.dir, "data"),
		"EVENTFUL_MASTER_KEY=master-key-of-this-test", "EVENTFUL_DEK=data-key-of-this-test")
	t.Cleanup(func() {
		if err := stopAll(s.dir); err != nil {
			t.Error("stop the server:", err)
		}
	})
	s.must("config", "--site=ward")
	s.must("start", "--port=0", "--nats-port=0")
	var key struct {
		Seed string `json:"auth-key"`
	}
	s.decode(&key, "token:generate", "--auth-key", "-o=json")
	s.key = key.Seed
	s.env = append(s.env, "EVENTFUL_AUTH_KEY="+s.key)
	file := filepath.Join(s.dir, "schema.yaml")
	if err := os.WriteFile(file, []byte(badInputSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("schema:apply", file)
	s.must("schema:migrate", "-f")
	s.token = s.makeToken("--limit=1000", "--expiration=3600")
	s.env = append(s.env, "EVENTFUL_TOKEN="+s.token)
	return s
}

func (s *liveSite) makeToken(flags ...string) string {
	s.t.Helper()
	var token struct {
		Token string `json:"token"`
	}
	s.decode(&token, append([]string{"token:generate", "--identifierType=user", "--identifierId=anna", "-o=json"}, flags...)...)
	return token.Token
}

// eventful runs the binary; more are further environment variables.
func (s *liveSite) eventful(stdin string, more []string, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	cmd := exec.Command("eventful", args...)
	cmd.Dir, cmd.Env = s.dir, append(s.env[:len(s.env):len(s.env)], more...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("eventful %q: %v", args, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func (s *liveSite) must(args ...string) string {
	s.t.Helper()
	out, errOut, status := s.eventful("", nil, args...)
	if status != 0 {
		s.t.Fatalf("eventful %q: exit status %d\n%s", args, status, errOut)
	}
	return out
}

func (s *liveSite) decode(into any, args ...string) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must(args...)), into); err != nil {
		s.t.Fatalf("eventful %q: %v", args, err)
	}
}

// stored counts the events of the user's logs, by verifying them: whatever the test did, every proof must hold.
func (s *liveSite) stored() (events int) {
	s.t.Helper()
	var report struct {
		Logs []struct {
			Log    string `json:"log"`
			Events int    `json:"events"`
		} `json:"logs"`
		Failed []any `json:"failed"`
	}
	s.decode(&report, "aggregate:verify", "--all", "-o=json")
	if len(report.Failed) > 0 {
		s.t.Errorf("proofs do not hold: %v", report.Failed)
	}
	for _, l := range report.Logs {
		if l.Log != "eventful" {
			events += l.Events
		}
	}
	return events
}

// refused checks that one clear error with a hint came, and nothing that looks like a crash.
func refused(t *testing.T, name, stderr string, got, want int) {
	t.Helper()
	switch {
	case got != want:
		t.Errorf("%s: got exit status %d, want %d\n%s", name, got, want, stderr)
	case strings.Count(stderr, "error: ") != 1 || strings.Count(stderr, "hint: ") != 1:
		t.Errorf("%s: got %q, want one error and one hint", name, stderr)
	case strings.Contains(stderr, "goroutine") || len(stderr) > 2000:
		t.Errorf("%s: got %.300q, want something short", name, stderr)
	}
}

var badNames = map[string]string{
	"empty": "", "star": "*", "greater": ">", "a wildcard": "a.*", "an empty token": "a..b", "a blank": "a b",
	"a protocol line": "a\r\nPUB cmd.patient.A.crp 0\r\n\r\n", "invalid UTF-8": "a\xff", "5,000 bytes": strings.Repeat("a", 5000),
	"a path": "../../etc", "an API": "$JS.x", "a dash": "-x", "an upper case letter": "Patient",
}

func TestBadInputOnTheCommandLine(t *testing.T) {
	s := startSite(t)
	for name, bad := range badNames {
		_, errOut, status := s.eventful("", nil, "event:add", "--id=A", "--", bad+"/crp")
		refused(t, "type with "+name, errOut, status, 2)
		_, errOut, status = s.eventful("", nil, "event:add", "--id=A", "--", "patient/"+bad)
		refused(t, "event type with "+name, errOut, status, 2)
		want := 2
		if name == "an upper case letter" { // a field may have one
			want = 1
		}
		_, errOut, status = s.eventful("", nil, "event:add", "patient/note", "--id=A", "--"+bad+"=1")
		refused(t, "field with "+name, errOut, status, want)
	}
	ids := map[string]string{
		"empty": "", "a control character": "a\x01", "a new line": "a\nb", "invalid UTF-8": "a\xff", "not NFC": "e\u0301", "129 bytes": strings.Repeat("a", 129),
	}
	for name, bad := range ids {
		_, errOut, status := s.eventful("", nil, "event:add", "patient/er-registration", "--id="+bad)
		refused(t, "id with "+name, errOut, status, 2)
	}
	for _, bad := range []string{"-1", "18446744073709551616", "9223372036854775808", "abc", "01", "+1", " 1", ""} {
		_, errOut, status := s.eventful("", nil, "event:add", "patient/er-registration", "--id=A", "--expected-version="+bad)
		refused(t, "expected version "+bad, errOut, status, 2)
	}
	for _, bad := range []string{"", "a b", "a\nb", "é", strings.Repeat("a", 129)} {
		_, errOut, status := s.eventful("", nil, "event:add", "patient/er-registration", "--id=A", "--command-id="+bad)
		refused(t, "command id "+bad, errOut, status, 2)
	}
	if n := s.stored(); n != 0 {
		t.Errorf("%d events were stored, want none", n)
	}
	s.must("event:add", "patient/er-registration", "--id=A") // it is alive
}

func TestBadFields(t *testing.T) {
	s := startSite(t)
	tests := []struct {
		name   string
		event  string
		body   string
		status int
	}{
		{"unknown event", "patient/nothing", `{}`, 1},
		{"unknown type", "nothing/crp", `{}`, 3},
		{"unknown field", "patient/crp", `{"crp":1,"colour":"red"}`, 1},
		{"missing required", "patient/crp", `{}`, 1},
		{"unset required", "patient/crp", `{"crp":null}`, 1},
		{"too long", "patient/note", `{"code":"123456"}`, 1},
		{"wrong type", "patient/crp", `{"crp":"much"}`, 1},
		{"locked field", "patient/note", `{"sealed":"x"}`, 4},
		{"locked aggregate type", "frozen/melted", `{}`, 4},
		{"duplicate key", "patient/note", `{"text":"a","text":"b"}`, 2},
		{"duplicate key, escaped", "patient/note", `{"text":"a","\u0074ext":"b"}`, 2},
		{"lone surrogate", "patient/note", `{"text":"\ud800"}`, 2},
		{"invalid UTF-8", "patient/note", "{\"text\":\"\xff\"}", 2},
		{"nested object", "patient/note", `{"text":{"a":1}}`, 2},
		{"array", "patient/note", `{"text":[1]}`, 2},
		{"no object", "patient/note", `[]`, 2},
		{"cut", "patient/note", `{"text":`, 2},
		{"something behind", "patient/note", `{"text":"a"} {}`, 2},
		{"field name", "patient/note", `{"a.b":"x"}`, 2},
		{"1.5 MB", "patient/note", `{"text":"` + strings.Repeat("x", 3<<19) + `"}`, 1},
		{"deep", "patient/note", strings.Repeat(`{"text":`, 10000), 2},
	}
	for _, test := range tests {
		_, errOut, status := s.eventful(test.body, nil, "event:add", test.event, "--id=A", "-")
		refused(t, test.name, errOut, status, test.status)
	}
	if n := s.stored(); n != 0 {
		t.Errorf("%d events were stored, want none", n)
	}
	for _, exact := range []string{"1e400", "9007199254740993", "1.10", "-0", "1E+2"} {
		_, errOut, status := s.eventful(`{"crp":`+exact+`}`, nil, "event:add", "patient/crp", "--id=exact", "-")
		if status != 0 {
			t.Errorf("%s: exit status %d\n%s", exact, status, errOut)
			continue
		}
		var state struct{ Fields map[string]string }
		if s.decode(&state, "aggregate:get", "patient/exact", "-o=json"); state.Fields["crp"] != exact {
			t.Errorf("got %s, want %s", state.Fields["crp"], exact)
		}
	}
}

func TestStrangeIDsAreKept(t *testing.T) {
	s := startSite(t)
	ids := []string{"*", ">", "a.*", "../../etc", "$JS.x", "-x", "a b", " a ", "🏥", "=41", "%00", "é", "a/b", strings.Repeat("a", 128)}
	for i, id := range ids {
		s.must("event:add", "patient/note", "--id="+id, "--text="+id)
		if n := s.stored(); n != i+1 {
			t.Errorf("%q: %d events are stored, want %d", id, n, i+1)
		}
	}
	for _, id := range ids {
		var state struct {
			ID      string
			Version int
			Fields  map[string]string
		}
		s.decode(&state, "aggregate:get", "-o=json", "--", "patient/"+id)
		if state.ID != id || state.Fields["text"] != id || state.Version != 1 {
			t.Errorf("%q came back as %+v", id, state)
		}
	}
	err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, "etc") || strings.HasSuffix(path, "🏥") {
			t.Errorf("an id became the file %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadVersionsAndCommandIDs(t *testing.T) {
	s := startSite(t)
	s.must("event:add", "patient/er-registration", "--id=A", "--command-id=c1")
	tests := map[string][]string{
		"stale":        {"--id=A", "--expected-version=0"},
		"ahead":        {"--id=A", "--expected-version=7"},
		"none":         {"--id=A", "--expected-version=none"},
		"exists":       {"--id=new", "--expected-version=exists"},
		"reused":       {"--id=B", "--command-id=c1"},
		"other expect": {"--id=A", "--command-id=c1", "--expected-version=exists"},
	}
	for name, flags := range tests {
		_, errOut, status := s.eventful("", nil, append([]string{"event:add", "patient/er-registration"}, flags...)...)
		refused(t, name, errOut, status, 4)
	}
	s.must("event:add", "patient/er-registration", "--id=A", "--command-id=c1") // the first answer again
	if n := s.stored(); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
}

func TestBadTokens(t *testing.T) {
	s := startSite(t)
	other := anotherSite(t)
	expired := s.makeToken("--limit=1", "--expiration=5")
	expiry := time.After(6 * time.Second) // claims have whole seconds
	spent := s.makeToken("--limit=1", "--expiration=3600")
	if _, errOut, status := s.eventful("", []string{"EVENTFUL_TOKEN=" + spent}, "event:add", "patient/er-registration", "--id=A"); status != 0 {
		t.Fatalf("spend the budget: exit status %d\n%s", status, errOut)
	}
	tokens := map[string]string{
		"empty": "", "nonsense": "abc", "three parts": "a.b.c", "unknown issuer": other.token, "alg none": algNone(s.token), "changed": changed(s.token),
		"spent": spent, "no signature": s.token[:strings.LastIndexByte(s.token, '.')+1], "auth key": s.key,
	}
	for name, token := range tokens {
		_, errOut, status := s.eventful("", []string{"EVENTFUL_TOKEN=" + token}, "event:add", "patient/er-registration", "--id=B")
		refused(t, name, errOut, status, 5)
		_, errOut, status = s.eventful("", []string{"EVENTFUL_TOKEN=" + token}, "aggregate:get", "patient/A")
		if name != "spent" {
			refused(t, name+", reading", errOut, status, 5)
		}
	}
	<-expiry
	_, errOut, status := s.eventful("", []string{"EVENTFUL_TOKEN=" + expired}, "event:add", "patient/er-registration", "--id=B")
	refused(t, "expired", errOut, status, 5)
	if n := s.stored(); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
	if info, err := run.Find(filepath.Join(s.dir, "data")); info == nil {
		t.Errorf("the server is gone: %v", err)
	}
}

// algNone is the token with a header that says it is not signed, as attackers of JWT libraries send it.
func algNone(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"none"}`)) + "." + parts[1] + "."
}

// changed is the token with a larger budget under the old signature.
func changed(token string) string {
	parts := strings.Split(token, ".")
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token
	}
	body = []byte(strings.Replace(string(body), "user", "root", 1))
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(body) + "." + parts[2]
}
