package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// link forwards connections to an address. While it is held nothing passes and nothing is lost, as on a network that drops packets for a while.
type link struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	open  chan struct{}
	conns map[net.Conn]bool
	ended bool
}

func newLink(to string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, to: to, open: make(chan struct{}), conns: make(map[net.Conn]bool)}
	close(l.open)
	l.running.Go(l.accept)
	return l, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		if !l.keep(near) {
			return
		}
		l.running.Go(func() { l.connect(near) })
	}
}

// connect reaches out for a connection that came in, and carries both ways until one end closes.
func (l *link) connect(near net.Conn) {
	defer l.drop(near)
	l.pass()
	far, err := net.Dial("tcp", l.to)
	if err != nil || !l.keep(far) {
		return
	}
	defer l.drop(far)
	var back sync.WaitGroup
	back.Go(func() {
		l.carry(near, far)
		near.Close()
	})
	l.carry(far, near)
	far.Close()
	back.Wait()
}

func (l *link) carry(to, from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.pass()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// keep remembers a connection; false if the link has ended, and then it is closed.
func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		c.Close()
		return false
	}
	l.conns[c] = true
	return true
}

func (l *link) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// pass waits while the link is held.
func (l *link) pass() {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	<-open
}

func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// cut closes all connections. What a held link had not passed on is lost with them.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.listener.Close()
	l.cut()
	l.release()
	l.running.Wait()
}

// freeAddress is one that nobody listens on, and that no other test has claimed until this one ends: servers are started on it later, and again. It lies below the ports that systems give to outgoing connections (32768 and up on Linux), or one of those could take it while
// the server that is to have it is down.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(22000)
		if !claimed(t, port) {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("got no free address in 100 tries")
	return ""
}

// claimed takes a port for this test, among all tests of all processes, by a lock on a file.
func claimed(t testing.TB, port int) bool {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("eventful-test-port-%d", port)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return false
	}
	t.Cleanup(func() {
		os.Remove(f.Name())
		f.Close()
	})
	return true
}
