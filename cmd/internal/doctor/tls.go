package doctor

import (
	"crypto/x509"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// renewal is how long before its end a certificate should have been renewed.
const renewal = 30 * 24 * time.Hour

// certificate looks at the certificate of the server on the data folder, or whether it needs one.
func (x *examination) certificate() {
	switch {
	case x.Certificate != "":
		c, err := run.Certificate(x.Certificate)
		if err != nil {
			x.found(checkTLS, "name the right file with `eventful config --tls-cert=FILE --tls-key=FILE`", "%v", err)
			return
		}
		x.expiry(x.Certificate, c)
	case x.URL != "" && x.Running == nil:
	case x.Host == "" || run.IsLoopback(x.Host):
		x.ok(checkTLS, "none, and this machine alone reaches the server")
	default:
		x.found(checkTLS, "`eventful config --tls-cert=FILE --tls-key=FILE`, or keep the server to loopback", "the server listens on %s without TLS", x.Host)
	}
}

func (x *examination) expiry(whose string, c *x509.Certificate) {
	const remedy = "renew it; a server of EventfulDB takes the new files by itself, a nats-server when it is told to reload"
	end := c.NotAfter.UTC().Format(time.RFC3339)
	switch left := c.NotAfter.Sub(x.Now()); {
	case left <= 0:
		x.found(checkTLS, remedy, "%s: the certificate has expired at %s", whose, end)
	case c.NotBefore.After(x.Now()):
		x.found(checkTLS, "look at the clock; else make another one", "%s: the certificate is not valid before %s", whose, c.NotBefore.UTC().Format(time.RFC3339))
	case left < renewal:
		x.found(checkTLS, remedy, "%s: the certificate expires at %s, in %d days", whose, end, int(left.Hours()/24))
	default:
		x.ok(checkTLS, "%s: the certificate is valid until %s", whose, end)
	}
}

// outside looks at the certificate that servers elsewhere show.
func (x *examination) outside(nc *nats.Conn) {
	if x.Running != nil {
		return // its file was looked at
	}
	state, err := nc.TLSConnectionState()
	if err == nil && len(state.PeerCertificates) > 0 {
		x.expiry(nc.ConnectedUrlRedacted(), state.PeerCertificates[0])
		return
	}
	if at, err := url.Parse(nc.ConnectedUrl()); err == nil && !run.IsLoopback(at.Hostname()) {
		x.found(checkTLS, "give the nats-servers a tls block and use tls:// addresses, or see that the network is protected otherwise", "the connection to %s is in the clear", strings.TrimSpace(at.Host))
		return
	}
	x.ok(checkTLS, "none, and the servers are on this machine")
}
