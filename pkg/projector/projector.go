// Package projector follows every log of a site, keeps an index of it, and answers queries from the index.
//
// There is one index for each log, in a folder of its own (indexstore): commits clustered by aggregate and version, the newest commit of each
// aggregate, and events by leaf hash. What is new is held in memory, where queries see it at once, and flushed some MiB at a time together with the
// position behind it, so an index always stands between two blocks; after a crash the rest is read from the log again. An index is a function of its log: one that does not fit the log (another block at its position, a lost tail,
// a doubted folder) is dropped and rebuilt, to equal content. Void blocks are left out, damage is logged and read on, and a message of a
// newer format stops that log's reader, which Status shows. No query reads a log; the cost of each depends on the aggregate or the page.
// Queries refuse with unavailable while an index is being built, rather than answer from a part of it.
//
// Whether an aggregate is deleted is decided when it is read, by the schema that its newest event was checked against, which the index of
// the system log holds; so no index depends on how far another one has come.
package projector

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/snapshot"
)

// pollEvery is the longest time after which a new log, or the loss of a log's tail, is noticed.
const pollEvery = time.Second

// Config says what a projector follows and where it keeps its index.
type Config struct {
	// Store is where the logs live. Required.
	Store eventlog.Store
	// Dir is the folder of the indexes, one folder in it for each log; made if it does not exist. It may be deleted while nothing runs: that costs a rebuild. Required.
	Dir string
	// Key encrypts the indexes: 16, 24 or 32 bytes. Another key than last time costs a rebuild. Required.
	Key []byte
	// Site is the name of this site; an index of another site is dropped. Required.
	Site string
	// MemoryThreshold is the number of decoded events kept in memory at most, first in first out; 0 keeps none.
	MemoryThreshold int
	// Keys open sealed values of encrypted fields for those who may read; nil: queries that meet one are refused.
	Keys *fieldkey.Keys
	// Snapshots are where snapshots of long aggregates are kept; nil: none are.
	Snapshots *snapshot.Snapshots
	// IdleFor says for each log how long nothing must have been stored of an aggregate for it to leave the hot tier: its commits are given up, and read from the log when they are asked for.
	// 0, or nil: none does.
	IdleFor func(log string) time.Duration
	// TendEvery is how often that is looked for, and what is to be brought back; 0: once a minute.
	TendEvery time.Duration
	// Room is asked before an index grows on disk: an error that wraps syscall.ENOSPC lets its log wait until there is room. What is new waits in
	// memory then, some MiB of it, and queries go on. It must not block; nil: there always is.
	Room func() error
	// Now is the clock, for log messages about how long a rebuild took; nil is time.Now.
	Now func() time.Time
	// Ticks makes the projector look for new logs and lost tails, and try again what failed; nil is once a second.
	Ticks <-chan time.Time
	// Log gets what operators should know; the zero value is silent.
	Log zerolog.Logger
	// Metrics registers the projector's metrics; nil keeps none.
	Metrics prometheus.Registerer
}

func (c *Config) check() error {
	var problems []error
	if c.Store == nil {
		problems = append(problems, errors.New("no store of logs is given"))
	}
	if c.Dir == "" {
		problems = append(problems, errors.New("no folder is given"))
	}
	if n := len(c.Key); n != 16 && n != 24 && n != 32 {
		problems = append(problems, fmt.Errorf("the key has %d bytes, it must have 16, 24 or 32", n))
	}
	if err := event.CheckSite(c.Site); err != nil {
		problems = append(problems, err)
	}
	if c.TendEvery < 0 {
		problems = append(problems, fmt.Errorf("time between two looks for idle aggregates, %s, is negative", c.TendEvery))
	}
	if c.MemoryThreshold < 0 {
		problems = append(problems, fmt.Errorf("memory threshold %d is negative", c.MemoryThreshold))
	}
	return errors.Join(problems...)
}

// Projector follows all logs of a store. Its methods are safe for concurrent use.
type Projector struct {
	config  Config
	metrics *metrics
	held    *held
	cursors *cursors
	schemas *schemas
	rights  rights
	taker   *taker
	moves   bell
	notify  chan struct{}
	ready   chan struct{}

	mu      sync.RWMutex // guards what follows
	used    bool         // Run was called
	running bool         // the logs were listed once, and Run has not ended
	ended   bool
	isReady bool
	indexes map[string]*index // by log
	sorted  []*index          // by log in ascending order; never changed, but replaced
	grown   chan struct{}     // closed and renewed whenever indexes grows
}

// New checks the configuration and registers the metrics; nothing is read or written before Run.
func New(c Config) (*Projector, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configure projector: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TendEvery == 0 {
		c.TendEvery = time.Minute
	}
	if c.IdleFor == nil {
		c.IdleFor = func(string) time.Duration { return 0 }
	}
	if c.Room == nil {
		c.Room = func() error { return nil }
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("configure projector: %w", err)
	}
	cursors, err := newCursors(c.Key)
	if err != nil {
		return nil, fmt.Errorf("configure projector: %w", err)
	}
	return &Projector{config: c, metrics: m, cursors: cursors, held: newHeld(c.MemoryThreshold), schemas: newSchemas(), taker: newTaker(c.Snapshots), notify: make(chan struct{}, 1),
		ready: make(chan struct{}), indexes: map[string]*index{}, grown: make(chan struct{})}, nil
}

// Run follows the logs until ctx ends; then it waits for all it started, closes the indexes and gives nil. It can be called once.
// What goes wrong with one log is shown by Status and tried again with the next tick; it never stops the others.
func (p *Projector) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.used {
		p.mu.Unlock()
		return errors.New("run projector: it was run before")
	}
	p.used = true
	p.mu.Unlock()
	defer p.close()
	ticks := p.config.Ticks
	if ticks == nil {
		ticker := time.NewTicker(pollEvery)
		defer ticker.Stop()
		ticks = ticker.C
	}
	var followers sync.WaitGroup
	defer followers.Wait()
	if p.taker.keep != nil {
		followers.Go(func() { p.takeSnapshots(ctx) })
	}
	followers.Go(func() { p.tend(ctx) })
	for {
		p.discover(ctx, &followers)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		case <-p.notify:
		}
	}
}

// discover starts a follower for every log that has none, and wakes the others.
func (p *Projector) discover(ctx context.Context, followers *sync.WaitGroup) {
	names, err := p.config.Store.List(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.config.Log.Warn().Err(err).Msg("logs could not be listed")
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = true
	for _, name := range names {
		if x, ok := p.indexes[name]; ok {
			x.wake()
			continue
		}
		if err := event.CheckLog(name); err != nil {
			continue // no log of ours, and no name of a folder
		}
		x := newIndex(name, p.held)
		p.indexes[name] = x
		p.sorted = append(slices.Clone(p.sorted), x)
		slices.SortFunc(p.sorted, func(a, b *index) int { return strings.Compare(a.name, b.name) })
		close(p.grown)
		p.grown = make(chan struct{})
		f := &follower{p: p, x: x, dir: filepath.Join(p.config.Dir, name), log: p.config.Log.With().Str("log", name).Logger()}
		followers.Go(func() { f.run(ctx) })
	}
	p.checkReady()
}

// checkReady closes ready once every log known has been read; the caller holds mu.
func (p *Projector) checkReady() {
	if p.isReady {
		return
	}
	for _, x := range p.indexes {
		if !x.progress.settled() {
			return
		}
	}
	p.isReady = true
	close(p.ready)
}

func (p *Projector) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.ended = false, true
	close(p.grown)
	for _, x := range p.indexes {
		if err := x.close(); err != nil {
			p.config.Log.Warn().Err(err).Str("log", x.name).Msg("index was not closed cleanly")
		}
	}
}

// Notify makes the projector look for new logs at once; writers in the same process call it when they have made one. It never blocks.
func (p *Projector) Notify() {
	select {
	case p.notify <- struct{}{}:
	default:
	}
}

// Ready is closed once every log that existed when Run began has been indexed up to where it stood then, or its reader has stopped for good.
func (p *Projector) Ready() <-chan struct{} { return p.ready }

// Held gives the number of decoded events in memory, and its limit.
func (p *Projector) Held() (events, limit int) { return p.held.count() }

// Status gives how far each index has come, by log in ascending order.
func (p *Projector) Status() []LogStatus {
	var out []LogStatus
	for _, x := range p.all() {
		out = append(out, x.progress.status(x.name))
	}
	return out
}

// all gives the indexes by log in ascending order; they must not be changed.
func (p *Projector) all() []*index {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sorted
}

// indexOrGrowth gives the index of a log, or nil and a channel that is closed when there is another one or Run has ended.
func (p *Projector) indexOrGrowth(log string) (x *index, grown <-chan struct{}, ended bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.indexes[log], p.grown, p.ended
}

// tailShare is how large the tail of a log may be before it is flushed.
func (p *Projector) tailShare() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return tailShare(len(p.indexes))
}

// up is nil while the projector runs.
func (p *Projector) up() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.running {
		return notRunning()
	}
	return nil
}

func notRunning() *problem.Problem {
	return problem.New(problem.Unavailable, "the projector is not running").WithHint("try again in a moment")
}
