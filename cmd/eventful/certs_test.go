package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// certificate NAME DAYS makes NAME-ca.pem, NAME.pem and NAME.key: a CA of its own, and a certificate of it for 127.0.0.1 that ends in so many days.
func makeCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate NAME DAYS")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "CA of a test"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "server of a test"}, NotBefore: ca.NotBefore, NotAfter: time.Now().AddDate(0, 0, days),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	signed := func(c *x509.Certificate, public *ecdsa.PublicKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, public, caKey)
		ts.Check(err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, text := range map[string][]byte{
		"-ca.pem": signed(ca, &caKey.PublicKey), ".pem": signed(leaf, &key.PublicKey), ".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), text, 0o600))
	}
}
