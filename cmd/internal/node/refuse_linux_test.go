package node_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// guarded is a node with TLS that refuses who fails too often.
type guarded struct {
	*node.Node
	site    *site
	trust   *tls.Config
	log     *lines
	metrics *prometheus.Registry
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}

func startGuarded(t *testing.T, failures int) *guarded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tls")
	if err := natstest.Certificate(path, time.Now().AddDate(0, 1, 0)); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(path+".pem", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(path + "-ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	g := &guarded{site: newSite(t), log: &lines{}, metrics: prometheus.NewRegistry(), trust: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "127.0.0.1"}}
	g.site.config.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	g.site.config.ConnectFailures, g.site.config.Metrics, g.site.config.Log = failures, g.metrics, zerolog.New(g.log).Level(zerolog.InfoLevel)
	g.Node = g.site.start(t)
	return g
}

// counter is the present value of a metric.
func (g *guarded) counter(t *testing.T, name string) int {
	t.Helper()
	all, err := g.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == name {
			return int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// open opens a connection from an address of this machine, and reads what the server says first.
func (g *guarded) open(t *testing.T, source string) (c net.Conn, nonce string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	c, err := dialer.Dial("tcp", strings.TrimPrefix(g.ClientURL(), "nats://"))
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	line, err := bufio.NewReaderSize(c, 16<<10).ReadString('\n')
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err != nil || json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info) != nil {
		t.Fatalf("got %q, %v, want INFO", line, err)
	}
	return c, info.Nonce
}

// says opens a connection, ends the handshake, and says something; it gives what it then reads.
func (g *guarded) says(t *testing.T, source, text string) (answer string, err error) {
	t.Helper()
	raw, _ := g.open(t, source)
	c := tls.Client(raw, g.trust)
	if err := c.Handshake(); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

const wrongConnect = `CONNECT {"jwt":"wrong","lang":"go","name":"anybody"}` + "\r\nPING\r\n"

// TestWhatCounts: every connection that ends before it was authenticated counts once, however it ends, and no other does, whatever it calls itself. It holds nats-server to the
// words that refuse.go reads.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, 1000)
	const source = "127.0.0.2"
	userJWT, seed, err := g.site.config.Secrets.EngineUser(keyring.APP, "engine")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "authentication error", connectionEnds, "x - cid:1 - " + connectionEnds} {
		nc, err := nats.Connect(g.PublicURL(), nats.UserJWTAndSeed(userJWT, string(seed)), nats.Name(name), nats.Secure(g.trust), nats.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	g.nameless(t, source, userJWT, seed)

	ends := map[string]func(){
		"a wrong credential":          func() { g.denied(t, source, wrongConnect) },
		"no credential":               func() { g.denied(t, source, "CONNECT {}\r\n") },
		"a command before CONNECT":    func() { g.denied(t, source, "PUB a 1\r\nx\r\n") },
		"no NATS":                     func() { g.denied(t, source, "GET / HTTP/1.1\r\n\r\n") },
		"nothing behind a handshake":  func() { _, _ = g.says(t, source, "") },
		"no TLS":                      func() { c, _ := g.open(t, source); _, _ = c.Write([]byte(wrongConnect)); c.Close() },
		"nothing at all":              func() { c, _ := g.open(t, source); c.Close() },
		"a handshake that is refused": func() { g.handshake(t, source, func(net.Conn) error { return errors.New("not this server") }) },
		"a handshake that is given up": func() {
			g.handshake(t, source, net.Conn.Close)
		},
		"hung up behind a handshake": func() {
			c, _ := g.open(t, source)
			if err := tls.Client(c, g.trust).Handshake(); err != nil {
				t.Error(err)
			}
			c.Close()
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			before := g.counter(t, "eventful_connect_failures_total")
			end()
			until(t, func() bool { return g.counter(t, "eventful_connect_failures_total") > before })
		})
	}
	if got := g.counter(t, "eventful_connect_failures_total"); got != len(ends) {
		t.Errorf("got %d failures counted, want %d", got, len(ends))
	}
}

// connectionEnds are words that the server says of connections.
const connectionEnds = "%s connection closed: %s"

// nameless connects with a good credential and nothing else.
func (g *guarded) nameless(t *testing.T, source, userJWT string, seed []byte) {
	t.Helper()
	raw, nonce := g.open(t, source)
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := pair.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, g.trust)
	if _, err := fmt.Fprintf(c, `CONNECT {"jwt":%q,"sig":%q,"verbose":true}`+"\r\n", userJWT, base64.RawURLEncoding.EncodeToString(signed)); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || answer != "+OK\r\n" {
		t.Fatalf("got %q, %v, want +OK", answer, err)
	}
	c.Close()
}

func (g *guarded) denied(t *testing.T, source, text string) {
	t.Helper()
	if answer, err := g.says(t, source, text); err != nil || !strings.HasPrefix(answer, "-ERR") {
		t.Errorf("got %q, %v, want -ERR", answer, err)
	}
}

// handshake begins one that ends as the client sees the certificate.
func (g *guarded) handshake(t *testing.T, source string, end func(net.Conn) error) {
	t.Helper()
	raw, _ := g.open(t, source)
	trust := g.trust.Clone()
	trust.VerifyConnection = func(tls.ConnectionState) error { return errors.Join(end(raw), errors.New("seen")) }
	if err := tls.Client(raw, trust).Handshake(); err == nil {
		t.Error("got a handshake, want none")
	}
}

// TestRefused: an address that failed too often has its handshakes refused. What it has open is served, as are other addresses; the log has one line for all that.
func TestRefused(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, 1)
	userJWT, seed, err := g.site.config.Secrets.EngineUser(keyring.APP, "engine")
	if err != nil {
		t.Fatal(err)
	}
	good := func(source string) (*nats.Conn, error) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		return nats.Connect(g.PublicURL(), nats.UserJWTAndSeed(userJWT, string(seed)), nats.SetCustomDialer(dialer), nats.Secure(g.trust), nats.Timeout(patience))
	}
	open, err := good("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	failed := 0
	until(t, func() bool {
		if answer, err := g.says(t, "127.0.0.2", wrongConnect); err == nil && strings.HasPrefix(answer, "-ERR") {
			failed++
		}
		return g.log.count("are refused") == 1
	})
	if failed < 10 {
		t.Errorf("got refused behind %d failures, want 10 let pass", failed)
	}
	turned := g.counter(t, "eventful_connections_refused_total") // while the line was written
	for range 9 {                                                // fewer than the lines of the server that are written in a second
		if _, err := g.says(t, "127.0.0.2", wrongConnect); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Fatalf("got error %v, want the handshake refused", err)
		}
	}
	if got := g.log.count("handshake"); got != 0 {
		t.Errorf("got %d lines of handshakes, want none for what was refused", got)
	}
	if nc, err := good("127.0.0.2"); err == nil || !strings.Contains(err.Error(), "remote error: tls: internal error") { // as pkg/client knows it
		nc.Close()
		t.Errorf("a good credential from the address that is refused: got %v, want it refused", err)
	}
	if err := open.FlushTimeout(patience); err != nil || open.Stats().Reconnects != 0 {
		t.Errorf("what was open: got %v and %d reconnects", err, open.Stats().Reconnects)
	}
	other, err := good("127.0.0.3")
	if err != nil {
		t.Fatalf("another address: %v", err)
	}
	other.Close()
	for range 30 {
		g.denied(t, "127.0.0.1", wrongConnect)
	}
	if got := g.counter(t, "eventful_connections_refused_total") - turned; got != 10 {
		t.Errorf("got %d refused counted, want 10", got)
	}
	until(t, func() bool { return g.counter(t, "eventful_connect_failures_total") >= failed+30 })
	if got := g.counter(t, "eventful_connect_failures_total"); got != failed+30 {
		t.Errorf("got %d failures counted, want %d: none of what was refused", got, failed+30)
	}
}
