// Package natstest runs nats-servers as processes of their own, which a test can kill and part from each other.
//
// The processes are the test binary itself: its TestMain calls Child first and ends if it served. A server ends with its test, or when the test's process does. Addresses are on
// loopback; every route and every client connection goes through a link of this package, so parting servers needs no rights.
package natstest

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// childConfig names the configuration of the server that a process is to run.
const childConfig = "EVENTFUL_TEST_NATS_CONFIG"

// patience bounds every wait of this package.
const patience = time.Minute

// Child runs a nats-server until the test's process ends, if this process was started to be one; served says so.
func Child() (served bool, err error) {
	path := os.Getenv(childConfig)
	if path == "" {
		return false, nil
	}
	return true, serve(path)
}

// serve runs the server until standard input ends, which it does when the test's process is gone.
func serve(path string) error {
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		return err
	}
	o.NoSigs, o.LogFile = true, filepath.Join(filepath.Dir(path), "log")
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // nothing is ever written to it
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// Nowhere is an address that nobody listens on. A server must advertise it to the other servers as its own (cluster.advertise): else each tells the others where the rest listen, and
// they make routes that do not go through links.
const Nowhere = "127.0.0.1:1"

// Node is one server of a cluster, as its configuration sees it.
type Node struct {
	Name    string   // n1, n2, …
	Dir     string   // of this node alone; kept from start to start
	Client  string   // address to listen on for clients
	Monitor string   // address to listen on for monitoring (HTTP)
	Cluster string   // address to listen on for routes; empty in a cluster of one
	Routes  []string // addresses of the others, through links

	index   int
	process *exec.Cmd
	stdin   io.Closer
	door    *link
}

// Cluster is some servers. Its methods are for the test's goroutine, or for one other at a time.
type Cluster struct {
	// BeforeStart is called with a server's folder before that is started again; nil: nothing is.
	BeforeStart func(dir string)

	t     testing.TB
	nodes []*Node
	links map[[2]int]*link // from, to
}

// Start starts servers, each with what config makes of it, and waits until all are healthy. At the end of the test they are killed; what they wrote to their logs is told
// if the test failed.
func Start(t testing.TB, size int, config func(Node) string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, links: make(map[[2]int]*link)}
	root := t.TempDir() // before end, so that it is removed behind it
	t.Cleanup(c.end)
	for i := range size {
		n := &Node{Name: fmt.Sprintf("n%d", i+1), index: i, Client: freeAddress(t), Monitor: freeAddress(t)}
		if n.Dir = filepath.Join(root, n.Name); os.Mkdir(n.Dir, 0o700) != nil {
			t.Fatalf("make the folder %s", n.Dir)
		}
		if size > 1 {
			n.Cluster = freeAddress(t)
		}
		n.door = c.listen(n.Client)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		for _, other := range c.nodes {
			if other != n {
				l := c.listen(other.Cluster)
				c.links[[2]int{n.index, other.index}] = l
				n.Routes = append(n.Routes, l.address())
			}
		}
		if err := os.WriteFile(n.config(), []byte(config(*n)), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Start(n.index)
	}
	c.AwaitHealthy()
	return c
}

func (c *Cluster) listen(to string) *link {
	l, err := newLink(to)
	if err != nil {
		c.t.Fatalf("make a link: %v", err)
	}
	return l
}

func (n *Node) config() string { return filepath.Join(n.Dir, "nats.conf") }

// Start starts a server that was killed, with the files that it left.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	if c.BeforeStart != nil {
		c.BeforeStart(c.nodes[i].Dir)
	}
	if err := c.nodes[i].start(); err != nil {
		c.t.Fatal(err)
	}
}

func (n *Node) start() error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+n.config())
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.process, n.stdin = cmd, stdin
	return nil
}

// Kill ends a server at once (SIGKILL).
func (c *Cluster) Kill(i int) {
	n := c.nodes[i]
	if n.process == nil {
		return
	}
	_ = n.process.Process.Kill() // it may have ended
	_ = n.process.Wait()         // "signal: killed"
	_ = n.stdin.Close()
	n.process = nil
}

// Dir is the folder of a server; the file log in it is what it logged.
func (c *Cluster) Dir(i int) string { return c.nodes[i].Dir }

// Size is the number of servers, running or not.
func (c *Cluster) Size() int { return len(c.nodes) }

// Part lets nothing through between two servers, as a broken network does: connections stay, what is sent waits.
func (c *Cluster) Part(i, j int) { c.between(i, j, (*link).hold) }

// Join lets everything through again, what waited first.
func (c *Cluster) Join(i, j int) { c.between(i, j, (*link).release) }

func (c *Cluster) between(i, j int, do func(*link)) {
	do(c.links[[2]int{i, j}])
	do(c.links[[2]int{j, i}])
}

// Isolate parts a server from all others; clients still reach it.
func (c *Cluster) Isolate(i int) {
	for j := range c.nodes {
		if j != i {
			c.Part(i, j)
		}
	}
}

// Rejoin undoes Isolate.
func (c *Cluster) Rejoin(i int) {
	for j := range c.nodes {
		if j != i {
			c.Join(i, j)
		}
	}
}

// URL is where clients reach a server, with credentials if user is not empty.
func (c *Cluster) URL(i int, user, password string) string {
	u := url.URL{Scheme: "nats", Host: c.nodes[i].door.address()}
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// URLs are those of all servers, as nats.go takes them.
func (c *Cluster) URLs(user, password string) string {
	all := make([]string, len(c.nodes))
	for i := range c.nodes {
		all[i] = c.URL(i, user, password)
	}
	return strings.Join(all, ",")
}

func (c *Cluster) end() {
	for i, n := range c.nodes {
		c.Kill(i)
		n.door.close()
		if c.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(n.Dir, "log"))
			c.t.Logf("log of %s:\n%s", n.Name, withoutHealth(text))
		}
	}
	for _, l := range c.links {
		l.close()
	}
}

// withoutHealth is the end of a server's log without what Healthy caused.
func withoutHealth(log []byte) string {
	var told []string
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, "Healthcheck failed") {
			told = append(told, line)
		}
	}
	return strings.Join(told[max(0, len(told)-30):], "")
}
