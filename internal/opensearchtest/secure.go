package opensearchtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/eventfuldb/eventful/internal/opensearchnode"
)

// Secure is a node with the security plugin: TLS, and basic authentication.
type Secure struct {
	*Node
	CA     []byte // PEM of the certificate that signed the node's
	Client *http.Client
}

// Users of a Secure node. The first may do everything, the second may do what the plugin needs on what begins with `ev`.
const (
	Admin, AdminPassword   = "admin", "Kjq7-Umbrella-Fig-31"
	Writer, WriterPassword = "writer", "Pd5-Harbour-Nut-62"
)

// StartSecure starts a node with the security plugin. It ends with the test.
func StartSecure(t testing.TB) *Secure {
	t.Helper()
	s := &Secure{Node: &Node{&opensearchnode.Node{Dir: Dir(t), Home: t.TempDir()}}}
	if err := s.configure(); err != nil {
		t.Fatalf("configure OpenSearch: %v", err)
	}
	s.Begin(t)
	t.Cleanup(s.Kill)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	s.Client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	s.awaitUsers(t)
	return s
}

// awaitUsers waits until the node has read its users, which it does behind its start.
func (s *Secure) awaitUsers(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(opensearchnode.Patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		req, err := http.NewRequest(http.MethodGet, "https://"+s.Addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(Admin, AdminPassword)
		res, err := s.Client.Do(req)
		if err == nil {
			if err := res.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("OpenSearch took no user in %s: %v", opensearchnode.Patience, err)
		}
	}
}

func (s *Secure) configure() error {
	config := filepath.Join(s.Home, "config", "opensearch-security")
	plugin := filepath.Join(s.Dir, "security", "plugins", "opensearch-security")
	plugins := filepath.Join(s.Home, "plugins")
	for _, dir := range []string{config, plugins} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Symlink(plugin, filepath.Join(plugins, "opensearch-security")); err != nil {
		return err
	}
	for _, name := range []string{"action_groups", "allowlist", "audit", "config", "nodes_dn", "roles", "roles_mapping", "tenants"} {
		content, err := os.ReadFile(filepath.Join(plugin, "config", name+".yml"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(config, name+".yml"), append(content, more[name]...), 0o600); err != nil {
			return err
		}
	}
	users := "_meta: {type: internalusers, config_version: 2}\n"
	for name, password := range map[string]string{Admin: AdminPassword, Writer: WriterPassword} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		users += fmt.Sprintf("%s: {hash: %q, backend_roles: [%s]}\n", name, hash, name)
	}
	if err := os.WriteFile(filepath.Join(config, "internal_users.yml"), []byte(users), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.Home, "config", "opensearch.yml"), []byte(settings), 0o600); err != nil {
		return err
	}
	return s.certificates(filepath.Join(s.Home, "config"))
}

// more is added to files of the security plugin.
var more = map[string]string{
	"roles": `
ev_writer:
  cluster_permissions: [cluster_composite_ops, cluster_monitor, "indices:admin/index_template/*"]
  index_permissions:
  - {index_patterns: ["ev*"], allowed_actions: [crud, create_index, manage, manage_aliases]}
`,
	"roles_mapping": "\nev_writer: {backend_roles: [writer]}\n",
}

const settings = `plugins.security.ssl.transport.pemcert_filepath: node.pem
plugins.security.ssl.transport.pemkey_filepath: node.key
plugins.security.ssl.transport.pemtrustedcas_filepath: ca.pem
plugins.security.ssl.http.enabled: true
plugins.security.ssl.http.pemcert_filepath: node.pem
plugins.security.ssl.http.pemkey_filepath: node.key
plugins.security.ssl.http.pemtrustedcas_filepath: ca.pem
plugins.security.nodes_dn: ["CN=node"]
plugins.security.authcz.admin_dn: ["CN=administrator"]
plugins.security.allow_default_init_securityindex: true
plugins.security.restapi.roles_enabled: ["all_access"]
`

// certificates makes a CA and a certificate of the node that it signed.
func (s *Secure) certificates(dir string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	until := time.Now().Add(24 * time.Hour)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	node := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: ca.NotBefore, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	caCert, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, node, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caCert})
	chain := bytes.Join([][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), s.CA}, nil)
	for name, content := range map[string][]byte{"ca.pem": s.CA, "node.pem": chain, "node.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
