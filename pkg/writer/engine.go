package writer

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	maxInFlight  = 2   // one block is written while the next one waits at the server; sound because sequences are predicted and fenced
	maxUnapplied = 512 // acknowledged blocks that the stored state may lag behind
)

// engine writes one log. One goroutine, that of run, owns everything but the channels and status.
//
// The order of its side effects, and what a crash behind each leaves: (1) append a block: stored or not, no answer left; recovery reads it. (2) acknowledge: the
// block is on disk. (3) answer: the sender knows; the state may lag, the log does not. (4) apply to the stored state, with the position in the same batch: replay begins behind it.
type engine struct {
	cfg    Config
	name   string
	log    eventlog.Log
	sys    *system
	st     *state
	logger zerolog.Logger
	grants func(context.Context, *token.Claims, string, uint64) *problem.Problem // asks the system log for more units; nil in the system log

	gate    sync.RWMutex // held for reading while a submission enters in; stop closes it
	in      chan *submission
	granted chan grantOutcome
	status  atomic.Pointer[status]
	stored  atomic.Uint64          // sequence of the newest block that is on disk
	damage  atomic.Pointer[string] // what was found wrong with the log while it was served; nil: nothing

	over     *overlay
	open     *openBlock
	inFlight []*openBlock
	held     *submission   // decided next, when the open block is away
	ready    []*submission // parked ones whose grant has come
	parked   map[string][]*submission
	denied   map[string]denial // tokens that were refused units a moment ago
	chain    event.Chain       // behind the last block that was sent
	tree     event.Tree
	ordinal  uint64              // of the next accepted command
	unique   uniqueSet           // what the state is kept for
	under    *view               // of the system log, that the present command is decided under
	own      map[event.ID16]bool // blocks of this process whose outcome recovery must tell from a rival's
	random   *bufio.Reader

	applier   *applier
	answering chan *openBlock
	answered  chan struct{}  // closed when answering is done
	asides    sync.WaitGroup // goroutines that answer aside: conflicts, repeats, grants
	metrics   *metrics
	ctx       context.Context // of run, for what runs aside
	broken    error           // what decide found wrong with the state
}

// status is what the rest of the process may know of an engine.
type status struct {
	serving bool
	err     error // why it does not serve, for people; nil while it is being recovered
	chain   event.Chain
}

// submission is a command on its way, an act, or a barrier.
type submission struct {
	command    aggregate.Command
	claims     *token.Claims
	digest     event.Hash
	act        func(*submission) ([]aggregate.Change, *problem.Problem) // an act of EventfulDB itself: decides the changes when nothing is in flight
	barrier    chan struct{}                                            // closed when all before it were decided, and all behind it are under the newest view
	reply      reply
	conflicts  []conflict
	handsBack  uint64 // units of the token that an act takes from this log …
	handedBack uint64 // … and all that the log will have handed back then
}

// conflict is a failed expectation and where the aggregate's newest commit lies.
type conflict struct {
	problem *problem.Problem
	newest  event.Link
}

// grantOutcome is what came of asking for need units of a token.
type grantOutcome struct {
	tokenID string
	need    uint64
	problem *problem.Problem
}

func newEngine(cfg Config, name string, log eventlog.Log, sys *system, m *metrics) *engine {
	e := &engine{
		cfg: cfg, name: name, log: log, sys: sys, metrics: m,
		logger: cfg.Log.With().Str("log", name).Logger(),
		in:     make(chan *submission, cfg.Queue), granted: make(chan grantOutcome, 64),
		parked: make(map[string][]*submission), denied: make(map[string]denial), own: make(map[event.ID16]bool),
		random: bufio.NewReaderSize(rand.Reader, 4096),
	}
	e.status.Store(&status{})
	return e
}

// submit hands a command to the engine; it never blocks.
func (e *engine) submit(s *submission) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if st := e.state(); !st.serving {
		s.reply(nil, e.notServing(st))
		return
	}
	select {
	case e.in <- s:
	default:
		s.reply(nil, problem.New(problem.Unavailable, "log %s has %d commands waiting", e.name, cap(e.in)).WithHint("send it again in a moment, with the same command id"))
	}
}

// state is the status, with damage that was found meanwhile.
func (e *engine) state() *status {
	st := e.status.Load()
	if found := e.damage.Load(); found != nil && st.err == nil {
		return &status{err: fmt.Errorf("%s: %w", *found, ErrDamaged), chain: st.chain}
	}
	return st
}

func (e *engine) notServing(st *status) *problem.Problem {
	switch {
	case errors.Is(st.err, ErrShortened):
		return problem.New(problem.Damaged, "log %s: %v", e.name, st.err).
			WithHint("put back the newest backup of the logs; if an older one was put back on purpose, stop the server, remove the folder of this log's writer state, and start it again")
	case errors.Is(st.err, ErrDamaged):
		return problem.New(problem.Damaged, "log %s: %v", e.name, st.err).WithHint("run `eventful aggregate:verify --all`: it names what is wrong and where")
	case st.err != nil:
		return problem.New(problem.Unavailable, "log %s is not written by this process: %v", e.name, st.err)
	}
	return problem.New(problem.Unavailable, "log %s is being recovered", e.name).WithHint("send it again in a moment, with the same command id")
}

// run serves the log until ctx ends (nil), or until it cannot be served here any more.
func (e *engine) run(ctx context.Context, ready func()) error {
	e.answering, e.answered = make(chan *openBlock, maxUnapplied), make(chan struct{})
	go e.answer()
	defer e.stop()
	aside, cancel := context.WithCancel(ctx)
	defer cancel() // before stop, which waits for what runs aside: nobody takes its outcomes any more
	e.ctx = aside
	var cause error
	for ctx.Err() == nil {
		if err := e.recover(ctx, cause); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			e.status.Store(&status{err: err, chain: e.chain})
			return fmt.Errorf("log %s: %w", e.name, err)
		}
		e.status.Store(&status{serving: true, chain: e.chain})
		ready()
		cause = e.serve(ctx)
		e.status.Store(&status{chain: e.chain})
		if cause != nil && ctx.Err() == nil {
			e.logger.Warn().Err(cause).Msg("stopped serving to settle an outcome")
			e.metrics.recoveries.Inc()
		}
	}
	return nil
}

func (e *engine) serve(ctx context.Context) error {
	for {
		e.gather()
		if err := e.broken; err != nil {
			e.broken = nil
			return err
		}
		e.send()
		var first <-chan struct{}
		if len(e.inFlight) > 0 {
			first = e.inFlight[0].pending.Done()
		}
		select {
		case s := <-e.input():
			e.decide(s)
		case g := <-e.granted:
			e.unpark(g)
		case <-first:
			if err := e.settle(); err != nil {
				return err
			}
		case b := <-e.applier.applied:
			e.over.applied(b)
		case <-e.applier.failed:
			return e.applier.err
		case <-ctx.Done():
			return e.finish()
		}
	}
}

// input is the queue of commands while the engine may decide one, else nil, which blocks.
func (e *engine) input() <-chan *submission {
	if e.held != nil || e.applier.backlog() >= maxUnapplied {
		return nil
	}
	return e.in
}

// gather decides what waits without waiting for more.
func (e *engine) gather() {
	for {
		var s *submission
		switch {
		case e.held != nil:
			s, e.held = e.held, nil
		case len(e.ready) > 0:
			s, e.ready = e.ready[0], e.ready[1:]
		default:
			select {
			case s = <-e.input():
			default:
				return
			}
		}
		e.decide(s)
		if e.held != nil {
			return
		}
	}
}

// send seals the open block and appends it, unless two are in flight already.
func (e *engine) send() {
	b := e.open
	if b == nil || len(e.inFlight) == maxInFlight {
		return
	}
	b.TreeSize, b.TreeRoot = b.tree.Size(), b.tree.Root()
	e.own[b.ID] = true
	b.pending = e.log.Append(b.sequence-1, b.Encode())
	e.inFlight = append(e.inFlight, b)
	e.chain, e.tree, e.open = b.chain(), b.tree, nil
	e.metrics.blocks.Inc()
	e.metrics.commits.Add(float64(len(b.items)))
}

// settle takes the outcome of the oldest block in flight. Anything but an acknowledgement is left to recovery.
func (e *engine) settle() error {
	b := e.inFlight[0]
	if err := b.pending.Err(); err != nil {
		return fmt.Errorf("append block %s at sequence %d: %w", b.ID, b.sequence, err)
	}
	e.inFlight = e.inFlight[1:]
	return e.acknowledged(b)
}

func (e *engine) acknowledged(b *openBlock) error {
	delete(e.own, b.ID)
	e.stored.Store(b.sequence)
	if e.isSystem() {
		kept, err := e.sys.apply(b.stored())
		if err != nil {
			return fmt.Errorf("apply system block at sequence %d: %w", b.sequence, err)
		}
		b.kept = kept
	}
	e.answering <- b
	e.applier.add(b)
	return nil
}

// finish ends serving in peace: what is in flight is waited for and answered, what is not yet sent falls.
func (e *engine) finish() error {
	for len(e.inFlight) > 0 {
		if err := e.settle(); err != nil {
			return err
		}
	}
	return nil
}

// stop answers everyone who still waits and releases what the engine holds. Outcomes that are still unknown stay so: the sender is told.
func (e *engine) stop() {
	e.gate.Lock() // behind this nobody enters in any more
	st := *e.status.Load()
	st.serving = false
	e.status.Store(&st)
	e.gate.Unlock()
	for _, b := range e.inFlight {
		b.fall(problem.New(problem.UnknownOutcome, "the writer of log %s stopped before the outcome was known", e.name).WithHint("send it again with the same command id"))
	}
	e.inFlight = nil
	e.refuseWaiting()
	close(e.answering)
	<-e.answered
	e.asides.Wait()
	e.closeState()
}

// answer sends the answers of acknowledged blocks, so that encoding them costs the engine nothing.
func (e *engine) answer() {
	defer close(e.answered)
	for b := range e.answering {
		b.answer(e.name)
	}
}

// refuseWaiting answers all commands that were not placed in a block that was sent: nothing of them was stored.
func (e *engine) refuseWaiting() {
	gone := problem.New(problem.Unavailable, "log %s is being recovered; nothing was stored", e.name).WithHint("send it again in a moment, with the same command id")
	if e.open != nil {
		e.open.fall(gone)
		e.open = nil
	}
	waiting := e.ready
	if e.held != nil {
		waiting = append(waiting, e.held)
	}
	for id, list := range e.parked {
		waiting = append(waiting, list...)
		delete(e.parked, id)
	}
	e.held, e.ready = nil, nil
	for {
		select {
		case s := <-e.in:
			waiting = append(waiting, s)
			continue
		default:
		}
		break
	}
	for _, s := range waiting {
		s.reply(nil, gone)
	}
}
