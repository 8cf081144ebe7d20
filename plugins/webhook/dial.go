package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxHeaders is how many bytes of headers of an answer are read.
const maxHeaders = 64 << 10

// errNotPublic: the receiver's name stands for an address that the configuration does not allow.
var errNotPublic = errors.New("is not public, and --" + optionNetworks + " does not name its network")

// special are networks that no public host has an address of, or that lead to others by translation (RFC 6890 and the registries of IANA), besides
// those that netip tells.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("fec0::/10"),
}

// public reports whether any host of the Internet may have the address.
func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parseNetworks reads networks, and single addresses as networks of one.
func parseNetworks(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); err != nil && single == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return nil, fmt.Errorf("%.60q is no network, as 10.1.0.0/16 and fd00:1::/32 are", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// allowed looks at an address that is about to be dialled: what a name has come to, at this very moment.
func allowed(networks []netip.Prefix, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %.60q: %w", address, err)
	}
	a := at.Addr().WithZone("").Unmap()
	if public(a) || slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return nil
	}
	return fmt.Errorf("the receiver's address %s %w", a, errNotPublic)
}

// newClient makes what sends requests: straight to the receiver, by no proxy of the environment, and nowhere else.
func newClient(networks []netip.Prefix, roots *x509.CertPool, parallel int) *http.Client {
	dialer := &net.Dialer{
		Timeout: 10 * time.Second,
		Control: func(network, address string, _ syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return fmt.Errorf("dial %s: %w", network, net.UnknownNetworkError(network))
			}
			return allowed(networks, address)
		},
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4 * parallel, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: maxHeaders, DisableCompression: true,
		},
	}
}
