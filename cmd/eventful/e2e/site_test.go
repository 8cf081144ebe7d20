// Package e2e_test runs the real binary as users and operators do, and as attackers and power cuts do: over the command line, over NATS, over a bare socket.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/token"
)

// patience bounds every wait; nothing comes near it on a machine that works.
const patience = 30 * time.Second

const (
	masterKey = "canary-master-key-of-the-tests"
	dataKey   = "canary-data-key-of-the-tests"
)

// schemaText is the schema of every site. The type closed is locked, and so is the field code of patient.
const schemaText = `aggregate: patient
fields:
  crp: {type: decimal}
  age: {type: integer}
  unit: {max-length: 5}
  code: {locked: true}
events:
  registered: {}
  crp: {fields: [crp, unit], required: [crp]}
  note: {fields: [text, age, code]}
  died: {deletes: true}
---
aggregate: ward
events:
  note: {fields: [text]}
---
aggregate: closed
locked: true
events:
  note: {fields: [text]}
`

// binary is the program under test, which TestMain builds.
var binary string

// builtBinary is the variable that names it for the processes of single tests.
const builtBinary = "EVENTFUL_TEST_BINARY"

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if served, err := natstest.Child(); served {
		if err != nil {
			panic(err)
		}
		return 0
	}
	if binary = os.Getenv(builtBinary); binary != "" { // a test in a process of its own
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "eventful-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a folder for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "eventful")
	if out, err := exec.Command("go", "build", "-o", dir, "github.com/eventfuldb/eventful/cmd/...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the binaries: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(builtBinary, binary); err != nil {
		fmt.Fprintln(os.Stderr, "pass the binary on:", err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// site is an installation in a folder of its own. Its methods end the test on what must not fail. A test that goes parallel keeps its site for itself.
type site struct {
	t       *testing.T
	root    string // the user's home; everything of the site lies in it
	dir     string // data folder
	env     []string
	authKey string
	account string // public id of APP
	token   string // of user:ada: every type, write and read
	refuted bool   // the test spoilt the log: verification must fail at the end
	// abandoned: the test lost the site on purpose, there is nothing to verify
	abandoned bool
	server    string      // URLs of NATS, if it is not a part of the site
	trust     *tls.Config // of a site with TLS
}

// runInfo is run.json as far as tests need it.
type runInfo struct {
	PID   int    `json:"pid"`
	Site  string `json:"site"`
	HTTP  string `json:"http"`
	NATS  string `json:"nats"`
	Ready bool   `json:"ready"`
}

// outcome is how a command ended.
type outcome struct {
	stdout, stderr string
	status         int
}

// configuredSite has keys and nothing else.
func configuredSite(t *testing.T) *site {
	t.Helper()
	root := t.TempDir()
	return configuredIn(t, root, filepath.Join(root, "data"))
}

// configuredIn has its data folder anywhere, and further settings in its environment.
func configuredIn(t *testing.T, root, dir string, given ...string) *site {
	t.Helper()
	s := &site{t: t, root: root, dir: dir}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EVENTFUL_") && !strings.HasPrefix(e, "XDG_") && !strings.HasPrefix(e, "HOME=") {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "HOME="+root, "XDG_CONFIG_HOME="+filepath.Join(root, "xdg"), "NO_COLOR=1", "EVENTFUL_DATA_DIR="+s.dir, "EVENTFUL_MIN_FREE_PERCENT=0")
	s.env = append(s.env, given...)
	t.Cleanup(s.killLeftover)
	s.configure()
	return s
}

// configure has `eventful config` keep the DEK of a key file whose secrets are stretched as little as may be, for a site of the name in its settings or of any: the tests configure and start hundreds.
func (s *site) configure() {
	s.t.Helper()
	name := "site-" + strings.ToLower(rand.Text()[:10])
	for _, setting := range s.env {
		if given, ok := strings.CutPrefix(setting, "EVENTFUL_SITE="); ok {
			name = given
		}
	}
	n := keyring.New{Site: name, MasterKey: []byte(masterKey), DEK: []byte(dataKey), Cost: keyring.Cost{Memory: 8, Time: 1, Threads: 1}, By: run.Me(), Settings: map[string]string{"site": name}}
	err := os.MkdirAll(s.dir, 0o700)
	if err == nil {
		_, _, err = n.Create(filepath.Join(s.dir, run.KeyFile))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, settings.File), []byte("format = 1\nsite = '"+name+"'\n"), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.must("config", "--dek="+dataKey)
}

// newSite is a running site with an auth key, the schema above, and a token of user:ada. At the end of the test everything in it is verified.
func newSite(t *testing.T) *site {
	t.Helper()
	s := configuredSite(t)
	s.openWithSchema()
	return s
}

// openWithSchema makes a running site with the schema above of a configured one; args are those of start.
func (s *site) openWithSchema(args ...string) {
	s.t.Helper()
	schema := filepath.Join(s.root, "schema.yaml")
	if err := os.WriteFile(schema, []byte(schemaText), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.open(schema, args...)
}

// open makes a running site of a configured one.
func (s *site) open(schema string, args ...string) {
	s.t.Helper()
	s.start(args...)
	s.t.Cleanup(s.verifyAndStop)
	s.introduce(schema)
}

// introduce makes the first auth key, puts a schema into force, and makes a token of user:ada.
func (s *site) introduce(schema string) {
	s.t.Helper()
	var key struct {
		AuthKey string `json:"auth-key"`
		Account string `json:"account"`
	}
	s.ask(&key, "token:generate", "--auth-key", "EVENTFUL_MASTER_KEY="+masterKey)
	s.authKey, s.account = key.AuthKey, key.Account
	s.env = append(s.env, "EVENTFUL_AUTH_KEY="+s.authKey)
	var elsewhere []string // where the auth key cannot tell its account
	if s.server != "" {
		elsewhere = []string{"--account=" + s.account}
	}
	s.must(append([]string{"schema:apply", schema}, elsewhere...)...)
	s.must(append([]string{"schema:migrate", "-f"}, elsewhere...)...)
	var made struct {
		Token string `json:"token"`
	}
	s.ask(&made, append([]string{"token:generate", "--expiration=3600", "--limit=1000000", "--identifierType=user", "--identifierId=ada"}, elsewhere...)...)
	s.token = made.Token
	s.env = append(s.env, "EVENTFUL_TOKEN="+s.token)
}

// command prepares a command; arguments of the form EVENTFUL_X=… go to its environment.
func (s *site) command(args ...string) *exec.Cmd {
	return s.commandWithin(context.Background(), args...)
}

func (s *site) commandWithin(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir, cmd.Env = s.root, s.env[:len(s.env):len(s.env)]
	for _, a := range args {
		if strings.HasPrefix(a, "EVENTFUL_") {
			cmd.Env = append(cmd.Env, a)
		} else {
			cmd.Args = append(cmd.Args, a)
		}
	}
	return cmd
}

// run runs a command and says how it ended.
func (s *site) run(args ...string) outcome {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := s.commandWithin(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%.200q: %v", cmd.Args, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that must end well, and gives what it printed.
func (s *site) must(args ...string) string {
	s.t.Helper()
	o := s.run(args...)
	if o.status != 0 {
		s.t.Fatalf("%.200q: got exit status %d, want 0\n%s", args[0], o.status, o.stderr)
	}
	return o.stdout
}

// refused runs a command that must end with a status, one error that holds a text, and a hint.
func (s *site) refused(status int, text string, args ...string) {
	s.t.Helper()
	o := s.run(args...)
	if o.status != status || strings.Count(o.stderr, "error: ") != 1 || !strings.Contains(o.stderr, text) || !strings.Contains(o.stderr, "hint: ") {
		s.t.Errorf("%.200q: got exit status %d with\n%s\nwant %d, one error with %q, and a hint", args, o.status, o.stderr, status, text)
	}
}

// ask reads the JSON that a command prints.
func (s *site) ask(into any, args ...string) {
	s.t.Helper()
	if text := s.must(append(args, "-o", "json")...); json.Unmarshal([]byte(text), into) != nil {
		s.t.Fatalf("%.200q: got %s, want JSON", args[0], text)
	}
}

func (s *site) start(args ...string) {
	s.t.Helper()
	s.must(append([]string{"start", "--port=0", "--nats-port=0"}, args...)...)
}

// again starts the server on the NATS port that it had, so that clients find it.
func (s *site) again(was runInfo) {
	s.t.Helper()
	port := was.NATS[strings.LastIndexByte(was.NATS, ':')+1:]
	until(s.t, "the server is back on port "+port, func() bool {
		o := s.run("start", "--port=0", "--nats-port="+port)
		if o.status != 0 && o.status != 6 { // 6: somebody's outgoing connection has the port for a moment
			s.t.Fatalf("start: got exit status %d, want 0\n%s", o.status, o.stderr)
		}
		return o.status == 0
	})
}

func (s *site) stop() {
	s.t.Helper()
	s.must("stop")
}

// info is where the server is to be found.
func (s *site) info() runInfo {
	s.t.Helper()
	var info runInfo
	text, err := os.ReadFile(filepath.Join(s.dir, "run.json"))
	if err == nil {
		err = json.Unmarshal(text, &info)
	}
	if err != nil || info.PID <= 1 {
		s.t.Fatalf("no server runs: %v", err)
	}
	return info
}

// kill kills the server as a power cut would, and waits until the kernel has taken its lock away.
func (s *site) kill() runInfo {
	s.t.Helper()
	info := s.info()
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		s.t.Fatalf("kill %d: %v", info.PID, err)
	}
	until(s.t, "the data folder is free", func() bool { return !s.running() })
	return info
}

// running says whether a server holds the lock of the data folder.
func (s *site) running() bool {
	f, err := os.Open(filepath.Join(s.dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// killLeftover ends a server that the test left behind.
func (s *site) killLeftover() {
	if s.running() {
		s.kill()
	}
}

// verifyAndStop is the end of every test that wrote.
func (s *site) verifyAndStop() {
	if s.abandoned {
		return
	}
	if !s.running() {
		s.start()
	}
	want := 0
	if s.refuted {
		want = 7
	}
	if o := s.run("aggregate:verify", "--all"); o.status != want {
		s.t.Errorf("verify --all: got exit status %d, want %d\n%s%s", o.status, want, o.stdout, o.stderr)
	}
	s.stop()
}

// client connects as user:ada.
func (s *site) client() *client.Client { return s.clientOf(s.token) }

func (s *site) clientOf(jwt string) *client.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	url := s.server
	if url == "" {
		url = s.info().NATS
	}
	c, err := client.Connect(ctx, client.Options{URL: url, Token: client.Static(jwt)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// mint makes a token with the auth key of the site; what claims leave out is that of a user who writes and reads every type for an hour.
func (s *site) mint(claims token.Claims) string {
	s.t.Helper()
	return mintWith(s.t, s.authKey, s.account, claims)
}

func mintWith(t *testing.T, authKey, account string, claims token.Claims) string {
	t.Helper()
	if claims.IdentifierID == "" {
		claims.IdentifierType, claims.IdentifierID = "user", "bob"
	}
	if claims.Aggregates == nil {
		claims.Aggregates = []string{token.All}
	}
	if claims.Actions == nil {
		claims.Actions = []token.Action{token.ActionWrite, token.ActionRead}
	}
	if claims.Expires.IsZero() {
		claims.Expires = time.Now().Add(time.Hour)
	}
	text, _, err := token.Mint([]byte(authKey), account, claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// metric reads a counter of the server; 0 while there is no server or no such counter.
func (s *site) metric(name string) float64 {
	var info runInfo
	text, err := os.ReadFile(filepath.Join(s.dir, "run.json"))
	if err != nil || json.Unmarshal(text, &info) != nil {
		return 0
	}
	web := http.Client{Transport: &http.Transport{TLSClientConfig: s.trust, DisableKeepAlives: true}}
	answer, err := web.Get(info.HTTP + "/metrics")
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil {
		return 0
	}
	for line := range strings.Lines(body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return n
		}
	}
	return 0
}

// files lists everything below a folder, save the content of the folders that are left out.
func files(t *testing.T, dir string, leftOut ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		found = append(found, path)
		for _, name := range leftOut {
			if d.IsDir() && d.Name() == name {
				return filepath.SkipDir
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// until polls until done says so.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	untilWithin(t, patience, what, done)
}

// untilWithin is until with a bound of its own.
func untilWithin(t *testing.T, bound time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(bound); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, bound)
		}
	}
}

// secrets opens the site's key file.
func (s *site) secrets() (*keyring.Keyring, *keyring.Secrets) {
	s.t.Helper()
	keys, err := keyring.Load(filepath.Join(s.dir, "keys.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	secrets, err := keys.Open([]byte(dataKey))
	if err != nil {
		s.t.Fatal(err)
	}
	return keys, secrets
}
