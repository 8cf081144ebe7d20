package writer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	maxInFlight   = 2   // one block is written while the next one waits at the server; sound because sequences are predicted and fenced
	maxUnanswered = 512 // acknowledged blocks whose answers may wait to be sent
)

// engine writes one log, or follows it while another process does. One goroutine, that of run, owns everything but the channels, status and orders.
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
	grants func(context.Context, *token.Claims, units) *problem.Problem // asks the system log for more units; nil in the system log

	sealer    *sealer // takes commands that have to be sealed again
	uniqueKey string  // of unique, by which a state is known to be kept for it

	imported bool // the state was taken over from the archive …
	distrust bool // … and was removed: the next one is read from the log

	orders  *orders             // who leads the log; nil: this process does, always
	doors   *doorkeeper         // lets requests for the log in; nil without leases
	lease   *lease.Lease        // under which it is led now; nil: not led, or without leases
	lapsed  <-chan struct{}     // closed when the lease may be held again; nil: nothing waits for that
	session uint64              // how often the log was read to its end to be led
	commits uint64              // that were acknowledged here
	recent  []lagging           // of the system log: what the stored state does not have yet
	bound   *uint64             // a higher epoch than this is another writer's; nil: not known yet
	found   map[event.ID16]bool // blocks that were read while some in flight were not settled
	frozen  *freeze             // commands wait until it is over; nil: not frozen
	iced    []*submission       // that wait for it
	named   uint64              // sequence of the system log that the newest block sent was decided under
	up      func()              // the log takes commands, or is followed and was read to its end
	follows func(string)        // tells the Keeper that the log can be led from here
	others  func() bool         // whether there are other processes

	gate    sync.RWMutex // held for reading while a submission enters in; stop, and whoever drops what is in it, holds it
	in      chan *submission
	granted chan grantOutcome
	doubted chan error // what was found aside to be wrong with the state
	status  atomic.Pointer[status]
	stored  atomic.Uint64                // sequence of the newest block that is on disk
	signs   atomic.Pointer[logtree.Head] // the tree behind it, for who signs checkpoints
	applied atomic.Uint64                // sequence of the newest block that the stored state has
	damage  atomic.Pointer[string]       // what was found wrong with the log while it was served; nil: nothing

	over     *overlay
	open     *openBlock
	inFlight []*openBlock
	held     *submission   // decided next, when the open block is away
	ready    []*submission // parked ones whose grant has come
	parked   map[string][]*submission
	denied   map[string]denial // tokens that were refused units a moment ago
	chain    event.Chain       // behind the last block that was sent
	tree     event.Tree
	ids      *commandIDs         // those of the window that are on disk
	ordinal  uint64              // of the next accepted command
	unique   uniqueSet           // what the state is kept for
	under    *view               // of the system log, that the present command is decided under
	own      map[event.ID16]bool // blocks of this process whose outcome recovery must tell from a rival's
	random   idSource
	plans    []planned // of the present command; only its memory is used again
	records  []byte    // memory for the records of the next block
	usual    int       // commits that the newest block had: the next one is likely to get about as many

	applier    *applier
	answering  chan *openBlock
	answered   chan struct{} // closed when answering is done
	unanswered atomic.Int64  // blocks in answering
	repeats    repeats
	tellers    chan struct{}  // one for each conflict for which the log is read now
	asides     sync.WaitGroup // goroutines that answer aside: conflicts, repeats, grants
	metrics    *metrics
	ctx        context.Context // of run, for what runs aside
	broken     error           // what decide found wrong with the state
}

// submission is a command on its way, an act, or a barrier.
type submission struct {
	command    aggregate.Command
	claims     *token.Claims
	actor      string
	digest     event.Hash
	rights     uint64                                                   // of the view that it was authorised under
	act        func(*submission) ([]aggregate.Change, *problem.Problem) // an act of EventfulDB itself: decides the changes when nothing is in flight
	restores   []restoring                                              // an act that brings aggregates back: what it stores instead of changes
	barrier    *barrier                                                 // instead of a command
	refusal    *problem.Problem                                         // what the command comes to, whatever the log holds; told while the log is led here
	reply      reply
	hash       idHash // of the command id
	seals      *seals // nil: no type that it changes has encrypted fields
	conflicts  []conflict
	handsBack  uint64 // units of the token that an act takes from this log …
	handedBack uint64 // … and all that the log will have handed back then
}

// conflict is a failed expectation and where the aggregate's newest commit lies.
type conflict struct {
	problem *problem.Problem
	newest  event.Link
}

// grantOutcome is what came of asking for units of a token, for a command of so many events.
type grantOutcome struct {
	tokenID string
	events  uint64
	problem *problem.Problem
}

func newEngine(cfg Config, name string, log eventlog.Log, sys *system, m *metrics) *engine {
	e := &engine{
		cfg: cfg, name: name, log: log, sys: sys, metrics: m,
		logger: cfg.Log.With().Str("log", name).Logger(),
		in:     make(chan *submission, cfg.Queue), granted: make(chan grantOutcome, 64), doubted: make(chan error, 1), tellers: make(chan struct{}, maxTellers),
		parked: make(map[string][]*submission), denied: make(map[string]denial), own: make(map[event.ID16]bool), found: make(map[event.ID16]bool),
	}
	e.status.Store(&status{mode: starting})
	return e
}

func (e *engine) serve(ctx context.Context) error {
	if e.orders.leaving() { // it was to be handed over already, and an outcome had to be settled first
		return e.handOver(ctx)
	}
	for {
		e.lapsed = nil
		thawing := e.thawing()
		e.thaw()
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
		case err := <-e.doubted:
			return err
		case <-e.applier.moved:
		case <-e.applier.failed:
			return e.applier.err
		case <-e.lapsed:
		case <-thawing:
		case <-e.orders.come():
			if e.orders.leaving() {
				return e.handOver(ctx)
			}
		case <-ctx.Done():
			return e.finish()
		}
	}
}

// input is the queue of commands while the engine may decide one, else nil, which blocks.
func (e *engine) input() <-chan *submission {
	if e.held != nil || e.applier.full() {
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
	b.seal()
	e.own[b.ID] = true
	b.pending = e.log.Append(b.sequence-1, b.Encode())
	e.records = b.release()
	e.inFlight = append(e.inFlight, b)
	e.chain, e.tree, e.open, e.usual, e.named = b.chain(), b.tree, nil, len(b.items), b.System.Sequence
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
	e.showHead(b)
	if e.isSystem() {
		kept, err := e.sys.apply(b.stored())
		if err != nil {
			return fmt.Errorf("apply system block at sequence %d: %w", b.sequence, err)
		}
		b.kept = kept
		e.keepRecent(b.sequence, kept)
	}
	e.remember(b)
	e.dropForgotten(b)
	e.applier.add(b)
	if e.alone(b) {
		b.answer(e.name) // the one who waits has the answer sooner, and nobody else waits for the engine
		return nil
	}
	e.unanswered.Add(1)
	e.answering <- b
	return nil
}

// remember keeps the ids of the commands of a block that is on disk.
func (e *engine) remember(b *openBlock) {
	for i := range b.items {
		if it := &b.items[i]; it.accepts() {
			delete(e.over.commands, it.commit.CommandID)
			e.ids.add(it.hash, b.sequence, b.Time)
		}
	}
	e.ids.forget(b.Time)
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
