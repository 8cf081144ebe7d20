// Package writer turns commands into events: it checks each command, places its commits in blocks, appends them to a log, and answers when they are on disk.
//
// One Writer is one process of a site, with one engine for each log. Engines that hold the lease of their log (package lease) write it; the others follow it,
// to take over at once. The Writer rests on the contracts of package eventlog, of lease.Table and of Peers, and knows no NATS. What it keeps in
// its folder is a function of the logs: lose it, and the next start reads the logs again. All methods are safe for concurrent use.
package writer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Writer is the engine that serves the write side of a site.
type Writer struct {
	cfg     Config
	sys     *system
	tokens  *token.Cache
	system  *engine
	ready   chan struct{}
	metrics *metrics

	keeper   *lease.Keeper // nil: this process writes every log
	doors    *doorkeeper
	owners   chan struct{} // has one element when the Keeper knows of changes
	sealer   *sealer       // seals encrypted fields of commands
	freezing sync.Mutex    // held while a log is frozen by this process

	opening sync.Mutex                           // held while a log is opened; guards start
	start   func(context.Context, *engine) error // runs an engine until the Writer stops; nil before Run and behind it
	mu      sync.RWMutex                         // guards what follows
	logs    map[string]*engine
	aside   func(func(context.Context)) // runs beside the engines; nil before Run and behind it
	failed  chan error

	checking sync.Mutex            // guards what follows
	checks   map[string]*checking  // by log
	rolls    map[string]*rollJob   // steps of rollbacks, by log, rollback and step
	archives map[string]*archiving // by log
}

const tokenCache = 4096 // checked tokens kept; each about 2 KiB

// New checks the configuration, all of it at once. Run does the rest.
func New(cfg Config) (*Writer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("writer configuration: %w", err)
	}
	w := &Writer{
		cfg: cfg, sys: newSystem(), ready: make(chan struct{}), metrics: newMetrics(cfg.Metrics), doors: newDoorkeeper(), owners: make(chan struct{}, 1),
		logs: make(map[string]*engine), checks: make(map[string]*checking), rolls: make(map[string]*rollJob), archives: make(map[string]*archiving), failed: make(chan error, 1),
	}
	w.sys.keys = cfg.Keys
	w.sealer = newSealer(w)
	w.tokens = token.NewCache(w.sys, tokenCache)
	w.sys.keyed = w.tokens.Forget
	if err := w.newKeeper(); err != nil {
		return nil, fmt.Errorf("writer configuration: %w", err)
	}
	newStandings(w).register(cfg.Metrics)
	return w, nil
}

// Ready is closed when every log that the site has takes commands, here or in another process, or is known to be damaged.
func (w *Writer) Ready() <-chan struct{} { return w.ready }

// Run writes the logs that this process leads and follows the others until ctx ends; then it hands over what it leads, settles what is in flight and comes
// back with nil. An error says that this process must not go on: a log is of a newer format, its folder cannot be used, the system log is damaged, or, without leases,
// another writer has taken a log over.
func (w *Writer) Run(ctx context.Context) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx)) // of the engines, which the leases need to the end
	var running sync.WaitGroup
	defer running.Wait()
	defer w.close()
	defer cancel()
	w.open(working, &running)
	starting, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	defer w.startSharing(ctx, failed)() // ends first: engines settle while others take over
	if err := w.startAll(starting); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if starting.Err() != nil {
			return context.Cause(starting)
		}
		return err
	}
	close(w.ready)
	running.Go(func() { w.driveRollbacks(working) })
	if w.keeper != nil {
		running.Go(func() { w.watchLogs(working) })
	}
	select {
	case err := <-w.failed:
		return err
	case <-starting.Done():
		if ctx.Err() != nil {
			return nil
		}
		return context.Cause(starting)
	}
}

func (w *Writer) open(ctx context.Context, running *sync.WaitGroup) {
	w.opening.Lock()
	defer w.opening.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start = func(wait context.Context, e *engine) error { return w.startEngine(ctx, wait, running, e) }
	w.aside = func(fn func(context.Context)) { running.Go(func() { fn(ctx) }) }
}

// close refuses every log and everything else that is started from now on.
func (w *Writer) close() {
	w.opening.Lock()
	defer w.opening.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start, w.aside = nil, nil
}

// startAll starts the system log first: every other log is replayed under its schemas.
func (w *Writer) startAll(ctx context.Context) error {
	if err := w.openLog(ctx, event.Reserved); err != nil {
		return err
	}
	for _, name := range w.sys.now.Load().logs() {
		if err := w.openLog(ctx, name); err != nil {
			return err
		}
	}
	if w.keeper == nil {
		return nil
	}
	return w.awaitOwners(ctx)
}

// openLog creates the log if need be and has it led or followed; it returns when the log takes commands, was read to its end, or is known to be damaged.
func (w *Writer) openLog(ctx context.Context, name string) error {
	w.opening.Lock()
	defer w.opening.Unlock()
	if w.engine(name) != nil {
		return nil
	}
	if w.start == nil {
		return errors.New("the writer does not run")
	}
	log, err := w.cfg.Store.Create(ctx, name)
	if err != nil {
		return fmt.Errorf("open log %s: %w", name, err)
	}
	w.cfg.Opened()
	e := newEngine(w.cfg, name, log, w.sys, w.metrics)
	e.sealer = w.sealer
	if name == event.Reserved {
		w.system = e
	} else {
		e.grants = w.requestUnits
	}
	if w.keeper != nil {
		e.orders, e.doors, e.follows = newOrders(), w.doors, w.keeper.Follow
		e.others = func() bool { others, _ := w.Others(); return others }
	}
	w.list(name, e)
	if err := w.start(ctx, e); err != nil {
		w.list(name, nil)
		return err
	}
	return nil
}

// list makes the engine known, or with nil unknown.
func (w *Writer) list(name string, e *engine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e == nil {
		delete(w.logs, name)
	} else {
		w.logs[name] = e
	}
}

// engine is the engine of a log of this process, or nil.
func (w *Writer) engine(log string) *engine {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.logs[log]
}

// startEngine runs an engine under ctx and waits until it serves, follows its log, or gave up; or until wait ends.
func (w *Writer) startEngine(ctx, wait context.Context, running *sync.WaitGroup, e *engine) error {
	serving, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	running.Go(func() {
		err := e.run(ctx, func() { once.Do(func() { close(serving) }) })
		if err != nil && !errors.Is(err, ErrDamaged) {
			select {
			case w.failed <- err:
			default:
			}
		}
		ended <- err
	})
	select {
	case <-serving:
		return nil
	case <-wait.Done():
		return wait.Err()
	case err := <-ended:
		if errors.Is(err, ErrDamaged) && !e.isSystem() {
			w.cfg.Log.Error().Err(err).Msg("log takes no commands")
			return nil // the others go on; this one says why to everyone who asks
		}
		if err == nil {
			err = ctx.Err()
		}
		return err
	}
}

func (w *Writer) engines() []*engine {
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := make([]*engine, 0, len(w.logs))
	for _, e := range w.logs {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *engine) int { return strings.Compare(a.name, b.name) })
	return out
}

// Execute runs one command and calls done once, on any goroutine, with the answer or the problem; done must not wait. Execute does not wait either; commands of one aggregate that are
// handed over one after the other are decided in that order.
func (w *Writer) Execute(r Request, done func(*Answer, *problem.Problem)) {
	s, e, p := w.accept(r, done)
	if p != nil {
		w.metrics.refused.WithLabelValues(string(p.Code)).Inc()
		w.refuse(r, p, done)
		return
	}
	if s.seals != nil {
		w.sealer.enter(&unsealed{s: s, e: e})
		return
	}
	e.submit(s)
}

// refuse tells a refusal that was found without asking the log, when this process is sure to know the newest state.
func (w *Writer) refuse(r Request, p *problem.Problem, done reply) {
	if w.keeper == nil {
		done(nil, p)
		return
	}
	log := event.Reserved
	if len(r.Command.Changes) > 0 {
		if sch := w.sys.schemaOf(r.Command.Changes[0].Aggregate.Type); sch != nil {
			log = logOf(sch)
		}
	}
	switch e := w.engine(log); {
	case e == nil:
		done(nil, Lost)
	case e.status.Load().lease != nil && e.status.Load().lease.Held():
		done(nil, p)
	default:
		e.submit(&submission{refusal: p, reply: done})
	}
}

// accept authorises a command and finds its log.
func (w *Writer) accept(r Request, done reply) (*submission, *engine, *problem.Problem) {
	rights := w.sys.now.Load().rights // before the token is checked: what comes in meanwhile has it checked again
	claims, err := w.Authenticate(r.Token)
	if err != nil {
		return nil, nil, problem.From(err)
	}
	if r.Command.ID == "" {
		r.Command.ID = "auto-" + randomHex()
	}
	if problems := r.Command.Check(); len(problems) > 0 {
		return nil, nil, problem.Join(problems)
	}
	log, encrypts := "", false
	for _, c := range r.Command.Changes {
		t := c.Aggregate.Type
		if event.IsReserved(t) {
			return nil, nil, problem.New(problem.Forbidden, "aggregate type %q belongs to EventfulDB and is not written by commands", t)
		}
		if p := claims.MayWrite(c.Aggregate); p != nil {
			return nil, nil, p
		}
		sch := w.sys.schemaOf(t)
		if sch == nil {
			return nil, nil, w.unknownType(t)
		}
		if log != "" && logOf(sch) != log {
			return nil, nil, problem.New(problem.Invalid, "%q is written in log %q and %q in log %q; a transaction lies in one log", r.Command.Changes[0].Aggregate.Type, log, t, logOf(sch)).
				WithHint("types that must change together share a log: `eventful schema:create --aggregate=%s --log=%s …`", t, log)
		}
		log, encrypts = logOf(sch), encrypts || len(sch.EncryptedFields()) > 0
	}
	e := w.engine(log)
	if e == nil {
		return nil, nil, problem.New(problem.Unavailable, "log %s is not served by this process", log)
	}
	actor := claims.Actor()
	s := &submission{command: r.Command, claims: claims, rights: rights, actor: actor, reply: done}
	if encrypts {
		s.seals = &seals{} // its digest has to wait for keys
	} else {
		s.digest = r.Command.Digest(actor)
	}
	return s, e, nil
}

// Authenticate checks a token and says whom it names. The error is a *problem.Problem.
func (w *Writer) Authenticate(jwt string) (*token.Claims, error) {
	return w.tokens.Verify(jwt, w.cfg.Now())
}

// Known reports whether the token passed before; it may have ended since.
func (w *Writer) Known(jwt string) bool { return w.tokens.Known(jwt) }

// Key is the auth key with that public id.
func (w *Writer) Key(publicID string) (token.Key, bool) { return w.sys.Key(publicID) }

// Ended reports whether the token with that id was revoked or refreshed.
func (w *Writer) Ended(tokenID string) bool { return w.sys.Ended(tokenID) }

// Condemn makes a log take no more commands in any process, as somebody found that it is damaged. Commands that wait are still decided. It holds until
// a process ends; the damage itself stays, and is found again by whoever reads the log.
func (w *Writer) Condemn(ctx context.Context, log, found string) {
	w.condemn(log, found)
	if w.keeper == nil || w.cfg.Peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, standingPatience)
	defer cancel()
	body, err := json.Marshal(call{Format: callFormat, Log: log, Found: found})
	if err == nil {
		_, err = w.cfg.Peers.CallAll(ctx, verbCondemn, body, len(w.keeper.Members()))
	}
	if err != nil {
		w.cfg.Log.Error().Err(err).Str("log", log).Msg("other writers could not be told that a log is damaged")
	}
}

func (w *Writer) condemn(log, found string) {
	if e := w.engine(log); e != nil && e.damage.CompareAndSwap(nil, &found) {
		e.logger.Error().Str("found", found).Msg("log takes no more commands")
	}
}

// Confirm returns when every log is decided under all acts that are stored, whichever process writes it. what names the act, for people.
func (w *Writer) Confirm(ctx context.Context, what string) *problem.Problem {
	if err := w.barrier(ctx); err != nil {
		return notConfirmed(what, err)
	}
	return nil
}

// beside runs fn on a goroutine that Run waits for, and reports whether it does: not before Run and behind it. fn's context ends with the engines.
func (w *Writer) beside(fn func(context.Context)) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.aside != nil {
		w.aside(fn)
	}
	return w.aside != nil
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
