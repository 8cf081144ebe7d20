package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/internal/natstest"
)

// from is a dialer of one of this machine's addresses. That they are loopback does not exempt them: 127.0.0.1 and ::1 alone are.
func from(address string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patience}
}

// tlsFlood opens connections with wrong credentials over TLS from one address, as fast as they come.
type tlsFlood struct {
	s       *site
	address string
	clients int
	lasts   time.Duration
	denied  atomic.Int64 // got as far as their credential
	refused atomic.Int64 // got no handshake
}

// during floods while what runs, for f.lasts, and on until enough of count came; it gives the processor time that the server took meanwhile,
// and how long that was.
func (f *tlsFlood) during(count *atomic.Int64, enough int64, what func(context.Context)) (cost, took time.Duration) {
	f.denied.Store(0)
	f.refused.Store(0)
	pid, server := f.s.info().PID, strings.TrimPrefix(f.s.info().NATS, "tls://")
	before, began := processorTime(f.s.t, pid), time.Now()
	ctx, end := context.WithTimeout(context.Background(), f.lasts+patience)
	defer end()
	var running sync.WaitGroup
	running.Go(func() {
		defer end()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && (time.Since(began) < f.lasts || count.Load() < enough) {
			<-tick.C
		}
	})
	for range f.clients {
		running.Go(func() {
			for ctx.Err() == nil {
				f.once(server)
			}
		})
	}
	what(ctx)
	running.Wait()
	return processorTime(f.s.t, pid) - before, time.Since(began)
}

func (f *tlsFlood) once(server string) {
	raw, err := from(f.address).Dial("tcp", server)
	if err != nil {
		return // the port range is used up for a moment
	}
	defer raw.Close()
	_ = raw.(*net.TCPConn).SetLinger(0) // leaves no port behind
	if raw.SetDeadline(time.Now().Add(patience)) != nil {
		return
	}
	if _, err := bufio.NewReaderSize(raw, 16<<10).ReadString('\n'); err != nil { // INFO; nothing more comes before the handshake
		return
	}
	c := tls.Client(raw, f.s.trust)
	if err := c.Handshake(); err != nil {
		if strings.Contains(err.Error(), "internal error") {
			f.refused.Add(1)
		}
		return // or it took longer than nats-server waits, 2 s
	}
	if _, err := fmt.Fprintf(c, "CONNECT {\"jwt\":\"wrong\"}\r\nPING\r\n"); err != nil {
		return
	}
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(answer, "-ERR") {
		f.s.t.Errorf("a wrong CONNECT got %.100q, %v", answer, err)
	}
	f.denied.Add(1)
}

// guest is a stock client with a good token at an address.
func (s *site) guest(address string) (*nats.Conn, error) {
	return nats.Connect(s.info().NATS, nats.UserJWT(func() (string, error) { return s.token, nil }, func([]byte) ([]byte, error) { return nil, nil }),
		nats.CustomInboxPrefix(inboxOf(s.token)), nats.SetCustomDialer(from(address)), nats.Secure(s.trust), nats.Timeout(patience))
}

func (s *site) mustGuest(address string) *nats.Conn {
	s.t.Helper()
	nc, err := s.guest(address)
	if err != nil {
		s.t.Fatalf("a good token from %s: %v", address, err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// writes sends one command after the other until ctx ends, and gives how long each took.
func (s *site) writes(ctx context.Context, nc *nats.Conn) (all []time.Duration) {
	for ctx.Err() == nil {
		began := time.Now()
		answer, err := nc.RequestMsg(&nats.Msg{Subject: "cmd.patient.A.note", Header: nats.Header{"Eventful-Token": {s.token}}, Data: []byte(`{"text":"x"}`)}, patience)
		if err != nil || !bytes.Contains(answer.Data, []byte(`"commits"`)) {
			s.t.Errorf("a good token: got %v, %v", answer, err)
			return all
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all
}

// withTLS makes a running site whose ports are TLS, and gives the arguments that start it so.
func withTLS(t *testing.T, args ...string) (s *site, protected []string) {
	t.Helper()
	s = configuredSite(t)
	path := filepath.Join(s.root, "tls")
	if err := natstest.Certificate(path, time.Now().AddDate(0, 6, 0)); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(path + "-ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	s.trust = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "127.0.0.1"}
	protected = []string{"--tls-cert=" + path + ".pem", "--tls-key=" + path + ".key"}
	s.openWithSchema(append(protected, args...)...)
	return s, protected
}

// TestWrongConnectsOverTLS: with TLS, wrong CONNECTs of an address are refused before their handshake, beyond so many a second and ten times as many at once. Who is connected is served, from that
// address too, and other addresses get in. Processor time of what is refused and of what is not is printed, never judged.
func TestWrongConnectsOverTLS(t *testing.T) {
	t.Parallel()
	s, protected := withTLS(t, "--connect-failures=0")
	f := &tlsFlood{s: s, address: "127.0.0.2", clients: 16, lasts: 1500 * time.Millisecond}
	limit := 5.0 // less than the slowest machine makes
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		f.clients, f.lasts, limit = 64, 20*time.Second, 20 // the default
	}
	nc := s.mustGuest("127.0.0.3")
	quiet, end := context.WithTimeout(t.Context(), f.lasts)
	before := s.writes(quiet, nc)
	end()
	costDenied, tookDenied := f.during(&f.denied, 100, func(context.Context) {})
	denied := f.denied.Load()
	var unlimited []time.Duration
	f.during(&f.denied, 100, func(ctx context.Context) { unlimited = s.writes(ctx, nc) })
	if denied < 100 || f.refused.Load() != 0 {
		t.Fatalf("without a limit: got %d denied and %d refused, want all of many denied", denied, f.refused.Load())
	}
	nc.Close()
	s.stop()

	s.start(append(protected, fmt.Sprint("--connect-failures=", limit))...)
	nc, open := s.mustGuest("127.0.0.3"), s.mustGuest("127.0.0.2")
	log := filepath.Join(s.dir, "eventful.log")
	grown, began := size(t, log), time.Now()
	var limited []time.Duration
	f.during(&f.refused, 100, func(ctx context.Context) {
		limited = s.writes(ctx, nc)
		s.mustGuest("127.0.0.4").Close()
	})
	costRefused, tookRefused := f.during(&f.refused, 100, func(context.Context) {})
	refused, through := f.refused.Load(), f.denied.Load()
	failures := s.metric("eventful_connect_failures_total")
	if most := 10*limit + limit*time.Since(began).Seconds() + 3*float64(f.clients); failures < 10*limit || failures > most {
		t.Errorf("got %.0f failures let through in %s, want at most %.0f", failures, time.Since(began), most)
	}
	if refused < 100 || s.metric("eventful_connections_refused_total") < float64(refused) {
		t.Fatalf("got %d refused, and %.0f in the metrics", refused, s.metric("eventful_connections_refused_total"))
	}
	if err := open.FlushTimeout(patience); err != nil || open.Stats().Reconnects != 0 {
		t.Errorf("what was open: got %v and %d reconnects", err, open.Stats().Reconnects)
	}
	t.Logf("%.0f wrong CONNECTs a second without a limit, %s of processor time each; with it %.0f a second refused, %s each (%d not refused among them)",
		float64(denied)/tookDenied.Seconds(), costDenied/time.Duration(denied), float64(refused)/tookRefused.Seconds(), costRefused/time.Duration(refused), through)
	for _, one := range []struct {
		what string
		took []time.Duration
	}{{"before", before}, {"in the flood without a limit", unlimited}, {"with it", limited}} {
		if len(one.took) == 0 {
			t.Fatalf("%s: no command was served", one.what)
		}
		t.Logf("a command %s took %s at the median, %s at p99 (%d of them)", one.what, at(one.took, 50), at(one.took, 99), len(one.took))
	}
	s.isPardoned(f.address, log)
	if grown, most := size(t, log)-grown, int64(time.Since(began).Seconds()+2)*21*400; grown > most {
		t.Errorf("the log grew by %d bytes, want at most %d", grown, most)
	}
}

// isPardoned holds that the log says when an address was refused and when no more, and that it gets in then.
func (s *site) isPardoned(address, log string) {
	s.t.Helper()
	lines := func(words string) (n int) {
		text, err := os.ReadFile(log)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, words) && strings.Contains(line, `"`+address+`/32"`) {
				n++
			}
		}
		return n
	}
	until(s.t, "the address is taken again", func() bool { return lines("are taken again") == lines("are refused") })
	if lines("are refused") == 0 {
		s.t.Error("got no line in the log, want one when it began")
	}
	s.mustGuest(address).Close()
}
