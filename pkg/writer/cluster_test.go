package writer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// cluster is several writers of one site in this process: one store of logs, one table of leases, one wire between them, and doors that give each
// request to one writer, as NATS would.
type cluster struct {
	t       testing.TB
	store   eventlog.Store
	dir     string
	table   lease.Table
	lines   *lines
	doors   *street
	members map[string]*member
	names   []string // of all members that ever ran
	bucket  *fieldkeytest.Memory
	archive eventlog.Snapshots // of members that are started from now on; nil: none
	boss    *site              // signs keys and tokens; its writer is replaced by who serves the system log
}

// member is one writer process.
type member struct {
	full  atomic.Pointer[problem.Problem] // why it has no room on its own disk
	last  atomic.Bool                     // … not for one byte: no state can be written
	keeps atomic.Bool                     // it keeps its logs all the same, as an older one does
	c     *cluster
	name  string
	w     *writer.Writer
	clock *memberClock
	ended chan error
	stop  context.CancelFunc
	cut   *cut

	metrics *prometheus.Registry
}

// memberClock is a member's, for its leases; it can be moved.
type memberClock struct {
	mu  sync.Mutex
	add time.Duration
}

func (c *memberClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add)
}

func (c *memberClock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

const testTTL = 600 * time.Millisecond

func newCluster(t testing.TB, store eventlog.Store, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, store: store, dir: t.TempDir(), table: lease.NewMemory(), lines: newLines(), bucket: fieldkeytest.NewMemory(), members: make(map[string]*member)}
	c.doors = &street{open: make(map[string]map[string][]*house)}
	c.boss = &site{t: t, store: store}
	t.Cleanup(c.boss.verify)
	t.Cleanup(func() {
		for _, m := range c.members {
			m.end()
		}
		if !t.Failed() {
			c.statesAreOfTheLogs()
		}
	})
	for _, name := range names {
		c.start(name)
	}
	c.boss.w = c.leader("eventful").w
	c.boss.identify()
	c.boss.migrate(patientSchema)
	return c
}

// start runs a member; a name that was used before gets its folder back.
func (c *cluster) start(name string) *member {
	c.t.Helper()
	m := &member{c: c, name: name, clock: &memberClock{}, ended: make(chan error, 1), cut: &cut{Table: c.table}, metrics: prometheus.NewRegistry()}
	keys, err := fieldkey.New(fieldkey.Config{Site: "here", Bucket: c.bucket})
	if err != nil {
		c.t.Fatal(err)
	}
	w, err := writer.New(writer.FailingStates(writer.Config{
		Keys: keys, Snapshots: c.archive, Room: m.full.Load,
		Site: "here", Store: c.store, Dir: filepath.Join(c.dir, name), Key: make([]byte, 32), Log: zerolog.Nop(), Peers: c.lines.end(name), Metrics: m.metrics,
		Lease: lease.Config{
			Table: m.cut, Member: lease.Member{ID: name, Name: name}, TTL: testTTL, Grace: -1, Settle: time.Hour, Pace: testTTL / 6, Back: time.Second, Now: m.clock.now,
			Gone: func(lease.Member) bool { return true }, Room: func() bool { return m.keeps.Load() || m.full.Load() == nil },
		},
	}, m.failState))
	if err != nil {
		c.t.Fatal(err)
	}
	w.Attach(&house{m: m, street: c.doors})
	m.w = w
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() { m.ended <- w.Run(ctx) }()
	c.members[name] = m
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
	select {
	case <-w.Ready():
	case err := <-m.ended:
		m.ended <- err
		c.t.Fatalf("run writer %s: %v", name, err)
	case <-time.After(patience):
		c.t.Fatalf("writer %s was not ready in time", name)
	}
	return m
}

// failState is why a member's state cannot be written.
func (m *member) failState(_ string, at statestore.Step) error {
	if at == statestore.BeforeUpdate && m.last.Load() {
		return syscall.ENOSPC
	}
	return nil
}

// end stops a member in peace.
func (m *member) end() {
	m.stop()
	if err := <-m.ended; err != nil {
		m.c.t.Errorf("writer %s: got %v, want an end in peace", m.name, err)
	}
	m.ended <- nil
}

// leader waits until a member serves the log.
func (c *cluster) leader(log string) *member {
	c.t.Helper()
	var found *member
	c.until("somebody leads "+log, func() bool {
		for _, m := range c.members {
			if m.serves(log) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// other is a member that does not serve the log.
func (c *cluster) other(log string) *member {
	c.t.Helper()
	leader := c.leader(log)
	for _, m := range c.members {
		if m != leader {
			return m
		}
	}
	c.t.Fatal("there is one member only")
	return nil
}

func (m *member) serves(log string) bool {
	return slices.ContainsFunc(m.w.Status(), func(l writer.LogStatus) bool { return l.Log == log && l.Serving })
}

func (m *member) status(log string) writer.LogStatus {
	for _, l := range m.w.Status() {
		if l.Log == log {
			return l
		}
	}
	return writer.LogStatus{}
}

func (c *cluster) until(what string, done func() bool) {
	c.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			for _, m := range c.members {
				c.t.Logf("%s: %+v", m.name, m.w.Status())
			}
			c.t.Fatalf("%s: not in time", what)
		}
	}
}

// handOver has the leader of a log hand it over, once another member follows it.
func (c *cluster) handOver(log string) {
	c.t.Helper()
	c.until("hand-over of "+log, func() bool {
		p := c.leader(log).w.Resign(c.t.Context(), log)
		if p != nil && p.Code != problem.Conflict {
			c.t.Errorf("hand %s over: %v", log, p)
		}
		return p == nil || p.Code != problem.Conflict
	})
}

// lead makes a member lead a log.
func (c *cluster) lead(name, log string) {
	c.t.Helper()
	c.leaveTo(log, func(m *member) bool { return m.name == name })
}

// leaveTo hands a log over until a member that fits leads it.
func (c *cluster) leaveTo(log string, fits func(*member) bool) {
	c.t.Helper()
	c.until("a member that is wanted leads "+log, func() bool {
		m := c.leader(log)
		if fits(m) {
			return true
		}
		_ = m.w.Resign(c.t.Context(), log) // refused while nobody follows the log yet
		return false
	})
}

// cut is the table as one member reaches it: not at all while it is cut off.
type cut struct {
	lease.Table

	mu  sync.Mutex // guards off
	off chan struct{}
}

var errCut = errors.New("the table is out of reach")

func (k *cut) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if k.isOff() {
		return 0, errCut
	}
	return k.Table.Put(ctx, key, value, revision)
}

func (k *cut) Delete(ctx context.Context, key string, revision uint64) error {
	if k.isOff() {
		return errCut
	}
	return k.Table.Delete(ctx, key, revision)
}

func (k *cut) Watch(ctx context.Context, each func(lease.Change)) error {
	return k.Table.Watch(ctx, func(ch lease.Change) {
		if off := k.wait(); off != nil {
			select {
			case <-off:
			case <-ctx.Done():
			}
		}
		each(ch)
	})
}

func (k *cut) isOff() bool { return k.wait() != nil }

func (k *cut) wait() chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.off
}

// cutOff takes the table away from a member: it renews nothing and hears nothing until the function is called.
func (m *member) cutOff() (mend func()) {
	k := m.cut
	k.mu.Lock()
	defer k.mu.Unlock()
	off := make(chan struct{})
	k.off = off
	return func() {
		k.mu.Lock()
		k.off = nil
		k.mu.Unlock()
		close(off)
	}
}

// street is where requests are let in: in each group of a log one house gets each.
type street struct {
	mu   sync.Mutex
	open map[string]map[string][]*house // log ("" for all), group
	next int
}

// house is the doors of one member.
type house struct {
	m      *member
	street *street
	mu     sync.RWMutex // held for reading while a request is handed over
}

func (h *house) Set(_ context.Context, doors []writer.Door) error {
	h.street.mu.Lock()
	for _, groups := range h.street.open {
		for g, houses := range groups {
			groups[g] = slices.DeleteFunc(houses, func(o *house) bool { return o == h })
		}
	}
	for _, d := range doors {
		if h.street.open[d.Log] == nil {
			h.street.open[d.Log] = make(map[string][]*house)
		}
		h.street.open[d.Log][d.Group] = append(h.street.open[d.Log][d.Group], h)
	}
	h.street.mu.Unlock()
	h.mu.Lock() // whoever was chosen before is handed over
	defer h.mu.Unlock()
	return nil
}

// receivers are one house of each group that gets requests of the log.
func (s *street) receivers(log string) (out []*house) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	chosen := make(map[string][]*house)
	for _, key := range []string{log, ""} {
		for g, houses := range s.open[key] {
			for _, h := range houses {
				if !slices.Contains(chosen[g], h) {
					chosen[g] = append(chosen[g], h)
				}
			}
		}
	}
	for _, houses := range chosen {
		if len(houses) > 0 {
			h := houses[s.next%len(houses)]
			h.mu.RLock()
			out = append(out, h)
		}
	}
	return out
}

// send publishes a command for a log: out gets every answer. Requests that were moved are published again; a lost one has no answer.
func (c *cluster) send(log string, r writer.Request, out chan<- outcome) {
	receivers := c.doors.receivers(log)
	if len(receivers) == 0 {
		out <- outcome{nil, problem.New(problem.Unavailable, "nobody listens")}
	}
	for _, h := range receivers {
		h.m.w.Execute(copyOf(r), func(a *writer.Answer, p *problem.Problem) {
			switch p {
			case writer.Moved:
				go c.send(log, r, out)
			case writer.Lost:
			default:
				out <- outcome{a, p}
			}
		})
		h.mu.RUnlock()
	}
}

// identify makes an auth key and an administrator.
func (s *site) identify() {
	s.t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		s.t.Fatal(err)
	}
	s.account, _, err = token.NewAuthKey()
	if err != nil {
		s.t.Fatal(err)
	}
	s.keySeed = seed
	k := token.Key{ID: id, Name: "test", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionRead, token.ActionAdmin}}
	if p := s.w.AddKey(s.t.Context(), "operator", k); p != nil {
		s.t.Fatal(p)
	}
	if p := s.w.Confirm(s.t.Context(), "the key"); p != nil {
		s.t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, s.account, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	if s.admin, err = s.w.Authenticate(jwt); err != nil {
		s.t.Fatal(err)
	}
}

// lines carry calls between the members.
type lines struct {
	mu      sync.Mutex
	answers map[string]map[string]*answering  // log, member
	lose    func(from, log, verb string) bool // the answer of a call is lost
}

func newLines() *lines {
	return &lines{answers: make(map[string]map[string]*answering)}
}

// answering is who answers calls. busy grows while mu of lines is held and it can be found, so that waiting for it is the end.
type answering struct {
	answer func(context.Context, string, []byte) []byte
	ended  context.Context
	busy   sync.WaitGroup
}

func (a *answering) call(ctx context.Context, verb string, body []byte) []byte {
	defer a.busy.Done()
	ctx, done := context.WithCancel(ctx)
	defer done()
	defer context.AfterFunc(a.ended, done)()
	return a.answer(ctx, verb, body)
}

func (w *lines) end(name string) writer.Peers { return lineEnd{w, name} }

type lineEnd struct {
	w    *lines
	name string
}

func (e lineEnd) Call(ctx context.Context, log, verb string, body []byte) ([]byte, error) {
	e.w.mu.Lock()
	var answer *answering
	for _, a := range e.w.answers[log] {
		answer = a
	}
	if answer != nil {
		answer.busy.Add(1)
	}
	lose := e.w.lose
	e.w.mu.Unlock()
	if answer == nil {
		return nil, fmt.Errorf("log %s: %w", log, errCut)
	}
	out := answer.call(ctx, verb, body)
	if lose != nil && lose(e.name, log, verb) {
		return nil, errors.New("the answer is lost")
	}
	return out, nil
}

func (e lineEnd) CallAll(ctx context.Context, verb string, body []byte, n int) (out [][]byte, err error) {
	e.w.mu.Lock()
	var all []*answering
	for _, a := range e.w.answers[""] {
		a.busy.Add(1)
		all = append(all, a)
	}
	e.w.mu.Unlock()
	for _, a := range all {
		out = append(out, a.call(ctx, verb, body))
	}
	return out, nil
}

func (e lineEnd) Serve(_ context.Context, log string, answer func(context.Context, string, []byte) []byte) (func(), error) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &answering{answer: answer, ended: ctx}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.w.answers[log] == nil {
		e.w.answers[log] = make(map[string]*answering)
	}
	e.w.answers[log][e.name] = a
	return func() {
		e.w.mu.Lock()
		delete(e.w.answers[log], e.name)
		e.w.mu.Unlock()
		cancel()
		a.busy.Wait()
	}, nil
}

func (l *lines) setLose(lose func(from, log, verb string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = lose
}

// coin is heads every third time.
func (s *street) coin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next%3 == 0
}

// one is a change with one event without fields.
func one(aggregateType, id, eventType string) aggregate.Change {
	return aggregate.Change{Aggregate: event.AggregateID{Type: aggregateType, ID: id}, Events: []aggregate.NewEvent{{Type: eventType}}}
}

// copyOf is the request as another process decodes it.
func copyOf(r writer.Request) writer.Request {
	r.Command.Changes = slices.Clone(r.Command.Changes)
	for i := range r.Command.Changes {
		c := &r.Command.Changes[i]
		c.Events = slices.Clone(c.Events)
		for j := range c.Events {
			c.Events[j].Fields = slices.Clone(c.Events[j].Fields)
		}
	}
	return r
}
