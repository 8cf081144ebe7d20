package natstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Certificate makes PATH-ca.pem, PATH.pem and PATH.key: a CA of its own, and a certificate of it for 127.0.0.1, valid for a year before it ends.
func Certificate(path string, end time.Time) error {
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "CA of a test"}, NotBefore: end.AddDate(-1, 0, 0), NotAfter: end.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "server of a test"}, NotBefore: ca.NotBefore, NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	for _, one := range []struct {
		suffix, kind string
		made         func() ([]byte, error)
	}{
		{"-ca.pem", "CERTIFICATE", func() ([]byte, error) { return x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey) }},
		{".pem", "CERTIFICATE", func() ([]byte, error) { return x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey) }},
		{".key", "PRIVATE KEY", func() ([]byte, error) { return der, nil }},
	} {
		content, err := one.made()
		if err == nil {
			err = os.WriteFile(path+one.suffix, pem.EncodeToMemory(&pem.Block{Type: one.kind, Bytes: content}), 0o600)
		}
		if err != nil {
			return fmt.Errorf("make %s%s: %w", path, one.suffix, err)
		}
	}
	return nil
}
