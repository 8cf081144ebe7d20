// Package node runs the NATS server inside the process: operator mode, three accounts, an encrypted JetStream store that flushes every write.
//
// Side effects of Start in order, and what a crash behind each leaves: (1) the lock on the store: nothing, the kernel frees it; (2) the key check: it says which
// key the store has, whether or not anything was stored yet; (3) account JWTs for the resolver, each only where there is none that is as new: they are as
// good as before; (4) the server: JetStream recovers its store by itself. Shutdown undoes 4 and 1.
//
// A server that could not write its store takes nothing more until it is started anew. The node does that by itself when the store can be written again (keep.go);
// connections of engines and clients find the new server, on the same port.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxPayload lets a value of the full 1 MiB through even where JSON escapes make it six times as long, and lets the writer, not the server, say
// what is too long: beyond max_payload a client is cut off without an answer. nats-server warns above 8 MiB.
const maxPayload = 8 << 20

// maxControlLine lets a CONNECT line carry the largest token (16 KiB) with its signature; the default of 4 KiB ends at about 25 aggregate types.
const maxControlLine = 24 << 10

// maxStore is no limit: nats-server would take a share of the disk as it is at the start. The writer guards free space itself.
const maxStore = 1 << 60

// readyPatience bounds the wait for a server that has recovered its store to accept connections.
const readyPatience = 20 * time.Second

// Config says how the server runs. All fields but Log and NoSync must be set.
type Config struct {
	StoreDir    string // folder of JetStream, made with mode 0700; one server at a time
	ResolverDir string // folder of account JWTs, made with mode 0700
	Host        string // address to listen on
	Port        int    // 0: any free one
	Keyring     *keyring.Keyring
	Secrets     *keyring.Secrets
	Log         zerolog.Logger
	NoSync      bool // DANGER: do not flush each write; acknowledged events can be lost. For benchmarks only

	// TLS protects connections over the network; nil: they are in the clear. Those in this process are not concerned.
	TLS *tls.Config

	// ConnectFailures is how many connections a second an address may make over TLS that are not authenticated, and ten times as many at once; beyond, it is refused for some seconds
	// (refuse.go). 0: any number. Without TLS it limits nothing.
	ConnectFailures int
	Metrics         prometheus.Registerer // nil: none

	// Usable tells whether the store can be written again after it could not; nil: try at once.
	Usable func() error
}

// Node is a running server. Safe for concurrent use.
type Node struct {
	config  Config
	lock    *lock
	keeper  *keeper
	refuser *refuser // nil: nobody is refused

	mu       sync.Mutex // guards what follows
	server   *server.Server
	opened   bool // the server serves every stream of its store
	accounts *accounts
	fault    error // why the store cannot be written; nil: it can
	faults   int   // how many there were
}

// Start returns when the server accepts connections and JetStream serves every stream in the store. Where the caller can do something about it
// the error is a *problem.Problem with a hint: port taken, store in use, store of another key, streams that cannot be opened. After an error
// nothing is left running. ctx bounds the start alone.
func Start(ctx context.Context, c Config) (*Node, error) {
	if err := probe(c.Host, c.Port); err != nil {
		return nil, err
	}
	lock, err := acquire(c.StoreDir)
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, lock: lock, refuser: newRefuser(c)}
	n.keeper = newKeeper(n)
	if err := n.start(ctx); err != nil {
		n.Shutdown()
		return nil, err
	}
	n.config.Port = n.port() // the one that it got: a server that is started anew must be found there
	n.keeper.begin()
	return n, nil
}

func (n *Node) start(ctx context.Context) (err error) {
	if err := checkKey(n.config.StoreDir, n.config.Secrets.JetStreamKey); err != nil {
		return err
	}
	accounts, err := openAccounts(n.config.ResolverDir, n.config.Keyring, n.config.Secrets)
	if err != nil {
		return err
	}
	options, err := n.options(accounts)
	if err != nil {
		accounts.resolver.Close()
		return err
	}
	s, err := server.NewServer(options)
	if err != nil {
		accounts.resolver.Close()
		return fmt.Errorf("set up the NATS server: %w", err)
	}
	n.set(s, accounts)
	bridge := newBridge(n.config.Log, n.keeper.report, n.refuser)
	s.SetLoggerV2(bridge, bridge.debug(), false, false)
	if err := n.openStore(ctx, s, bridge); err != nil {
		return err
	}
	n.mu.Lock()
	n.opened = true
	n.mu.Unlock()
	return n.SaveAccounts()
}

// openStore runs the server on its store. If a stream cannot be opened, or anything else fails, the store is behind it what it was before.
func (n *Node) openStore(ctx context.Context, s *server.Server, bridge *bridge) error {
	dir := n.config.StoreDir
	if err := giveBack(dir); err != nil {
		return err
	}
	removed, err := Mend(dir)
	for _, path := range removed {
		n.config.Log.Warn().Str("path", path).Msg("what a killed server had begun in its store was removed; it held no message")
	}
	if err != nil {
		return err
	}
	there, err := streamsOnDisk(dir)
	if err != nil {
		return err
	}
	switch err := hold(dir); {
	case errors.Is(err, errNoLinks):
		n.config.Log.Warn().Err(err).Msg("store is opened without a second name for its files: nats-server removes streams that it cannot open")
	case err != nil:
		return err
	}
	var dropped []string
	if err = n.run(ctx, s, bridge); err == nil {
		dropped, err = checkStreams(s, dir, there)
	}
	for _, name := range dropped {
		n.config.Log.Warn().Str("stream", name).Msg("stream that could not be opened was removed; it is built anew")
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return errors.Join(err, giveBack(dir))
	}
	return release(dir)
}

func (n *Node) set(s *server.Server, a *accounts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server, n.accounts, n.opened = s, a, false
}

// now is the present server with its accounts; nil while there is none.
func (n *Node) now() (*server.Server, *accounts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server, n.accounts
}

// run starts the server and waits until it is ready; recovering a large store takes its time, so only ctx bounds that.
func (n *Node) run(ctx context.Context, s *server.Server, bridge *bridge) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start the NATS server: %w", err)
	}
	started := make(chan struct{})
	go func() { defer close(started); s.Start() }()
	select {
	case <-started:
	case <-ctx.Done():
		s.Shutdown()
		<-started
		return fmt.Errorf("start the NATS server: %w", ctx.Err())
	}
	if err := bridge.fatal(); err != nil {
		return listenProblem(n.config.Host, n.config.Port, fmt.Errorf("start the NATS server: %w", err))
	}
	if !s.ReadyForConnections(readyPatience) {
		return problem.New(problem.Unavailable, "the NATS server was not ready within %s", readyPatience).WithHint("look into the log for the reason")
	}
	if !s.JetStreamEnabled() {
		return errors.New("start the NATS server: JetStream did not start")
	}
	return nil
}

// ClientURL is where clients connect to.
func (n *Node) ClientURL() string {
	host := n.config.Host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(n.config.Port))
}

// PublicURL is where clients outside this process connect to: ClientURL, with the scheme that says whether there is TLS.
func (n *Node) PublicURL() string {
	if n.config.TLS == nil {
		return n.ClientURL()
	}
	return "tls" + strings.TrimPrefix(n.ClientURL(), "nats")
}

func (n *Node) port() int {
	s, _ := n.now()
	if a, ok := s.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return n.config.Port
}

// InProcessConn is part of nats.InProcessConnProvider: connections go to the present server, once it has opened its store. Until then they try again: nats-server 2.15 takes one as soon
// as it begins to start, opens the streams of its account beside the start, which then ends before they are open, and tells the connection that they are not there.
func (n *Node) InProcessConn() (net.Conn, error) {
	n.mu.Lock()
	s, opened := n.server, n.opened
	n.mu.Unlock()
	if !opened {
		return nil, errors.New("the NATS server is being started anew")
	}
	return s.InProcessConn()
}

// Options gives what an in-process connection of an engine needs: the server, and a new user with all rights in the account. The name is for
// monitoring. They can be joined with further ones, as the log's connection needs.
func (n *Node) Options(account keyring.Account, name string) ([]nats.Option, error) {
	userJWT, seed, err := n.config.Secrets.EngineUser(account, name)
	if err != nil {
		return nil, fmt.Errorf("make credentials of %s: %w", name, err)
	}
	return []nats.Option{nats.Name(name), nats.InProcessServer(n), nats.UserJWTAndSeed(userJWT, string(seed))}, nil
}

// Conn connects an engine in this process to an account, with all rights in it. The caller closes the connection before Shutdown.
func (n *Node) Conn(account keyring.Account, extra ...nats.Option) (*nats.Conn, error) {
	options, err := n.Options(account, "engine")
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(n.ClientURL(), append(options, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to account %s: %w", account, err)
	}
	return nc, nil
}

// AccountJWT is the account as the server has it at present.
func (n *Node) AccountJWT(account keyring.Account) (string, error) {
	_, a := n.now()
	if a == nil {
		return "", errors.New("read an account: the NATS server is being started anew")
	}
	return a.present(n.config.Keyring.AccountID(account))
}

// SaveAccounts makes the present account JWTs survive a power cut: the server writes them without a flush. It is called after every update of an
// account, before the update is confirmed to anybody.
func (n *Node) SaveAccounts() error {
	_, a := n.now()
	if a == nil {
		return errors.New("save the accounts: the NATS server is being started anew")
	}
	return a.save()
}

// Shutdown ends the server, waits for it, and frees the store. It may be called more than once, but not at the same time.
func (n *Node) Shutdown() {
	n.keeper.end()
	n.stop()
	n.lock.release()
}

// stop ends the present server, if there is one.
func (n *Node) stop() {
	s, a := n.now()
	n.set(nil, nil)
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	if a != nil {
		a.resolver.Close()
	}
}
