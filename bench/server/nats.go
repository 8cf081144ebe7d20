package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

const (
	maxPayload = 8 << 20         // as `eventful start`
	loopback   = "127.0.0.1"     // the benchmark leaves the machine alone
	patience   = 2 * time.Minute // until a large store is open
)

// connector opens a connection to the servers.
type connector func(...nats.Option) (*nats.Conn, error)

// bareServer starts a server without accounts, or, with --url, connects to the cluster in the account of the logs.
func bareServer(c config) (address string, connect connector, stop func(), err error) {
	if c.url != "" {
		keys, err := openKeys(c.dir)
		if err != nil {
			return "", nil, nil, err
		}
		options, err := keys.user(keyring.LOG)
		if err != nil {
			return "", nil, nil, err
		}
		return c.url, func(o ...nats.Option) (*nats.Conn, error) { return nats.Connect(c.url, append(options, o...)...) }, func() {}, nil
	}
	o := &server.Options{
		ServerName: "bare", Host: loopback, Port: c.port, NoSigs: true, MaxPayload: maxPayload, JetStream: true, StoreDir: c.dir, SyncAlways: !c.noSync,
		JetStreamMaxStore: 1 << 60, DisableJetStreamBanner: true,
	}
	if c.encrypt {
		o.JetStreamKey, o.JetStreamCipher = "a key of the benchmark, of no use elsewhere", server.AES
	}
	s, err := startServer(o)
	if err != nil {
		return "", nil, nil, err
	}
	connect = func(o ...nats.Option) (*nats.Conn, error) {
		return nats.Connect("", append(o, nats.InProcessServer(s))...)
	}
	return s.ClientURL(), connect, func() { stopServer(s) }, nil
}

func startServer(o *server.Options) (*server.Server, error) {
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("set up the NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		stopServer(s)
		return nil, errors.New("the NATS server was not ready in time")
	}
	return s, nil
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// siteKeys are the keys of a prepared data folder.
type siteKeys struct {
	*keyring.Keyring
	secrets *keyring.Secrets
}

func openKeys(dir string) (siteKeys, error) {
	ring, err := keyring.Load(filepath.Join(dir, "keys.json"))
	if err != nil {
		return siteKeys{}, err
	}
	secrets, err := ring.Open([]byte(os.Getenv("EVENTFUL_DEK")))
	return siteKeys{ring, secrets}, err
}

func (k siteKeys) user(a keyring.Account) ([]nats.Option, error) {
	userJWT, seed, err := k.secrets.EngineUser(a, "bench")
	return []nats.Option{nats.Name("bench"), nats.UserJWTAndSeed(userJWT, string(seed))}, err
}

// serverOptions are those of the server in `eventful start` (cmd/internal/node) on the same folder.
func (k siteKeys) serverOptions(c config, storeDir, resolverDir string) (*server.Options, error) {
	operator, err := jwt.DecodeOperatorClaims(k.OperatorJWT())
	if err != nil {
		return nil, fmt.Errorf("read operator: %w", err)
	}
	resolver, err := server.NewDirAccResolver(resolverDir, 0, time.Minute, server.NoDelete)
	if err != nil {
		return nil, fmt.Errorf("open account resolver: %w", err)
	}
	return &server.Options{
		ServerName: "eventful-" + k.Site(), Host: loopback, Port: c.port, NoSigs: true, MaxPayload: maxPayload, MaxControlLine: 24 << 10,
		TrustedOperators: []*jwt.OperatorClaims{operator}, SystemAccount: k.AccountID(keyring.SYS), AccountResolver: resolver,
		JetStream: true, StoreDir: storeDir, JetStreamMaxStore: 1 << 60, JetStreamKey: k.secrets.JetStreamKey, JetStreamCipher: server.AES,
		SyncAlways: !c.noSync, DisableJetStreamBanner: true,
	}, nil
}

// runNode runs one NATS server of a cluster. --dir is a prepared data folder of its own, whose store it does not use.
func runNode(ctx context.Context, c config, ready func(string)) error {
	keys, err := openKeys(c.dir)
	if err != nil {
		return err
	}
	o, err := keys.serverOptions(c, filepath.Join(c.dir, "node"), filepath.Join(c.dir, "accounts"))
	if err != nil {
		return err
	}
	ports := strings.Split(c.peers, ",")
	if c.node < 0 || c.node >= len(ports) {
		return fmt.Errorf("--node=%d of %d peers", c.node, len(ports))
	}
	o.ServerName = "node" + strconv.Itoa(c.node)
	o.Cluster = server.ClusterOpts{Name: "bench", Host: loopback}
	if o.Cluster.Port, err = strconv.Atoi(ports[c.node]); err != nil {
		return fmt.Errorf("--peers: %w", err)
	}
	for i, port := range ports {
		if i != c.node {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: net.JoinHostPort(loopback, port)})
		}
	}
	s, err := startServer(o)
	if err != nil {
		return err
	}
	defer stopServer(s)
	ready(s.ClientURL())
	<-ctx.Done()
	return nil
}

// runTarget runs a NATS server with JetStream, with nothing set but where it listens and what it keeps: what plugins of type nats deliver to.
func runTarget(ctx context.Context, c config, ready func(string)) error {
	s, err := startServer(&server.Options{Host: loopback, Port: c.port, NoSigs: true, JetStream: true, StoreDir: c.dir, JetStreamMaxStore: 1 << 60, DisableJetStreamBanner: true})
	if err != nil {
		return err
	}
	defer stopServer(s)
	ready(s.ClientURL())
	<-ctx.Done()
	return nil
}
