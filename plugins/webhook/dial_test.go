package webhook_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// TestPrivateAddresses: none is dialled unless its network is allowed, whatever name leads to it.
func TestPrivateAddresses(t *testing.T) {
	r := newReceiver(t, nil)
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "[::127.0.0.1]", "[ff02::1]",
	} {
		p := open(t, plugin.Values{"url": "http://" + host + ":" + port + "/", "request-timeout": "5s", "allow-networks": "203.0.113.0/24,10.1.2.4"})
		o := deliverOne(t, p)
		if o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), "is not public") && !errors.Is(o.Err, syscall.EAFNOSUPPORT) {
			t.Errorf("%s: got %s, %v", host, o.Status, o.Err)
		}
		if err := p.Test(t.Context()); err == nil {
			t.Errorf("%s: the test went through", host)
		}
	}
	if n := len(r.all()); n != 0 {
		t.Fatalf("got %d requests", n)
	}
	p := open(t, plugin.Values{"url": "http://localhost:" + port + "/", "allow-networks": loopback})
	if o := deliverOne(t, p); o.Status != plugin.StatusDone {
		t.Errorf("allowed: got %s, %v", o.Status, o.Err)
	}
}

// TestRedirects are followed nowhere, not even to where the receiver may be.
func TestRedirects(t *testing.T) {
	inner := newReceiver(t, nil)
	r := newReceiver(t, func(w http.ResponseWriter, request *http.Request) {
		http.Redirect(w, request, inner.URL, http.StatusTemporaryRedirect)
	})
	o := deliverOne(t, open(t, plugin.Values{"url": r.URL, "allow-networks": loopback}))
	if o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), "redirects are not followed") {
		t.Errorf("got %s, %v", o.Status, o.Err)
	}
	if n := len(inner.all()); n != 0 {
		t.Errorf("got %d requests where the redirect led", n)
	}
}

// TestProxies of the environment are not used: the address that is looked at would be the proxy's.
func TestProxies(t *testing.T) {
	proxy := newReceiver(t, nil)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	if o := deliverOne(t, open(t, plugin.Values{"url": "http://10.9.8.7/", "request-timeout": "2s"})); o.Status != plugin.StatusRetry || len(proxy.all()) != 0 {
		t.Errorf("got %s, %v, and %d requests to the proxy", o.Status, o.Err, len(proxy.all()))
	}
}

// TestCertificates: a receiver that cannot show who it is gets nothing.
func TestCertificates(t *testing.T) {
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.EnableHTTP2 = true
	r.StartTLS()
	t.Cleanup(r.Close)
	if o := deliverOne(t, open(t, plugin.Values{"url": r.URL, "allow-networks": loopback})); o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), "certificate") {
		t.Errorf("got %s, %v", o.Status, o.Err)
	}
	if n := len(r.all()); n != 0 {
		t.Errorf("got %d requests", n)
	}
	ca := string(pemOf(r.Certificate().Raw))
	if o := deliverOne(t, open(t, plugin.Values{"url": r.URL, "allow-networks": loopback, "ca": ca})); o.Status != plugin.StatusDone {
		t.Errorf("got %s, %v", o.Status, o.Err)
	}
}

// TestAReceiverThatIsAway is asked once for a batch, not once for each change.
func TestAReceiverThatIsAway(t *testing.T) {
	r := newReceiver(t, nil)
	p := open(t, plugin.Values{"url": r.URL, "allow-networks": loopback})
	r.Close()
	began := time.Now()
	for i := range 20 {
		if o := deliverOne(t, p); o.Status != plugin.StatusRetry || o.After != 0 {
			t.Fatal(fmt.Sprint(i, ": got ", o))
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("20 calls took %s", took)
	}
}

func pemOf(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}
