// Package checkpoint signs what the tree of each log has come to, and never two things that contradict each other.
//
// A Signer stands beside the writer and looks ten times a second at the trees of the logs that the writer leads (Heads): the engines of the logs do not wait for it and do not
// know it. In order, for each checkpoint: (1) it is signed; (2) it is stored by compare-and-set, and only then anybody can see it; (3) it is noted in a folder of this process. A crash
// behind 1 leaves nothing, behind 2 a note that is older than the bucket, which the next start reads over.
//
// When the writer begins to lead a log, the Signer goes on from the last checkpoint, its own or another process's, and reads the log from there: what it signs extends what
// was signed. What does not is refused and named (Refusal); docs/spec/proofs.md, section 2, says what is looked for.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/verify"
)

// Bucket keeps the last checkpoint of each log. Errors are those of package eventlog.
type Bucket interface {
	// Get gives the value of a key and its revision; 0: there is none.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Replace changes the value of a key that has this revision, 0 meaning none, and gives the next revision. ErrTaken: it has another one, and nothing was stored.
	Replace(ctx context.Context, key string, value []byte, revision uint64) (next uint64, err error)
}

// Config is all a Signer needs.
type Config struct {
	Key    *logtree.Key
	Logs   eventlog.Store             // to read on from the last checkpoint
	Bucket Bucket                     // where the last checkpoints are kept
	KeyOf  func(log string) string    // the bucket's key of a log
	Dir    string                     // folder of this process's own notes of them; made if it is missing
	Heads  func() []*logtree.Head     // the logs that this process writes now; must not block
	Record func(context.Context) bool // makes sure that the site's log names the key; while it gives false nothing is signed
	Lost   func(log string) string    // why the log is known to have lost acknowledged events; empty: it is not
	Every  time.Duration              // default 1 s: behind a checkpoint until the next, while the log grows
	After  uint64                     // default 1,024 commits: behind which it comes sooner
	Ticks  <-chan time.Time           // default ten a second: when heads are looked at
	Now    func() time.Time           // default time.Now
	Log    zerolog.Logger             // facts in the past tense
	Metric prometheus.Registerer      // default: none
}

// Signer signs checkpoints. Its methods are safe for concurrent use.
type Signer struct {
	cfg    Config
	signed *prometheus.CounterVec

	mu   sync.Mutex // guards logs
	logs map[string]*signing
}

// Status is how far a log is signed.
type Status struct {
	Log     string
	Size    uint64   // of the last checkpoint that this process signed or found; 0: none
	Refusal *Refusal // why no more are signed; nil: they are
}

// Refusal says that a log does not extend what was signed before.
type Refusal struct {
	Verdict verify.Verdict
	Detail  string
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Verdict) + ": " + r.Detail }

func refusal(v verify.Verdict, format string, args ...any) *Refusal {
	return &Refusal{Verdict: v, Detail: fmt.Sprintf(format, args...)}
}

const lookEvery = 100 * time.Millisecond

// New checks the configuration, all of it at once. Nothing is read or written before Run.
func New(c Config) (*Signer, error) {
	var problems []error
	for what, missing := range map[string]bool{
		"no Key": c.Key == nil, "no Logs": c.Logs == nil, "no Bucket": c.Bucket == nil, "no KeyOf": c.KeyOf == nil, "no Dir": c.Dir == "", "no Heads": c.Heads == nil, "no Record": c.Record == nil, "no Lost": c.Lost == nil,
	} {
		if missing {
			problems = append(problems, errors.New(what))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the signer of checkpoints: %w", err)
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.After == 0 {
		c.After = 1024
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Signer{cfg: c, logs: map[string]*signing{}}
	s.signed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_checkpoints_total", Help: "Checkpoints signed and stored, by log."}, []string{"log"})
	refusing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "eventful_checkpoints_refused", Help: "Logs for which no checkpoints are signed, as they contradict earlier ones."}, s.refusing)
	if c.Metric != nil {
		c.Metric.MustRegister(s.signed, refusing)
	}
	return s, nil
}

// Run signs until ctx ends, and gives nil. Each log has a goroutine of its own, so one that is read anew holds up no other.
func (s *Signer) Run(ctx context.Context) error {
	ticks := s.cfg.Ticks
	if ticks == nil {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		ticks = t.C
	}
	var working sync.WaitGroup
	defer working.Wait()
	for {
		select {
		case <-ctx.Done():
			working.Wait()
			s.last(ctx)
			return nil
		case <-ticks:
		}
		for _, h := range s.cfg.Heads() {
			if l := s.log(h.Log); l.due(h) {
				working.Go(func() { defer l.busy.Unlock(); l.step(ctx, h) })
			}
		}
	}
}

// lastPatience is how long the end waits for last checkpoints.
const lastPatience = 3 * time.Second

// last signs what the heads have come to, whatever is due: nobody comes to it later. What fails is logged, and the next start signs it.
func (s *Signer) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPatience)
	defer cancel()
	var working sync.WaitGroup
	defer working.Wait()
	for _, h := range s.cfg.Heads() {
		if l := s.log(h.Log); !s.cfg.Now().Before(l.rests) && (l.record == nil || l.record.Tree.Size() != h.Tree.Size()) { // no step is under way, so all is ours
			working.Go(func() { l.step(ctx, h) })
		}
	}
}

// log is the signing of a log.
func (s *Signer) log(name string) *signing {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		l = &signing{s: s, log: s.cfg.Log.With().Str("log", name).Logger()}
		l.status.Log = name
		s.logs[name] = l
	}
	return l
}

// Status lists how far logs are that this process has led, by name.
func (s *Signer) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Status
	for _, l := range s.logs {
		out = append(out, l.now())
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Log, b.Log) })
	return out
}

func (s *Signer) refusing() (n float64) {
	for _, l := range s.Status() {
		if l.Refusal != nil {
			n++
		}
	}
	return n
}
