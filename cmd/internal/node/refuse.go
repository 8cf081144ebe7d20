package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// refuser refuses the TLS handshakes of sources whose connections come to nothing too often: before any cryptography, and without touching what is open.
//
// nats-server has no hook for that, so it is told from both sides: the TLS configuration is asked for each handshake, and the server's log says how each connection ended. A
// connection counts that was closed before it was authenticated, whatever the reason: a wrong credential, none within the time for it, no NATS at all, or a handshake that failed
// or was given up. The handshake costs more than looking at a credential, so who hangs up behind it must not come off better.
type refuser struct {
	sources  *sources
	log      zerolog.Logger
	failures prometheus.Counter
	refused  prometheus.Counter
}

// newRefuser gives nil where nothing is limited: without TLS nobody can be refused before he is served.
func newRefuser(c Config) *refuser {
	if c.TLS == nil || c.ConnectFailures == 0 {
		return nil
	}
	r := &refuser{sources: newSources(c.ConnectFailures), log: c.Log,
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_connect_failures_total", Help: "NATS connections that ended before they were authenticated, without those that were refused."}),
		refused:  prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_connections_refused_total", Help: "NATS connections that were refused since too many of their address had failed."}),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(r.failures, r.refused)
	}
	return r
}

// errRefused ends a handshake. The client is told `internal error`: crypto/tls has no other alert for it.
var errRefused = errors.New("too many connections of this address were not authenticated")

// protect gives the configuration that asks before each handshake; r may be nil.
func (r *refuser) protect(config *tls.Config) *tls.Config {
	if r == nil {
		return config
	}
	config = config.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		address, err := netip.ParseAddrPort(hello.Conn.RemoteAddr().String())
		if err != nil {
			return nil, nil // a connection in this process
		}
		if from, counts := sourceOf(address.Addr()); counts && !r.sources.admit(from) {
			r.refused.Inc()
			return nil, errRefused
		}
		return nil, nil
	}
	return config
}

// What nats-server 2.15 says at the end of a connection that was not authenticated, behind its address and number. Of one that was, program and user stand in between, so
// nobody can have these words said of him, or not said.
const (
	handshakeEnd  = "TLS handshake error: %v%s"
	connectionEnd = "%s connection closed: %s"
)

// hears takes a message of the server, and says whether it speaks of what was refused here, which is not to be written. r may be nil.
func (r *refuser) hears(format string, v []any) (own bool) {
	if r == nil || len(v) != 2 {
		return false
	}
	head, number, _ := strings.Cut(format, " - cid:")
	_, what, _ := strings.Cut(number, " - ")
	switch what {
	case handshakeEnd:
		if err, ok := v[0].(error); ok && errors.Is(err, errRefused) {
			return true
		}
	case connectionEnd:
		switch v[1] {
		case server.TLSHandshakeError: // counted above
			return false
		case server.MaxConnectionsExceeded, server.MaxAccountConnectionsExceeded, server.ServerShutdown: // not the client's doing
			return false
		}
	default:
		return false
	}
	r.fail(strings.ReplaceAll(head, "%%", "%"), time.Now())
	return false
}

// fail counts a connection from address and port that came to nothing.
func (r *refuser) fail(remote string, now time.Time) {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return
	}
	r.failures.Inc()
	if from, counts := sourceOf(address.Addr()); counts && r.sources.fail(from, now) {
		r.log.Warn().Stringer("source", from).Str("last", remote).
			Msg("connections from an address are refused: too many were not authenticated. What is open is served on")
	}
}

// watch says when refusing ended, until ctx ends; r may be nil.
func (r *refuser) watch(ctx context.Context) {
	if r == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, one := range r.sources.settle(now) {
				r.log.Warn().Stringer("source", one.source).Int("refused", one.refused).Msg("connections from an address are taken again")
			}
		}
	}
}
