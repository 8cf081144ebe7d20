// Package jetlogtest runs a real nats-server inside a test: JetStream with sync always, an account LOG and the system account, on loopback.
package jetlogtest

import (
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// Site is the site of stores made by Store.
const Site = "test"

// Options change the server from what a production server is like.
type Options struct {
	// NoSync leaves sync_interval at the server's default of two minutes.
	NoSync bool
	// Lax has the server take any JSON for a request to JetStream.
	Lax bool
	// Domain is the JetStream domain.
	Domain string
	// MaxPayload is the largest message in bytes; 0: the server's default of 1 MiB.
	MaxPayload int32
}

// Server is a running server; it ends with its test.
type Server struct {
	t       testing.TB
	options Options
	dir     string
	port    int
	running *server.Server
}

// StartServer starts a server on a free port, with its files in a folder of the test.
func StartServer(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, options: o, dir: t.TempDir(), port: server.RANDOM_PORT}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server after Stop, on the same port with the same files.
func (s *Server) Start() {
	s.t.Helper()
	logs, system := server.NewAccount("LOG"), server.NewAccount("SYS")
	o := &server.Options{
		Host: "127.0.0.1", Port: s.port, ServerName: "test", NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.dir, SyncAlways: !s.options.NoSync, NoJetStreamStrict: s.options.Lax, JetStreamDomain: s.options.Domain,
		MaxPayload: s.options.MaxPayload, Accounts: []*server.Account{logs, system}, SystemAccount: "SYS",
		Users: []*server.User{{Username: "log", Password: "log", Account: logs}, {Username: "sys", Password: "sys", Account: system}},
	}
	running, err := server.NewServer(o)
	if err != nil {
		s.t.Fatalf("make server: %v", err)
	}
	running.Start()
	if !running.ReadyForConnections(10 * time.Second) {
		s.t.Fatal("server is not ready after 10 s")
	}
	account, err := running.LookupAccount("LOG")
	if err != nil {
		s.t.Fatalf("look up account: %v", err)
	}
	if err := account.EnableJetStream(nil, nil); err != nil {
		s.t.Fatalf("enable JetStream: %v", err)
	}
	s.running = running
	if s.port == server.RANDOM_PORT {
		s.port = o.Port
	}
}

// Stop ends the server and waits for it. A second call does nothing.
func (s *Server) Stop() {
	if s.running != nil {
		s.running.Shutdown()
		s.running.WaitForShutdown()
		s.running = nil
	}
}

// Dir is the folder with the server's files; change it only while the server is stopped.
func (s *Server) Dir() string { return s.dir }

// URL is where clients find the server, with the credentials of the account LOG.
func (s *Server) URL() string {
	u, err := url.Parse(s.running.ClientURL())
	if err != nil {
		s.t.Fatalf("parse client URL: %v", err)
	}
	u.User = url.UserPassword("log", "log")
	return u.String()
}

// Conn opens a log connection (jetlog.Connect) in the account LOG; it ends with the test.
func (s *Server) Conn(o ...nats.Option) *nats.Conn { return s.connect("log", o...) }

// SysConn opens a connection in the system account; it ends with the test.
func (s *Server) SysConn() *nats.Conn { return s.connect("sys") }

func (s *Server) connect(user string, o ...nats.Option) *nats.Conn {
	s.t.Helper()
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // the default one writes to the test's output
	nc, err := jetlog.Connect(s.running.ClientURL(), append([]nats.Option{nats.UserInfo(user, user), quiet}, o...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// Store makes a Store for Site on a connection of its own.
func (s *Server) Store() *jetlog.Store {
	s.t.Helper()
	store, err := jetlog.New(s.Conn(), Site, jetlog.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}
