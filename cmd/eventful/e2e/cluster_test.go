package e2e_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/token"
)

// cluster is a site on nats-servers of its own, with engines in processes of their own.
type cluster struct {
	*site
	nats *natstest.Cluster
}

// engine is a writer or projector process.
type engine struct {
	c          *cluster
	kind, dir  string
	httpPort   string
	cmd        *exec.Cmd
	ended      chan struct{} // closed when the process is gone
	extraFlags []string
}

// newCluster is nats-servers of the configuration that is deployed (deploy/nats.conf), and a configured site without engines. The site's commands reach it.
func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	s := configuredSite(t)
	return newClusterOf(t, s, size, s.must("config", "show", "--nats"))
}

// newClusterOf is the same with what the servers are told of the site.
func newClusterOf(t *testing.T, s *site, size int, keys string) *cluster {
	t.Helper()
	conf, err := os.ReadFile("../../../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{site: s, nats: natstest.Start(t, size, func(n natstest.Node) string { return nodeConfig(t, n, string(conf), keys) })}
	c.nats.BeforeStart = func(dir string) { s.must("store:mend", dir) }
	s.server = c.nats.URLs("", "")
	s.env = append(s.env, "EVENTFUL_SERVER="+s.server)
	return c
}

// nodeConfig is the deployed configuration with the addresses of the test. Servers tell nobody of each other, so that every connection and every route goes through the test's links.
func nodeConfig(t *testing.T, n natstest.Node, conf, keys string) string {
	if err := os.WriteFile(filepath.Join(n.Dir, "site.conf"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	local := []string{"$SERVER_NAME", n.Name, "$JS_KEY", "key-of-the-cluster-under-test", "0.0.0.0:4222", n.Client, "127.0.0.1:8222", n.Monitor, `"/data/`, `"` + n.Dir + "/"}
	conf = strings.NewReplacer(local...).Replace(conf)
	before, _, found := strings.Cut(conf, "\ncluster: {")
	if !found {
		t.Fatal("deploy/nats.conf has no cluster block")
	}
	if n.Cluster == "" {
		return before
	}
	return before + "\ncluster: {name: eventful, no_advertise: true, listen: \"" + n.Cluster + "\", advertise: \"" + natstest.Nowhere + "\", routes: [nats://" + strings.Join(n.Routes, ", nats://") + "]}\n"
}

// engine starts a writer or a projector with a folder of its own, and waits until it is ready.
func (c *cluster) engine(kind, name string, flags ...string) *engine {
	c.t.Helper()
	e := &engine{c: c, kind: kind, dir: filepath.Join(c.root, name), httpPort: strconv.Itoa(freePort(c.t)), extraFlags: flags}
	keys, err := os.ReadFile(filepath.Join(c.dir, "keys.json"))
	if err == nil {
		err = os.MkdirAll(e.dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(e.dir, "keys.json"), keys, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	e.start()
	c.t.Cleanup(e.kill)
	return e
}

func (e *engine) start() {
	e.c.t.Helper()
	args := append([]string{"--data-dir", e.dir, "--nats-url", e.c.server, "--http", "127.0.0.1:" + e.httpPort}, e.extraFlags...)
	e.cmd = exec.Command(filepath.Join(filepath.Dir(binary), e.kind), args...)
	e.cmd.Dir, e.cmd.Env = e.c.root, append(e.c.env[:len(e.c.env):len(e.c.env)], "EVENTFUL_DEK="+dataKey)
	out, err := os.OpenFile(filepath.Join(e.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.c.t.Fatal(err)
	}
	defer out.Close()
	e.cmd.Stdout, e.cmd.Stderr, e.ended = out, out, make(chan struct{})
	if err := e.cmd.Start(); err != nil {
		e.c.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // how it ended shows in its output
		close(ended)
	}(e.cmd, e.ended)
	until(e.c.t, "the "+e.kind+" is ready", e.ready)
}

// ready fails the test if the process has ended.
func (e *engine) ready() bool {
	select {
	case <-e.ended:
		e.c.t.Fatalf("the %s ended:\n%s", e.kind, e.output())
	default:
	}
	answer, err := http.Get("http://127.0.0.1:" + e.httpPort + "/readyz")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func (e *engine) output() string {
	text, _ := os.ReadFile(filepath.Join(e.dir, "output"))
	return string(text[max(0, len(text)-4000):])
}

// kill ends the process at once, if it has not ended.
func (e *engine) kill() { e.end(syscall.SIGKILL) }

// stop lets the process end in order.
func (e *engine) stop() {
	e.c.t.Helper()
	e.end(syscall.SIGTERM)
	if code := e.cmd.ProcessState.ExitCode(); code != 0 {
		e.c.t.Errorf("stop of the %s: got exit status %d, want 0\n%s", e.kind, code, e.output())
	}
}

func (e *engine) end(by syscall.Signal) {
	_ = e.cmd.Process.Signal(by) // it may have ended
	<-e.ended
}

// pause stops the process without ending it; resume lets it go on.
func (e *engine) pause() { _ = e.cmd.Process.Signal(syscall.SIGSTOP) }

func (e *engine) resume() { _ = e.cmd.Process.Signal(syscall.SIGCONT) }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// name is the site's name.
func (c *cluster) name() string {
	c.t.Helper()
	var keys struct {
		Site string `json:"site"`
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "keys.json"))
	if err == nil {
		err = json.Unmarshal(text, &keys)
	}
	if err != nil || keys.Site == "" {
		c.t.Fatalf("the site has no name: %v", err)
	}
	return keys.Site
}

// verify is the end of every test that wrote; it needs a projector.
func (c *cluster) verify() {
	c.t.Helper()
	if o := c.run("aggregate:verify", "--all"); o.status != 0 {
		c.t.Errorf("verify --all: got exit status %d, want 0\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// TestAWriterStartsWhileAServerIsDown: two servers of three are enough for a writer to start; when the third answers and does not flush each write, the writer ends and says so.
func TestAWriterStartsWhileAServerIsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	w := c.engine("writer", "writer", "--replicas=3")
	c.engine("projector", "projector")
	c.put("schema.yaml", "aggregate: patient\nevents: {seen: {}}\n")
	c.introduce("schema.yaml")
	w.stop()
	c.nats.Kill(2)
	w.start()
	token := c.mint(token.Claims{IdentifierType: "user", IdentifierID: "anna", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite, token.ActionVerify}, Limit: 10})
	c.must("event:add", "patient/seen", "--id=A", "--token="+token)
	c.verify()
	conf := filepath.Join(c.nats.Dir(2), "nats.conf")
	text, err := os.ReadFile(conf)
	if err == nil {
		err = os.WriteFile(conf, []byte(strings.Replace(string(text), "sync_interval: always", "sync_interval: 1m", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.nats.Start(2)
	select {
	case <-w.ended:
	case <-time.After(time.Minute):
		t.Fatalf("the writer goes on:\n%s", w.output())
	}
	if text := w.output(); !strings.Contains(text, "server n3 syncs every") {
		t.Errorf("the writer ended without naming the server:\n%s", text)
	}
}

// TestImportWhileServersAreKilled imports the log of examples/sepsis into replicated logs while one nats-server after the other is killed, the leader of the patients' log every second
// time. Every row is there once, in order.
func TestImportWhileServersAreKilled(t *testing.T) {
	t.Parallel()
	wanted := int64(1)
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		wanted = 20
	}
	for killed := int64(0); killed < wanted && !t.Failed(); {
		t.Run("Import", func(t *testing.T) { killed += importWhileServersAreKilled(t) })
	}
}

// importWhileServersAreKilled gives the number of kills.
func importWhileServersAreKilled(t *testing.T) int64 {
	example, err := filepath.Abs("../../../examples/sepsis")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 3)
	c.engine("writer", "writer", "--replicas=3")
	c.engine("projector", "projector")
	c.introduce(filepath.Join(example, "schema.yaml"))
	want, groups, rows := readSepsis(t, filepath.Join(example, "sepsis.csv"))
	tokens := map[string]string{}
	for group, size := range groups {
		tokens[group] = c.mint(token.Claims{IdentifierType: "org-group", IdentifierID: group, Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}, Limit: size})
	}
	list, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	c.put("tokens.json", string(list))
	var kills atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		c.nats.KillInTurns(stop, 2*time.Second, "EVT_"+c.name()+"_patient", func() { kills.Add(1) })
	}()
	args := []string{"data:import", filepath.Join(example, "sepsis.csv"), "--aggregate=patient", "--mapping=" + filepath.Join(example, "mapping.yaml"), "--tokens=tokens.json"}
	importing := c.background(args...)
	for tries := 0; ; tries++ {
		<-importing.done // the test's own deadline bounds it
		if !importing.failed() {
			break
		}
		if tries > 10 {
			t.Fatalf("the import fails:\n%s", importing.output.String())
		}
		importing = c.background(args...)
	}
	close(stop)
	<-ended
	c.nats.AwaitHealthy()
	var last imported
	c.ask(&last, args...)
	if diff := cmp.Diff(imported{Rows: rows, Skipped: rows}, last); diff != "" {
		t.Errorf("one more import (-want +got):\n%s", diff)
	}
	c.checkImported("", want)
	c.verify()
	t.Logf("%d servers were killed", kills.Load())
	return kills.Load()
}
