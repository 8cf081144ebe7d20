package plugin

import (
	"crypto/x509"
	"errors"
)

// CheckCertificates is the Check of an option whose file holds the certificates (PEM) that a target's own is signed by.
func CheckCertificates(value string) error {
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(value)) {
		return errors.New("there is no certificate in it; PEM is wanted, -----BEGIN CERTIFICATE-----")
	}
	return nil
}

// Certificates are those of an option with CheckCertificates; nil where it is not given, which in a tls.Config stands for those that the system trusts.
func (v Values) Certificates(name string) *x509.CertPool {
	if v[name] == "" {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(v[name]))
	return roots
}
