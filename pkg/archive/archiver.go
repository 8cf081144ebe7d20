package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// ArchiverConfig is all an Archiver needs.
type ArchiverConfig struct {
	Archive *Archive
	Logs    eventlog.Store // the streams themselves, not joined
	// Passed gives the sequence that every projector has come to.
	Passed func(ctx context.Context, log string) (uint64, error)
	// Purge removes the messages of the stream up to a sequence. It may be repeated.
	Purge func(ctx context.Context, log string, upTo uint64) error
	// Size gives the bytes of a log's stream; needed for policies.
	Size  func(ctx context.Context, log string) (uint64, error)
	Slice time.Duration // default 10 s: Archive comes back behind the step that ends later than that
}

// Archiver moves the oldest messages of logs from their streams to an archive. All methods are safe for concurrent use; one log is worked on at a time.
type Archiver struct {
	cfg     ArchiverConfig
	working sync.Mutex
}

// NewArchiver makes one. It does nothing by itself.
func NewArchiver(cfg ArchiverConfig) *Archiver {
	if cfg.Slice == 0 {
		cfg.Slice = 10 * time.Second
	}
	return &Archiver{cfg: cfg}
}

// Keep has whoever writes the log keep its state in the archive, as of the cut or later, and record that in the log; segment is the digest of the one that holds the cut.
type Keep func(ctx context.Context, log string, cut uint64, segment event.Hash) (eventlog.KeptSnapshot, error)

// Outcome is how far a log is archived.
type Outcome struct {
	Log      string `json:"log"`
	UpTo     uint64 `json:"up-to"`    // was asked for
	Archived uint64 `json:"archived"` // the archive holds all up to here
	First    uint64 `json:"first"`    // of the stream: what is before it was purged
	Last     uint64 `json:"last"`     // of the log
	Done     bool   `json:"done"`     // false: ask again with the same UpTo
	Waiting  string `json:"waiting,omitempty"`
}

// Archive archives a log up to a sequence, and purges what lies in the archive; 0: up to the end. Steps and what a crash behind each leaves are section 6 of docs/spec/archive.md; called
// again, it goes on where it was. Nothing is purged if an error comes. eventlog.ErrAway: the archive lacks what was purged before; nothing is written.
func (r *Archiver) Archive(ctx context.Context, log string, upTo uint64, keep Keep) (Outcome, error) {
	r.working.Lock()
	defer r.working.Unlock()
	w := &work{r: r, keep: keep, over: time.Now().Add(r.cfg.Slice), out: Outcome{Log: log, UpTo: upTo}}
	if err := w.run(ctx); err != nil {
		return w.out, fmt.Errorf("archive log %s: %w", log, err)
	}
	return w.out, nil
}

// work is one call of Archive.
type work struct {
	r    *Archiver
	log  eventlog.Log
	keep Keep
	over time.Time
	out  Outcome
}

func (w *work) late() bool { return time.Now().After(w.over) }

func (w *work) run(ctx context.Context) (err error) {
	if w.log, err = w.r.cfg.Logs.Open(ctx, w.out.Log); err != nil {
		return err
	}
	if err := w.look(ctx); err != nil {
		return err
	}
	if w.out.UpTo == 0 || w.out.UpTo > w.out.Last {
		w.out.UpTo = w.out.Last
	}
	if idle, err := w.idle(ctx); err != nil || idle {
		w.out.Done = idle
		return err
	}
	if whole, err := w.extend(ctx); err != nil || !whole {
		return err
	}
	return w.purge(ctx)
}

// look reads the bounds of the stream and of the archive.
func (w *work) look(ctx context.Context) (err error) {
	if w.out.First, w.out.Last, err = w.log.Bounds(ctx); err != nil {
		return err
	}
	if w.out.Archived, err = w.r.cfg.Archive.Last(ctx, w.out.Log); err != nil {
		return err
	}
	if err := w.r.cfg.Archive.Whole(ctx, w.log); err != nil || w.out.Archived > 0 {
		return err
	}
	return w.others(ctx)
}

// others holds, before the first segment of a log is written, that the place has what another log lacks, if there is such a log: else it is not the archive of this site.
func (w *work) others(ctx context.Context) (away error) {
	names, err := w.r.cfg.Logs.List(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		log, err := w.r.cfg.Logs.Open(ctx, name)
		if errors.Is(err, eventlog.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		first, _, err := log.Bounds(ctx)
		if err != nil {
			return err
		}
		if first <= 1 || name == w.out.Log {
			continue
		}
		if away = w.r.cfg.Archive.Whole(ctx, log); !errors.Is(away, eventlog.ErrAway) {
			return away
		}
	}
	return away
}

// idle reports whether nothing is wanted behind the newest cut but the record of that cut: it would be archived for ever.
func (w *work) idle(ctx context.Context) (bool, error) {
	c := w.r.cfg.Archive.catalog(w.out.Log)
	kept, err := w.r.cfg.Archive.ListSnapshots(ctx, w.out.Log)
	if err != nil || w.out.Archived == 0 || w.out.First != w.out.Archived+1 || len(kept) == 0 || kept[0].Cut != w.out.Archived {
		return false, err
	}
	record, err := event.ParsePosition(kept[0].Record)
	if err != nil || record.Sequence > w.out.UpTo {
		return false, nil
	}
	behind, err := c.chain(ctx, c.newest())
	if err != nil {
		return false, err
	}
	m, err := w.log.Get(ctx, w.out.UpTo)
	if errors.Is(err, eventlog.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h, err := event.DecodeHeader(m.Data)
	return err == nil && h.TreeSize == behind.TreeSize+1, nil
}

// extend writes segments until the archive has all that is wanted; false: the time is up.
func (w *work) extend(ctx context.Context) (whole bool, err error) {
	for w.out.Archived < w.out.UpTo {
		s, done, err := w.r.cfg.Archive.Extend(ctx, w.log, w.out.UpTo)
		if err != nil {
			return false, err
		}
		w.out.Archived = s.Last
		if !done && w.late() {
			return false, nil
		}
	}
	return true, nil
}

// purge keeps the writer's state, compares, and removes what lies in the archive from the stream.
func (w *work) purge(ctx context.Context) error {
	passed, err := w.r.cfg.Passed(ctx, w.out.Log)
	if err != nil {
		return fmt.Errorf("ask how far projectors are: %w", err)
	}
	cut := min(w.out.UpTo, passed)
	if cut < w.out.UpTo {
		w.out.Waiting = fmt.Sprintf("a projector stands at %d", passed)
	}
	if cut < w.out.First {
		w.out.Done = true
		return nil
	}
	if err := w.record(ctx, cut); err != nil {
		return err
	}
	for w.out.First <= cut {
		if err := w.step(ctx, cut); err != nil {
			return err
		}
		if w.out.First <= cut && w.late() {
			return nil
		}
	}
	w.out.Done = true
	return nil
}

// record makes sure that a state as of the cut is in the archive, and that the log says so.
func (w *work) record(ctx context.Context, cut uint64) error {
	a := w.r.cfg.Archive
	kept, err := a.ListSnapshots(ctx, w.out.Log)
	if err != nil || len(kept) > 0 && kept[0].Cut >= cut {
		return err
	}
	s, found := a.catalog(w.out.Log).find(cut)
	if !found {
		return fmt.Errorf("sequence %d: %w", cut, ErrNotFound)
	}
	k, err := w.keep(ctx, w.out.Log, cut, s.Digest)
	if err != nil {
		return fmt.Errorf("keep the writer's state: %w", err)
	}
	if k.Sequence < cut || k.Record == "" {
		return fmt.Errorf("the writer kept its state as of %d, not of %d", k.Sequence, cut)
	}
	return a.Recorded(ctx, w.out.Log, k)
}

// step compares what one segment holds with the stream, and purges that.
func (w *work) step(ctx context.Context, cut uint64) error {
	s, found := w.r.cfg.Archive.catalog(w.out.Log).find(w.out.First)
	if !found {
		return fmt.Errorf("sequence %d: %w", w.out.First, ErrNotFound)
	}
	to := min(s.Last, cut)
	if before, found := w.r.cfg.Archive.catalog(w.out.Log).find(s.First - 1); found {
		if err := w.r.cfg.Archive.still(ctx, w.out.Log, before); err != nil {
			return err
		}
	}
	if err := w.r.cfg.Archive.Compare(ctx, w.log, w.out.First, to); err != nil {
		return err
	}
	if err := w.r.cfg.Purge(ctx, w.out.Log, to); err != nil {
		return fmt.Errorf("purge up to %d: %w", to, err)
	}
	first, _, err := w.log.Bounds(ctx)
	if err != nil {
		return err
	}
	if first != to+1 {
		return fmt.Errorf("purged up to %d, and the stream begins at %d", to, first)
	}
	w.out.First = first
	return nil
}
