package jetlogtest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Proxy stands between clients and a server. It holds publishes back, holds answers back, and cuts connections; it understands as much of the NATS protocol as
// telling one message of a client from the next takes. It ends with its test.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows, and all in each pair
	change  *sync.Cond // of anything below
	pairs   map[*pair]bool
	subject string        // publishes on it are counted …
	left    int           // … and the one that makes this 0 is held back; below 0: none is
	held    chan struct{} // closed when it is
	deaf    bool          // answers are held back
	over    bool
}

// pair is one connection of a client and the connection to the server that it leads to.
type pair struct {
	near, far net.Conn
	up        queue
	down      queue
	stranded  bool // the client's end was closed here
}

// queue is what goes in one direction.
type queue struct {
	messages [][]byte
	held     bool // what is in it stays
	ended    bool // nothing comes any more
	lost     bool // what is in it is not wanted any more
}

// Proxy starts a proxy in front of the server; it survives restarts of it.
func (s *Server) Proxy() *Proxy {
	s.t.Helper()
	return StartProxy(s.t, s.running)
}

// StartProxy starts a proxy in front of any server.
func StartProxy(t testing.TB, s *server.Server) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, listener: listener, target: s.Addr().String(), pairs: map[*pair]bool{}, left: -1, held: make(chan struct{})}
	p.change = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.end)
	return p
}

// Address is where clients find the proxy.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// URL is where clients find the server through the proxy, with the credentials of the account LOG of Server.
func (p *Proxy) URL() string { return "nats://log:log@" + p.Address() }

func (p *Proxy) end() {
	_ = p.listener.Close() // all there is to do about it
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.Cut()
	p.running.Wait()
}

// HoldPublish holds back the nth publish on a subject from now on, and everything behind it on its connection. The channel is closed when it is held.
func (p *Proxy) HoldPublish(subject string, n int) (held <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subject, p.left, p.held = subject, n, make(chan struct{})
	return p.held
}

// HoldAnswers holds back all that servers send, on connections that are open now or will be.
func (p *Proxy) HoldAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
	for one := range p.pairs {
		one.down.held = true
	}
}

// Release lets everything pass again, what was held back first.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.left = false, -1
	for one := range p.pairs {
		one.up.held, one.down.held = false, false
	}
	p.change.Broadcast()
}

// Cut closes every connection at both ends; what was held back is lost. New connections pass freely.
func (p *Proxy) Cut() { p.close(true) }

// Strand closes every connection at the client's end. What was held back on its way to the server comes to it with Release; new connections pass freely.
func (p *Proxy) Strand() { p.close(false) }

func (p *Proxy) close(both bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.left = false, -1
	for one := range p.pairs {
		_ = one.near.Close() // the other end is told, whatever it says
		one.down.lost, one.up.lost, one.stranded = true, both, true
		if both {
			_ = one.far.Close()
		}
	}
	p.change.Broadcast()
}

// AwaitStranded waits until the server has read all that came from stranded connections. Call it behind Release.
func (p *Proxy) AwaitStranded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	stranded := func() bool {
		for one := range p.pairs {
			if one.stranded {
				return true
			}
		}
		return false
	}
	for stranded() {
		p.change.Wait()
	}
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close() // the server is away; the client will try again
			continue
		}
		p.mu.Lock()
		one := &pair{near: near, far: far, down: queue{held: p.deaf}}
		p.pairs[one] = true
		over := p.over
		p.mu.Unlock()
		p.running.Go(func() { p.carry(one) })
		if over {
			p.Cut()
		}
	}
}

// carry runs a pair until both ends are closed.
func (p *Proxy) carry(one *pair) {
	var group sync.WaitGroup
	group.Go(func() { p.read(one, &one.up, bufio.NewReader(one.near), readMessage) })
	group.Go(func() { p.read(one, &one.down, bufio.NewReader(one.far), readSome) })
	group.Go(func() { p.write(&one.up, one.far) })
	group.Go(func() { p.write(&one.down, one.near) })
	group.Wait()
	_, _ = one.near.Close(), one.far.Close() // one of them may be closed already
	p.mu.Lock()
	delete(p.pairs, one)
	p.change.Broadcast()
	p.mu.Unlock()
}

func (p *Proxy) read(one *pair, q *queue, from *bufio.Reader, next func(*bufio.Reader) ([]byte, error)) {
	for {
		message, err := next(from)
		p.mu.Lock()
		if len(message) > 0 {
			if q == &one.up && p.counts(message) {
				q.held = true
				close(p.held)
			}
			q.messages = append(q.messages, message)
		}
		q.ended = q.ended || err != nil
		p.change.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// counts reports whether a message is the one to be held back.
func (p *Proxy) counts(message []byte) bool {
	verb, rest, _ := bytes.Cut(message, []byte(" "))
	if p.left < 0 || !isPublish(verb) || !bytes.HasPrefix(rest, []byte(p.subject+" ")) {
		return false
	}
	p.left--
	if p.left == 0 {
		p.left = -1
		return true
	}
	return false
}

// write sends on what is in a queue, and says so when nothing more comes: the server closes its end when it has read all.
func (p *Proxy) write(q *queue, to net.Conn) {
	defer func() { _ = to.(*net.TCPConn).CloseWrite() }() // it may be closed already
	for {
		p.mu.Lock()
		for !q.lost && (q.held || len(q.messages) == 0 && !q.ended) {
			p.change.Wait()
		}
		messages := q.messages
		q.messages = nil
		lost, ended := q.lost, q.ended
		p.mu.Unlock()
		if lost {
			return
		}
		for _, m := range messages {
			if _, err := to.Write(m); err != nil {
				p.mu.Lock()
				q.lost = true
				p.mu.Unlock()
				return
			}
		}
		if ended && len(messages) == 0 {
			return
		}
	}
}

func isPublish(verb []byte) bool {
	return bytes.Equal(verb, []byte("PUB")) || bytes.Equal(verb, []byte("HPUB"))
}

// readMessage reads one message of a client: a line, and behind PUB and HPUB as many bytes as its last word says.
func readMessage(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	words := bytes.Fields(line)
	if err != nil || len(words) < 3 || !isPublish(words[0]) {
		return line, err
	}
	size, err := strconv.Atoi(string(words[len(words)-1]))
	if err != nil || size < 0 {
		return line, errors.Join(errors.New("publish without a size"), err)
	}
	message := append(line, make([]byte, size+len("\r\n"))...)
	_, err = io.ReadFull(r, message[len(line):])
	return message, err
}

func readSome(r *bufio.Reader) ([]byte, error) {
	b := make([]byte, 32<<10)
	n, err := r.Read(b)
	return b[:n], err
}
