package node

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// options are the settings of the server; each is what docs/spec and the guarantees rest on.
func (n *Node) options(accounts *accounts) (*server.Options, error) {
	c := n.config
	operator, err := jwt.DecodeOperatorClaims(c.Keyring.OperatorJWT())
	if err != nil {
		return nil, fmt.Errorf("read operator: %w", err)
	}
	port := c.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName:             "eventful-" + c.Keyring.Site(),
		Host:                   c.Host,
		Port:                   port,
		TLSConfig:              n.refuser.protect(c.TLS),
		NoSigs:                 true, // the process has its own signals
		MaxPayload:             maxPayload,
		MaxControlLine:         maxControlLine,
		TrustedOperators:       []*jwt.OperatorClaims{operator},
		SystemAccount:          c.Keyring.AccountID(keyring.SYS),
		AccountResolver:        accounts.resolver,
		JetStream:              true,
		StoreDir:               c.StoreDir,
		JetStreamMaxStore:      maxStore,
		JetStreamKey:           c.Secrets.JetStreamKey,
		JetStreamCipher:        server.AES, // ChaCha made the first answer after a kill seven times as slow
		SyncAlways:             !c.NoSync,  // the default loses two minutes of acknowledged messages in a power cut
		NoJetStreamStrict:      false,      // refuse API requests with unknown fields
		DisableJetStreamBanner: true,
	}, nil
}

// probe says early, before the store is opened, that a port is taken.
func probe(host string, port int) error {
	if port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return listenProblem(host, port, err)
	}
	return l.Close()
}

// listenProblem turns the reason why a port cannot be had into one with a hint; other errors pass.
func listenProblem(host string, port int, err error) error {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	var listening *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return problem.New(problem.Unavailable, "NATS port %s is taken by another program", address).
			WithHint("stop the other program, or choose another port with --nats-port")
	case errors.As(err, &listening):
		return problem.New(problem.Unavailable, "NATS cannot listen on %s: %s", address, listening.Err).
			WithHint("choose another address or port (--nats-port)")
	}
	return err
}
