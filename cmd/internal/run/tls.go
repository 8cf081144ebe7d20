package run

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// TLS says how the ports of a server are protected; the zero value: not at all, so they must be on loopback.
type TLS struct {
	Cert, Key string // PEM files; both or none. They are read again when they change
	Insecure  bool   // DANGER: listen off loopback without TLS; for networks that are protected otherwise
}

// Check refuses to listen beyond this machine without TLS.
func (t TLS) Check(host string) error {
	if t.Cert != "" || t.Insecure || IsLoopback(host) {
		return nil
	}
	if host == "" {
		host = `"" (all addresses)`
	}
	return problem.New(problem.Invalid, "%s is not loopback, and there is no TLS: tokens and data would cross the network in the clear", host).
		WithHint("give --tls-cert and --tls-key; or say --insecure where a tunnel or a private network protects it")
}

// IsLoopback reports whether only this machine reaches a host.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// config is what listeners take; nil without a certificate.
func (t TLS) config() (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	c := &certificate{cert: t.Cert, key: t.Key}
	if err := c.load(); err != nil {
		return nil, problem.New(problem.Invalid, "the certificate cannot be used: %v", err).WithHint("--tls-cert and --tls-key name PEM files that belong together; the key is its owner's alone")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// certificate is a pair of files that is read again when one of them changes, so that a renewed certificate needs no restart. What cannot be read leaves the old one.
type certificate struct {
	cert, key string

	mu      sync.Mutex // guards what follows
	present *tls.Certificate
	changed [2]time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed, err := c.times(); err == nil && changed != c.changed {
		_ = c.read(changed) // half of a renewal: the next handshake looks again
	}
	return c.present, nil
}

func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.times()
	if err != nil {
		return err
	}
	return c.read(changed)
}

func (c *certificate) times() (changed [2]time.Time, err error) {
	for i, path := range []string{c.cert, c.key} {
		info, err := os.Stat(path)
		if err != nil {
			return changed, err
		}
		if i == 1 && info.Mode().Perm()&0o007 != 0 {
			return changed, fmt.Errorf("the key in %s can be read by everybody (mode %04o)", path, info.Mode().Perm())
		}
		changed[i] = info.ModTime()
	}
	return changed, nil
}

func (c *certificate) read(changed [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.present, c.changed = &pair, changed
	return nil
}

// Trusting makes a client trust the certificates of a CA, a PEM file. The error is a *problem.Problem.
func Trusting(caFile string) (*tls.Config, error) {
	text, err := os.ReadFile(caFile)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(text) {
		err = errors.New("it holds no certificate in PEM")
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "the CA in %s cannot be used: %v", caFile, err).WithHint("--tls-ca names the PEM file of whom to trust")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// Pinned makes a client trust the server on a data folder: by exactly the certificate that it was started with, whatever names stand in it. nil: it has none.
func (i *Info) Pinned() *tls.Config {
	if i == nil || i.Certificate == "" {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter
		VerifyConnection: func(state tls.ConnectionState) error {
			own, err := Certificate(i.Certificate)
			if err != nil {
				return err
			}
			if !bytes.Equal(own.Raw, state.PeerCertificates[0].Raw) {
				return fmt.Errorf("the server shows another certificate than the one in %s", i.Certificate)
			}
			return nil
		},
	}
}

// Certificate is the first certificate of a PEM file: a server's own.
func Certificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("read certificate: %s holds none in PEM", path)
}
