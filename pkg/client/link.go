package client

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// link is one connection of one user with one inbox subscription. An attempt is registered under a key, the last token of its reply subject.
type link struct {
	nc     *nats.Conn
	user   string
	inbox  string // prefix of all that it may subscribe to
	admin  bool   // an auth key made its token, to administer
	prefix string // inbox, `.<random>.`

	mu      sync.Mutex // guards what follows
	next    uint64
	pending map[string]*attempt
	retired bool // closes when the last attempt ends
	leave   leave
}

// leave is when a link leaves its server: nobody behind it answers.
type leave struct {
	first, after time.Duration // how long nothing may be heard: at first, and now
	waiting      time.Time     // since when requests wait and nothing was heard; zero: nothing was sent since
}

// attempt is one sending of a request that waits for its answer.
type attempt struct {
	subject string
	long    bool            // it cannot be repeated
	part    func(*nats.Msg) // for each message that more follow; nil: they are dropped
	end     func(outcome)   // once
}

// outcome of an attempt: an answer, or why there is none. lost is true where the request may have reached the server.
type outcome struct {
	msg  *nats.Msg
	err  *problem.Problem
	lost bool
}

// dial makes a connection for a token. The context has values only: it outlives who asked.
func dial(ctx context.Context, o Options, holder claims, token string) (*link, error) {
	l := &link{user: holder.user, inbox: holder.inbox, admin: holder.admin, prefix: holder.inbox + "." + rand.Text() + ".", pending: map[string]*attempt{}, leave: leave{first: o.LeaveAfter, after: o.LeaveAfter}}
	nc, err := nats.Connect(o.URL, l.options(ctx, o, token)...)
	if err != nil {
		return nil, connectFailure(o.URL, err, holder.admin)
	}
	sub, err := nc.Subscribe(l.prefix+"*", l.receive)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1) // as many answers as there are open requests
	}
	if err != nil {
		nc.Close()
		return nil, problem.New(problem.Unavailable, "subscribe to the inbox: %v", err)
	}
	l.nc = nc
	return l, nil
}

// options: publishing while disconnected fails at once instead of going to a buffer, so a request is never sent behind the caller's back.
func (l *link) options(ctx context.Context, o Options, token string) []nats.Option {
	present := func() (string, error) {
		fresh, err := o.Token(ctx)
		if c, bad := claimsOf(fresh); err != nil || bad != nil || c.user != l.user {
			return token, nil // a token of another user opens a link of its own
		}
		return fresh, nil
	}
	sign := o.Sign
	if sign == nil {
		sign = func([]byte) ([]byte, error) { return nil, nil } // a bearer token needs no proof of its key
	}
	options := []nats.Option{
		nats.Name(o.Name), nats.Timeout(o.ConnectTimeout), nats.UserJWT(present, sign), nats.CustomInboxPrefix(l.inbox),
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.violated(err) }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { l.lose("the connection was lost before an answer came") }),
		nats.ClosedHandler(func(*nats.Conn) { l.lose("the connection was closed before an answer came") }),
	}
	if o.TLS != nil {
		options = append(options, nats.Secure(o.TLS))
	}
	return options
}

// send registers the attempt and publishes it. An attempt that could not be published is not registered, and its end is not called.
func (l *link) send(a *attempt, header nats.Header, data []byte) (key string, p *problem.Problem) {
	l.mu.Lock()
	l.next++
	key = strconv.FormatUint(l.next, 36)
	l.pending[key] = a
	if l.leave.waiting.IsZero() {
		l.leave.waiting = time.Now()
	}
	l.mu.Unlock()
	err := l.nc.PublishMsg(&nats.Msg{Subject: a.subject, Reply: l.prefix + key, Header: header, Data: data})
	if err == nil {
		return key, nil
	}
	if l.take(key) == nil {
		return key, nil // it ended meanwhile: the connection was lost
	}
	return key, publishFailure(err, len(data))
}

// take removes an attempt; nil if it is not there any more.
func (l *link) take(key string) *attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.pending[key]
	delete(l.pending, key)
	l.closeIfDone()
	return a
}

// closeIfDone closes a retired link behind its last attempt, however that ended. l.mu is held.
func (l *link) closeIfDone() {
	if l.retired && len(l.pending) == 0 {
		go l.nc.Close() // not from a callback of its own; Close ends by itself
	}
}

// receive runs on the subscription's goroutine, one message at a time.
func (l *link) receive(m *nats.Msg) {
	key := strings.TrimPrefix(m.Subject, l.prefix)
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		l.unheard() // nobody is there who could answer
	} else {
		l.heard()
	}
	if m.Header.Get(streams.HeaderMore) != "" {
		l.mu.Lock()
		a := l.pending[key]
		l.mu.Unlock()
		if a != nil && a.part != nil {
			a.part(m)
		}
		return
	}
	if a := l.take(key); a != nil {
		a.end(outcome{msg: m, err: refusal(m)})
	}
}

func (l *link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave.after, l.leave.waiting = l.leave.first, time.Time{}
}

// longestLeave bounds the pause between two moves that do not help.
const longestLeave = time.Minute

// unheard has the connection go to another server when nothing was heard for long enough, unless a request is under way that cannot be repeated.
func (l *link) unheard() {
	if len(l.nc.Servers()) > 1 && l.nc.IsConnected() && l.mayLeave() {
		_ = l.nc.ForceReconnect() // fails where it is closed
	}
}

func (l *link) mayLeave() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.leave
	if w.first < 0 || w.waiting.IsZero() || time.Since(w.waiting) < w.after {
		return false
	}
	for _, a := range l.pending {
		if a.long {
			return false
		}
	}
	w.after, w.waiting = min(2*w.after, longestLeave), time.Now()
	return true
}

// violated ends the attempts that the server's asynchronous error is about: they get no reply. A token that ends while it is used ends them all.
func (l *link) violated(err error) {
	if isAuthFailure(err) { // what was sent just before may have been stored
		l.endAll(func(*attempt) bool { return true }, outcome{err: notAccepted(err, l.admin), lost: true})
		return
	}
	subject, publish, ok := forbiddenSubject(err)
	if !ok {
		return
	}
	if !publish && strings.HasPrefix(subject, l.prefix) {
		p := problem.New(problem.Forbidden, "the token may not subscribe to its own inbox %s", subject)
		l.endAll(func(*attempt) bool { return true }, outcome{err: p.WithHint("make a new token with `eventful token:generate`")})
		return
	}
	l.endAll(func(a *attempt) bool { return a.subject == subject }, outcome{err: forbidden(subject, l.admin)})
}

func (l *link) lose(why string) {
	l.endAll(func(*attempt) bool { return true }, outcome{err: problem.New(problem.Unavailable, "%s", why), lost: true})
}

func (l *link) endAll(which func(*attempt) bool, o outcome) {
	l.mu.Lock()
	var ending []*attempt
	for key, a := range l.pending {
		if which(a) {
			ending = append(ending, a)
			delete(l.pending, key)
		}
	}
	l.closeIfDone()
	l.mu.Unlock()
	for _, a := range ending {
		a.end(o)
	}
}

// retire lets open attempts end before the connection closes.
func (l *link) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	l.closeIfDone()
}

func (l *link) close(p *problem.Problem) {
	l.endAll(func(*attempt) bool { return true }, outcome{err: p, lost: true})
	l.nc.Close()
}
