package jetlog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Append implements eventlog.Log. It gives up with ErrUnknown after Options.AckTimeout, and at once when the connection is lost.
func (l *log) Append(expected uint64, data []byte) eventlog.Pending {
	p := &pending{log: l, expected: expected, data: data, done: make(chan struct{})}
	if len(data) == 0 {
		p.settle(fmt.Errorf("message is empty: %w", eventlog.ErrRefused))
		return p
	}
	reply, err := l.store.acks.expect(p)
	if err != nil {
		p.settle(appendOutcome(err))
		return p
	}
	err = l.store.nc.PublishMsg(&nats.Msg{Subject: l.subject, Reply: reply, Data: data, Header: nats.Header{
		jetstream.ExpectedStreamHeader:  {l.streamName},
		jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(expected, 10)},
	}})
	if err != nil && l.store.acks.take(p.id) != nil {
		p.settle(appendOutcome(err))
	}
	return p
}

// pending is an append under way.
type pending struct {
	log      *log
	expected uint64
	data     []byte
	id       uint64    // by which its acknowledgement is found
	until    time.Time // it gives up then
	done     chan struct{}
	err      error // set before done is closed
}

func (p *pending) settle(err error) {
	if err != nil {
		p.err = fmt.Errorf("append behind %d of log %s: %w", p.expected, p.log.name, err)
	} else {
		p.log.store.options.Recent.stored(p.log.name, eventlog.Message{Sequence: p.expected + 1, Data: p.data})
	}
	close(p.done)
}

// Done implements eventlog.Pending.
func (p *pending) Done() <-chan struct{} { return p.done }

// Err implements eventlog.Pending.
func (p *pending) Err() error {
	<-p.done
	return p.err
}

// acknowledged settles the append with what the server answered.
func (p *pending) acknowledged(m *nats.Msg) {
	if string(m.Data) == p.log.wanted+strconv.FormatUint(p.expected+1, 10)+"}" { // what nats-server writes when all is well
		p.settle(nil)
		return
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		p.settle(appendOutcome(jetstream.ErrNoStreamResponse))
		return
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		*jetstream.PubAck
	}
	err := json.Unmarshal(m.Data, &answer)
	switch {
	case err != nil || answer.Error == nil && (answer.PubAck == nil || answer.Stream == ""):
		p.settle(appendOutcome(jetstream.ErrInvalidJSAck))
	case answer.Error != nil:
		p.settle(appendOutcome(answer.Error))
	default:
		p.settle(p.log.checkAck(p.expected, answer.PubAck))
	}
}

// wantedAck is how nats-server 2.15 words an acknowledgement of the stream, up to the sequence.
func wantedAck(stream, domain string) string {
	if domain == "" {
		return fmt.Sprintf(`{"stream":%q,"seq":`, stream)
	}
	return fmt.Sprintf(`{"stream":%q,"domain":%q,"seq":`, stream, domain)
}

// checkAck refuses an acknowledgement of another stream: a leaf node without a filter has its publishes acknowledged by the hub.
func (l *log) checkAck(expected uint64, ack *jetstream.PubAck) error {
	if ack.Stream == l.streamName && ack.Domain == l.domain && ack.Sequence == expected+1 && !ack.Duplicate {
		return nil
	}
	return fmt.Errorf("acknowledged by stream %s, domain %q, as sequence %d (duplicate: %v), want %s, %q, %d: %w",
		ack.Stream, ack.Domain, ack.Sequence, ack.Duplicate, l.streamName, l.domain, expected+1, eventlog.ErrUnknown)
}

// acks hands acknowledgements to the appends that wait for them: one inbox and one timer for all. Whoever takes a pending out of waiting settles it, so
// each is settled once. Its one goroutine ends with the connection.
type acks struct {
	nc      *nats.Conn
	timeout time.Duration

	mu      sync.Mutex // guards the rest
	inbox   string     // with its dot; empty before the first append
	last    uint64     // id
	waiting map[uint64]*pending
	timer   *time.Timer // nil: no append has waited yet
	armed   bool        // the timer runs
}

// expect enters an append, and gives the subject that its acknowledgement goes to.
func (a *acks) expect(p *pending) (reply string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inbox == "" {
		if err := a.listen(); err != nil {
			return "", fmt.Errorf("listen for acknowledgements: %w", err)
		}
	}
	a.last++
	p.id, p.until = a.last, time.Now().Add(a.timeout)
	a.waiting[p.id] = p
	switch {
	case a.timer == nil:
		a.timer = time.AfterFunc(a.timeout, a.giveUp)
	case !a.armed:
		a.timer.Reset(a.timeout)
	}
	a.armed = true
	return a.inbox + strconv.FormatUint(p.id, 10), nil
}

// listen opens the inbox. The caller holds mu.
func (a *acks) listen() error {
	inbox := a.nc.NewInbox() + "." + unforeseen() + "." // an acknowledgement says that a block is stored: nobody may know where it is waited for
	changes := a.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	if _, err := a.nc.Subscribe(inbox+"*", a.arrived); err != nil {
		a.nc.RemoveStatusListener(changes)
		return err
	}
	a.inbox, a.waiting = inbox, make(map[uint64]*pending)
	go a.watch(changes)
	return nil
}

// watch settles what waits as unknown whenever the connection is lost, and ends when it is closed.
func (a *acks) watch(changes <-chan nats.Status) {
	for status := range changes {
		a.lost(func(*pending) bool { return true }, nats.ErrDisconnected)
		if status == nats.CLOSED {
			return
		}
	}
}

func (a *acks) arrived(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	if err != nil {
		return // nobody waits for it
	}
	if p := a.take(id); p != nil {
		p.acknowledged(m)
	}
}

// take is the append with that id if it still waits; who takes it settles it.
func (a *acks) take(id uint64) *pending {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.waiting[id]
	delete(a.waiting, id)
	return p
}

// giveUp settles what has waited for too long, and sets the timer to the next one.
func (a *acks) giveUp() {
	now := time.Now()
	a.lost(func(p *pending) bool { return !now.Before(p.until) }, nats.ErrTimeout)
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.timeout
	for _, p := range a.waiting {
		next = min(next, p.until.Sub(now))
	}
	if a.armed = len(a.waiting) > 0; a.armed {
		a.timer.Reset(next)
	}
}

// lost settles those of the waiting appends as unknown.
func (a *acks) lost(which func(*pending) bool, cause error) {
	a.mu.Lock()
	var found []*pending
	for id, p := range a.waiting {
		if which(p) {
			found = append(found, p)
			delete(a.waiting, id)
		}
	}
	a.mu.Unlock()
	for _, p := range found {
		p.settle(appendOutcome(cause))
	}
}
