package main

import (
	"crypto/tls"
	"strings"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// protection is how a server's ports are protected.
func (a *app) protection() run.TLS {
	return run.TLS{Cert: a.settings.TLSCert, Key: a.settings.TLSKey, Insecure: a.settings.Insecure}
}

// trust is whom a client of url believes: the CA that is named, or the certificate of the server on the data folder. nil: the system's roots, where there is TLS at all.
func (a *app) trust(url string) (*tls.Config, error) {
	secure := strings.HasPrefix(url, "tls://") || strings.HasPrefix(url, "https://")
	if a.settings.TLSCA != "" && (secure || a.settings.Given("tls-ca")) {
		return run.Trusting(a.settings.TLSCA)
	}
	if !secure || a.settings.Server != "" {
		return nil, nil
	}
	info, err := run.Find(a.settings.DataDir)
	if err != nil {
		return nil, err
	}
	return info.Pinned(), nil
}
