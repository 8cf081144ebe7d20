package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// partPatience is how long the next part of a long answer may take.
const partPatience = 30 * time.Second

// Delays between repeats: doubled from the first to the longest, each shortened by up to half at random.
const (
	firstDelay   = 50 * time.Millisecond
	longestDelay = 500 * time.Millisecond // a takeover takes three seconds: who asks again seldom finds it late
)

// commandPatience is how long the first attempt of a command waits at most; the second twice as long. Who wrote its log may have just gone, and a repeat is harmless.
const commandPatience = 2 * time.Second

// slowPatience is how long an attempt of a slow request waits: the server gives it up after ten seconds, and a repeat has it begin again.
const slowPatience = 12 * time.Second

// trialPatience is how long an attempt of a brief request waits: a plugin-runner says after --call-timeout, which is 30 s if not set, that a target hangs.
const trialPatience = 32 * time.Second

// beatPatience is how long nothing may be heard of a request that the server says it is still busy with every two seconds.
const beatPatience = 10 * time.Second

// maxSilences is how often such a request is sent to servers that say nothing.
const maxSilences = 4

// noAnswer is what to do about silence.
const noAnswer = "wait longer, for example with --timeout=1m; `eventful status` says whether the engines run"

// briefly is how long a brief request is repeated that is answered, so that who answers may have just started.
const briefly = 3 * time.Second

// request is what is sent, and how long to wait for it.
type request struct {
	subject string
	header  nats.Header
	data    []byte
	token   string          // instead of the client's
	stores  string          // what is not known when no answer comes, for example "command X"; empty: nothing is stored
	part    func(*nats.Msg) // for each message that more follow
	long    bool            // no default timeout once it is on its way; silence and a lost connection end it, as repeating would begin all over
	beats   bool            // long, and may be repeated: the server says every now and then that it is still busy with it, so silence tells that it is gone
	slow    bool            // answering may take until the server gives it up
	brief   bool            // an answer that it is not possible now is what the caller wants to know: it is repeated for a few seconds only
}

// call is a request on its way, with its repeats. It costs timers, not goroutines.
type call struct {
	client *Client
	ctx    context.Context
	cancel context.CancelFunc // of the default timeout
	req    request
	done   func(*nats.Msg, error) // once
	began  time.Time

	mu       sync.Mutex // guards what follows
	attempts int
	open     int   // the number of the attempt that waits for an answer; 0: none
	link     *link // that it was given to; nil: not sent yet
	key      string
	silence  *time.Timer
	pause    *time.Timer
	unhook   func() bool
	last     *problem.Problem // why the last attempt has to be repeated
	unknown  bool             // some attempt may have been stored
	expired  bool             // the context has ended: nothing is sent any more
	over     bool
}

// start sends the request and returns; done is called once, on another goroutine or on this one, whatever happens.
func (c *Client) start(ctx context.Context, req request, done func(*nats.Msg, error)) {
	k := &call{client: c, ctx: ctx, cancel: func() {}, req: req, done: done, began: time.Now()}
	if _, bounded := ctx.Deadline(); !bounded && !req.long && c.opts.Timeout > 0 {
		k.ctx, k.cancel = context.WithTimeout(ctx, c.opts.Timeout)
	}
	k.mu.Lock()
	k.unhook = context.AfterFunc(k.ctx, k.expire)
	k.mu.Unlock()
	k.send()
}

// roundTrip is start that waits.
func (c *Client) roundTrip(ctx context.Context, req request) (*nats.Msg, error) {
	type result struct {
		msg *nats.Msg
		err error
	}
	ended := make(chan result, 1)
	c.start(ctx, req, func(m *nats.Msg, err error) { ended <- result{m, err} })
	r := <-ended
	return r.msg, r.err
}

// send makes one attempt.
func (k *call) send() {
	n, ok := k.opening()
	if !ok {
		return
	}
	token, l, err := k.connect()
	if err != nil {
		k.settle(n, outcome{err: problemOf(err)})
		return
	}
	header := nats.Header{}
	for name, values := range k.req.header {
		header[name] = values
	}
	header.Set(streams.HeaderToken, token)
	a := &attempt{subject: k.req.subject, long: k.req.long, end: func(o outcome) { k.settle(n, o) }}
	if k.req.part != nil {
		a.part = func(m *nats.Msg) { k.progress(n, m) }
	}
	if !k.sending(l) {
		return
	}
	key, p := l.send(a, header, k.req.data)
	if p != nil {
		k.settle(n, outcome{err: p})
		return
	}
	k.await(n, l, key)
}

// sending marks the request as sent, which it is from now on as far as anybody can tell; false: the call has ended, and nothing may be sent any more.
func (k *call) sending(l *link) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over || k.expired {
		return false
	}
	k.link = l
	return true
}

func (k *call) opening() (n int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return 0, false
	}
	k.attempts++
	k.open = k.attempts
	return k.open, true
}

// connect gives the token of the request and the link to send it over. A token of the request's own does not change the connection.
func (k *call) connect() (token string, l *link, err error) {
	token, err = k.client.opts.Token(k.ctx)
	if err != nil {
		return "", nil, fmt.Errorf("get the token: %w", err)
	}
	if l, err = k.client.connected(k.ctx, token); err != nil {
		return "", nil, err
	}
	if k.req.token != "" {
		token = k.req.token
		if _, p := k.client.tokens.usable(token); p != nil {
			return "", nil, p
		}
	}
	return token, l, nil
}

// await arms the timer of silence, unless the answer was faster.
func (k *call) await(n int, l *link, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		l.take(key)
		return
	}
	if k.open != n {
		return
	}
	k.key = key
	if patience := k.patience(n); patience > 0 {
		k.silence = time.AfterFunc(patience, func() { k.silent(n) })
	}
}

func (k *call) progress(n int, m *nats.Msg) {
	k.mu.Lock()
	live := k.open == n && !k.over
	if live && k.silence != nil {
		k.silence.Reset(k.patience(n))
	}
	k.mu.Unlock()
	if live {
		k.req.part(m)
	}
}

// patience is how long nothing may be heard of attempt n; 0: for ever. A long request that is answered in parts is heard of now and then.
func (k *call) patience(n int) time.Duration {
	switch {
	case strings.HasPrefix(k.req.subject, "cmd."):
		return min(k.client.opts.Patience, commandPatience<<min(n-1, 8))
	case k.req.slow:
		return max(k.client.opts.Patience, slowPatience)
	case k.req.brief:
		return max(k.client.opts.Patience, trialPatience)
	case !k.req.long:
		return k.client.opts.Patience
	case k.req.beats:
		return max(k.client.opts.Patience, beatPatience)
	case k.req.part != nil:
		return max(k.client.opts.Patience, partPatience)
	}
	return 0
}

func (k *call) silent(n int) {
	k.mu.Lock()
	l, key, late := k.link, k.key, k.open != n
	k.mu.Unlock()
	if late || l.take(key) == nil {
		return // the answer is being handled, or was; what waits now is perhaps another attempt
	}
	l.unheard()
	p := problem.New(problem.Unavailable, "no answer within %s", k.patience(n)).WithHint(noAnswer)
	k.settle(n, outcome{err: p, lost: true})
}

// settle takes the outcome of attempt n: the end of the call, or a repeat.
func (k *call) settle(n int, o outcome) {
	k.mu.Lock()
	if k.over || k.open != n {
		k.mu.Unlock()
		return
	}
	k.open, k.link, k.key = 0, nil, ""
	if k.silence != nil {
		k.silence.Stop()
	}
	if o.err == nil {
		k.mu.Unlock()
		k.finish(o.msg, nil)
		return
	}
	k.unknown = k.unknown || k.req.stores != "" && (o.lost || o.err.Code == problem.UnknownOutcome)
	k.last = o.err
	delay := backoff(n)
	again := repeatable(o.err) && k.mayRepeat(n, o.lost, delay)
	if again {
		k.pause = time.AfterFunc(delay, k.send)
	}
	k.mu.Unlock()
	if !again {
		k.finish(nil, k.failure(o.err))
	}
}

// mayRepeat reports whether attempt n, which failed, may be followed by another one after delay. lost: it may have reached the server.
func (k *call) mayRepeat(n int, lost bool, delay time.Duration) bool {
	if deadline, bounded := k.ctx.Deadline(); k.ctx.Err() != nil || k.client.closed.Load() || bounded && time.Until(deadline) <= delay {
		return false
	}
	took := time.Since(k.began)
	switch {
	case k.req.brief && !lost && took > briefly:
		return false
	case !k.req.long:
		return true // until the context ends
	case lost && !k.req.beats:
		return false
	case lost && n < maxSilences:
		return true
	}
	timeout := k.client.opts.Timeout // for what could not be sent, or is refused for now, all the while
	return timeout <= 0 || took <= timeout
}

// expire ends the call with its context.
func (k *call) expire() {
	k.mu.Lock()
	if k.over {
		k.mu.Unlock()
		return
	}
	k.expired = true
	p, l, key := k.last, k.link, k.key
	if k.open != 0 {
		if p == nil { // else what the attempt before was told says more
			p = problem.New(problem.Unavailable, "no answer on %s", k.req.subject).WithHint(noAnswer)
		}
		k.unknown = k.unknown || k.req.stores != "" && l != nil
	}
	if p == nil {
		p = problem.New(problem.Unavailable, "nothing was sent")
	}
	k.mu.Unlock()
	if l != nil && key != "" {
		l.take(key)
	}
	k.finish(nil, interrupted(k.ctx, k.failure(p)))
}

// failure is the problem to report for p. What does not tell whether an earlier attempt was stored must not hide that it is unknown.
func (k *call) failure(p *problem.Problem) *problem.Problem {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.unknown || p.Code == problem.UnknownOutcome {
		return p
	}
	switch p.Code {
	case problem.Unavailable, problem.NoSpace, problem.Damaged, problem.Unauthenticated, problem.Forbidden, problem.Internal:
		u := problem.New(problem.UnknownOutcome, "%s: %s", k.req.stores, p.Detail)
		if p.Code == problem.Damaged {
			return u.WithHint("run `eventful aggregate:verify --all`, which names what is wrong and where: the log takes nothing until a person has decided. Behind that the same command id tells what became of it")
		}
		return u.WithHint("send it again with the same command id: if it was stored, the first answer comes back")
	}
	return p
}

func (k *call) finish(m *nats.Msg, err error) {
	k.mu.Lock()
	if k.over {
		k.mu.Unlock()
		return
	}
	k.over = true
	for _, t := range []*time.Timer{k.silence, k.pause} {
		if t != nil {
			t.Stop()
		}
	}
	k.unhook()
	k.mu.Unlock()
	k.cancel()
	k.done(m, err)
}

func repeatable(p *problem.Problem) bool {
	return p.Code == problem.Unavailable || p.Code == problem.UnknownOutcome
}

func backoff(attempt int) time.Duration {
	delay := longestDelay
	if shift := attempt - 1; shift < 6 {
		delay = min(firstDelay<<shift, longestDelay)
	}
	return delay/2 + rand.N(delay/2)
}

// problemOf keeps a problem and calls everything else unavailable: it happened before the request was sent.
func problemOf(err error) *problem.Problem {
	if p := problem.From(err); p.Code != problem.Internal {
		return p
	}
	return problem.New(problem.Unavailable, "%v", err)
}
