// Package space watches the file systems that the engines write to, and says when nothing more may be written.
//
// JetStream takes nothing more for a stream whose disk was full, until its server is started anew. So writing ends before that, and goes on by itself
// when there is room again, with a tenth more than the limit.
package space

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/problem"
)

const (
	// every is the time between two looks at the file systems; a look costs microseconds.
	every = 250 * time.Millisecond
	// storesEvery is the time between two questions to the servers.
	storesEvery = 10 * time.Second
)

// Folder is what is watched, with the words for it in messages.
type Folder struct {
	Name string // for example "data folder"
	Dir  string // it need not exist; then the nearest folder above counts
	// Held says that files in it stay open: if it is removed or another one stands in its place, what is written lies where nobody finds it.
	Held bool
}

// Store is what a JetStream server says of its file store.
type Store struct {
	Server string
	Used   uint64
	Max    int64 // bytes that it may hold; 0 and less: no limit
}

// Config says what to watch. Fields marked "default" may be zero.
type Config struct {
	Folders []Folder
	Limits  Limits
	Stores  func(context.Context) ([]Store, error) // default none: asks the servers of an outside cluster
	Fault   func() error                           // default none: another reason why nothing can be written, nil when there is none

	Look    func(dir string) (Usage, error) // default: as the system says
	Ticks   <-chan time.Time                // default: four a second
	Log     zerolog.Logger
	Metrics prometheus.Registerer // default none
}

// Volume is the file system of a folder as it was last seen.
type Volume struct {
	Folder   string `json:"folder"` // its name
	Dir      string `json:"dir"`
	Free     uint64 `json:"free"`  // bytes that this user may still write
	Total    uint64 `json:"total"` // bytes in all
	Limit    uint64 `json:"limit"` // bytes that must stay free
	Refusing string `json:"refusing,omitempty"`
}

// Watcher looks at the file systems. Check and Volumes are safe for concurrent use, beside one Run.
type Watcher struct {
	cfg     Config
	held    map[string]os.FileInfo          // by folder: the one that stood there at first
	low     map[string]bool                 // by folder: it went below its limit and has not come back; only look uses it
	full    atomic.Pointer[problem.Problem] // of the servers' stores; nil: none
	verdict atomic.Pointer[verdict]
}

type verdict struct {
	problem *problem.Problem
	volumes []Volume
}

// New looks once, so that Check knows something before Run.
func New(c Config) *Watcher {
	if c.Look == nil {
		c.Look = Look
	}
	w := &Watcher{cfg: c, low: make(map[string]bool), held: make(map[string]os.FileInfo)}
	for _, f := range c.Folders {
		if info, err := os.Stat(f.Dir); err == nil && f.Held {
			w.held[f.Dir] = info
		}
	}
	w.verdict.Store(&verdict{})
	w.look()
	if c.Metrics != nil {
		c.Metrics.MustRegister(collector{w})
	}
	return w
}

// Check is why nothing may be written, with what to do; nil while writing is fine. It is cheap enough to be asked before each command.
func (w *Watcher) Check() *problem.Problem {
	if w.cfg.Fault != nil {
		if err := w.cfg.Fault(); err != nil {
			return problem.New(problem.NoSpace, "%v", err).WithHint("writing goes on by itself when the disk can be written again; `eventful doctor` and the server's log say more")
		}
	}
	if p := w.verdict.Load().problem; p != nil {
		return p
	}
	return w.full.Load()
}

// Room tells whether every folder that is watched may be written. What else Check refuses for, as the servers' stores, does not count: it is the same in every process.
func (w *Watcher) Room() bool { return w.verdict.Load().problem == nil }

// Volumes is what was last seen, in the order of the folders.
func (w *Watcher) Volumes() []Volume { return w.verdict.Load().volumes }

// Limit is what must stay free of the file system of a folder; 0 if it is not known.
func (w *Watcher) Limit(folder string) uint64 {
	for _, v := range w.Volumes() {
		if v.Folder == folder {
			return v.Limit
		}
	}
	return 0
}

// Run watches until ctx ends; then it gives nil.
func (w *Watcher) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	if w.cfg.Stores != nil {
		asking.Go(func() { w.ask(ctx) })
	}
	ticks := w.cfg.Ticks
	if ticks == nil {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
			w.look()
		}
	}
}

// look examines every folder, and says once in the log when writing ends and when it goes on.
func (w *Watcher) look() {
	v := &verdict{}
	for _, f := range w.cfg.Folders {
		one, p := w.examine(f)
		if p != nil && v.problem == nil {
			v.problem = p
		}
		v.volumes = append(v.volumes, one)
	}
	before := w.verdict.Swap(v).problem
	switch {
	case before == nil && v.problem != nil:
		w.cfg.Log.Error().Str("reason", v.problem.Detail).Msg("writes are refused")
	case before != nil && v.problem == nil:
		w.cfg.Log.Info().Msg("writes are accepted again")
	}
}

func (w *Watcher) examine(f Folder) (Volume, *problem.Problem) {
	v := Volume{Folder: f.Name, Dir: f.Dir}
	if !w.stands(f.Dir) {
		p := problem.New(problem.NoSpace, "the %s was removed or replaced while the server runs: %s", f.Name, f.Dir).
			WithHint("put the very same folder back and writing goes on; else stop the server, put a backup back and start again")
		v.Refusing = p.Detail
		return v, p
	}
	u, err := w.cfg.Look(f.Dir)
	if err == nil {
		v.Free, v.Total, v.Limit = u.Free, u.Total, w.cfg.Limits.of(u.Total)
		err = u.Unwritable
	}
	if err != nil {
		p := problem.New(problem.NoSpace, "the %s cannot be written: %v", f.Name, err).
			WithHint("make its file system writable for the user of the server; writing goes on by itself")
		v.Refusing = p.Detail
		return v, p
	}
	floor := v.Limit
	if w.low[f.Dir] {
		floor = again(v.Limit)
	}
	if w.low[f.Dir] = v.Free < floor; !w.low[f.Dir] {
		return v, nil
	}
	p := problem.New(problem.NoSpace, "the disk of the %s has %s free of %s, and %s must stay free", f.Name, Format(v.Free), Format(v.Total), Format(v.Limit)).
		WithHint("make room, or move the data folder to a larger disk: writing goes on by itself with %s free; --min-free and --min-free-percent of `eventful start` set how much must stay free", Format(again(v.Limit)))
	v.Refusing = p.Detail
	return v, p
}

// stands tells whether a folder that is held is still the one that it was.
func (w *Watcher) stands(dir string) bool {
	was := w.held[dir]
	if was == nil {
		return true
	}
	now, err := os.Stat(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // Look tells of other errors
	}
	return os.SameFile(was, now)
}

// ask looks at the servers' stores until ctx ends. What they do not tell is not known: writing goes on then.
func (w *Watcher) ask(ctx context.Context) {
	ticker := time.NewTicker(storesEvery)
	defer ticker.Stop()
	for {
		stores, err := w.cfg.Stores(ctx)
		if err != nil && ctx.Err() == nil {
			w.cfg.Log.Warn().Err(err).Msg("servers could not be asked how full their stores are")
		} else if err == nil {
			w.judge(stores)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// judge refuses when fewer than a majority of the servers have room: then no block is stored on enough of them.
func (w *Watcher) judge(stores []Store) {
	before, roomy := w.full.Load(), 0
	var p *problem.Problem
	for _, s := range stores {
		if s.Max <= 0 {
			roomy++
			continue
		}
		limit := w.cfg.Limits.ofStore(uint64(s.Max))
		if before != nil {
			limit = again(limit)
		}
		if s.Used+limit <= uint64(s.Max) {
			roomy++
			continue
		}
		p = problem.New(problem.NoSpace, "the JetStream store of server %s holds %s of at most %s", s.Server, Format(s.Used), Format(uint64(s.Max))).
			WithHint("raise max_file_store on the servers, and give them the disk for that; writing goes on by itself")
	}
	if roomy > len(stores)/2 {
		p = nil
	}
	w.full.Store(p)
	switch {
	case before == nil && p != nil:
		w.cfg.Log.Error().Str("reason", p.Detail).Msg("writes are refused")
	case before != nil && p == nil:
		w.cfg.Log.Info().Msg("writes are accepted again")
	}
}

// collector gives the metrics of a Watcher.
type collector struct{ w *Watcher }

func (collector) free() *prometheus.Desc {
	return prometheus.NewDesc("eventful_disk_free_bytes", "Bytes that may still be written on the file system of a folder.", []string{"folder"}, nil)
}

func (collector) limit() *prometheus.Desc {
	return prometheus.NewDesc("eventful_disk_limit_bytes", "Bytes that must stay free there; below, writes are refused.", []string{"folder"}, nil)
}

func (collector) refused() *prometheus.Desc {
	return prometheus.NewDesc("eventful_writes_refused", "1 while writes are refused because a disk is nearly full or cannot be written.", nil, nil)
}

// Describe is part of prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.free()
	to <- c.limit()
	to <- c.refused()
}

// Collect is part of prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for _, v := range c.w.Volumes() {
		to <- prometheus.MustNewConstMetric(c.free(), prometheus.GaugeValue, float64(v.Free), v.Folder)
		to <- prometheus.MustNewConstMetric(c.limit(), prometheus.GaugeValue, float64(v.Limit), v.Folder)
	}
	refused := 0.0
	if c.w.Check() != nil {
		refused = 1
	}
	to <- prometheus.MustNewConstMetric(c.refused(), prometheus.GaugeValue, refused)
}

// String is for messages about a volume.
func (v Volume) String() string {
	return fmt.Sprintf("%s free of %s, at least %s must stay free", Format(v.Free), Format(v.Total), Format(v.Limit))
}
