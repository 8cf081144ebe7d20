package client_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// TestAddressIsRefused: a server that refuses an address ends the handshake with the only alert that it has; who connects from there is told what that means.
func TestAddressIsRefused(t *testing.T) {
	s := newSite(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, `INFO {"server_id":"x","tls_required":true,"max_payload":1024}`+"\r\n")
		_ = tls.Server(c, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("refused") }}).Handshake()
	}()
	_, err = client.Connect(t.Context(), client.Options{URL: "tls://" + listener.Addr().String(), Token: client.Static(s.token())})
	listener.Close()
	<-ended
	var p *problem.Problem
	if !errors.As(err, &p) || p.Code != problem.Unavailable || !strings.Contains(p.Hint, "refuses an address") {
		t.Errorf("got %v, want unavailable, with a hint at what the server does", err)
	}
}
