// Package writer turns commands into events: it checks each command, places its commits in blocks, appends them to a log, and answers when they are on disk.
//
// One Writer serves all logs of a site in a process, one engine a log. It rests on the contract of package eventlog alone and knows no NATS. What it keeps in
// its folder is a function of the logs: lose it, and the next start reads the logs again. All methods are safe for concurrent use.
package writer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
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

	opening sync.Mutex          // held while a log is opened; guards start
	start   func(*engine) error // runs an engine until the Writer stops; nil before Run and behind it
	mu      sync.RWMutex        // guards logs
	logs    map[string]*engine
	failed  chan error
}

const tokenCache = 4096 // checked tokens kept; each about 2 KiB

// New checks the configuration, all of it at once. Run does the rest.
func New(cfg Config) (*Writer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("writer configuration: %w", err)
	}
	w := &Writer{cfg: cfg, sys: newSystem(), ready: make(chan struct{}), logs: make(map[string]*engine), failed: make(chan error, 1), metrics: newMetrics(cfg.Metrics)}
	w.tokens = token.NewCache(w.sys, tokenCache)
	return w, nil
}

// Ready is closed when every log that the site has takes commands, or is known to be damaged.
func (w *Writer) Ready() <-chan struct{} { return w.ready }

// Run recovers the logs and serves them until ctx ends; then it settles what is in flight and comes back with nil. An error says that a log is
// served by another writer, or is of a newer format: then this process must not go on.
func (w *Writer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer w.close()
	defer cancel()
	w.opening.Lock()
	w.start = func(e *engine) error { return w.startEngine(ctx, &running, e) }
	w.opening.Unlock()
	if err := w.startAll(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(w.ready)
	select {
	case err := <-w.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// close refuses every log that is started from now on.
func (w *Writer) close() {
	w.opening.Lock()
	defer w.opening.Unlock()
	w.start = nil
}

// startAll starts the system log first: every other log is replayed under its schemas.
func (w *Writer) startAll(ctx context.Context) error {
	if err := w.openLog(ctx, event.Reserved); err != nil {
		return err
	}
	names := make(map[string]bool)
	for _, t := range w.sys.now.Load().schemas {
		if c := t.current(); c != nil {
			names[logOf(c)] = true
		}
	}
	for name := range names {
		if err := w.openLog(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// openLog creates the log if need be and has it served; it returns when the log takes commands or is known to be damaged.
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
	if name == event.Reserved {
		w.system = e
	} else {
		e.grants = w.grant
	}
	if err := w.start(e); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs[name] = e
	return nil
}

// engine is the engine of a log of this process, or nil.
func (w *Writer) engine(log string) *engine {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.logs[log]
}

// startEngine runs an engine and waits until it serves or gave up.
func (w *Writer) startEngine(ctx context.Context, running *sync.WaitGroup, e *engine) error {
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

// Execute runs one command and calls done once, on any goroutine, with the answer or the problem. It does not wait; commands of one aggregate that are
// handed over one after the other are decided in that order.
func (w *Writer) Execute(r Request, done func(*Answer, *problem.Problem)) {
	s, e, p := w.accept(r, done)
	if p != nil {
		w.metrics.refused.WithLabelValues(string(p.Code)).Inc()
		done(nil, p)
		return
	}
	e.submit(s)
}

// accept authorises a command and finds its log.
func (w *Writer) accept(r Request, done reply) (*submission, *engine, *problem.Problem) {
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
	log := ""
	for _, c := range r.Command.Changes {
		t := c.Aggregate.Type
		if event.IsReserved(t) {
			return nil, nil, problem.New(problem.Forbidden, "aggregate type %q belongs to EventfulDB and is not written by commands", t)
		}
		if !claims.AllowsAggregate(token.ActionWrite, c.Aggregate) {
			return nil, nil, problem.New(problem.Forbidden, "the token of %s does not allow writing %q", claims.Actor(), t).WithHint("use a token whose aggregates hold %q and whose actions hold write", t)
		}
		sch := w.sys.schemaOf(t)
		if sch == nil {
			return nil, nil, w.unknownType(t)
		}
		if log != "" && logOf(sch) != log {
			return nil, nil, problem.New(problem.Invalid, "%q is written in log %q and %q in log %q; a transaction lies in one log", r.Command.Changes[0].Aggregate.Type, log, t, logOf(sch)).
				WithHint("types that must change together share a log: `eventful schema:create --aggregate=%s --log=%s …`", t, log)
		}
		log = logOf(sch)
	}
	e := w.engine(log)
	if e == nil {
		return nil, nil, problem.New(problem.Unavailable, "log %s is not served by this process", log)
	}
	return &submission{command: r.Command, claims: claims, digest: r.Command.Digest(claims.Actor()), reply: done}, e, nil
}

func (w *Writer) unknownType(t string) *problem.Problem {
	var known []string
	for name, s := range w.sys.now.Load().schemas {
		if s.current() != nil {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	p := problem.New(problem.NotFound, "there is no aggregate type %q", t)
	if s := w.sys.now.Load().schemas[t]; s != nil {
		return p.WithHint("its schema is drafted and not yet migrated: `eventful schema:migrate -f`")
	}
	if len(known) == 0 {
		return p.WithHint("make one: `eventful schema:create --aggregate=%s --events=…`", t)
	}
	return p.WithHint("there are: %s", strings.Join(known[:min(len(known), 20)], ", "))
}

// Authenticate checks a token and says whom it names. The error is a *problem.Problem.
func (w *Writer) Authenticate(jwt string) (*token.Claims, error) {
	return w.tokens.Verify(jwt, w.cfg.Now())
}

// LogStatus is where a log of this process stands.
type LogStatus struct {
	Log       string `json:"log"`
	Serving   bool   `json:"serving"`
	Sequence  uint64 `json:"sequence"`            // of the newest block that is on disk
	Epoch     uint64 `json:"epoch"`               // with which this process serves it; 0: never yet
	Shortened bool   `json:"shortened,omitempty"` // the log has lost acknowledged events
	Error     string `json:"error,omitempty"`
}

// Status lists the logs of this process by name.
func (w *Writer) Status() []LogStatus {
	var out []LogStatus
	for _, e := range w.engines() {
		st := e.state()
		l := LogStatus{Log: e.name, Serving: st.serving, Sequence: e.stored.Load(), Epoch: st.chain.Epoch}
		if st.err != nil {
			l.Error, l.Shortened = st.err.Error(), errors.Is(st.err, ErrShortened)
		}
		out = append(out, l)
	}
	return out
}

// Condemn makes a log take no more commands, as somebody found that it is damaged. Commands that wait are still decided. It holds until the process ends; the
// damage itself stays, and is found again by whoever reads the log.
func (w *Writer) Condemn(log, found string) {
	if e := w.engine(log); e != nil && e.damage.CompareAndSwap(nil, &found) {
		e.logger.Error().Str("found", found).Msg("log takes no more commands")
	}
}

// logOf is the log of a type: its own name unless the schema names another.
func logOf(s *schema.Schema) string {
	if event.IsReserved(s.Aggregate) {
		return event.Reserved
	}
	if s.Log != "" {
		return s.Log
	}
	return s.Aggregate
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
