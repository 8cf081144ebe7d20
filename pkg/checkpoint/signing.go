package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
)

// lookAgain is how long a log that was refused, or could not be read, rests.
const lookAgain = 5 * time.Second

// signing is the signing of one log.
type signing struct {
	s    *Signer
	log  zerolog.Logger
	busy sync.Mutex // held by due while a step is under way; it guards what follows

	session  uint64          // of the head that record was compared with; 0: none yet
	record   *logtree.Record // the last checkpoint; nil: none yet
	revision uint64
	commits  uint64 // of the head that it was signed for
	at       time.Time
	rests    time.Time // until then nothing is tried

	mu     sync.Mutex // guards status
	status Status
}

func (l *signing) now() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// due reports whether there is something to do for a head; if so busy is held.
func (l *signing) due(h *logtree.Head) bool {
	if !l.busy.TryLock() {
		return false
	}
	now := l.s.cfg.Now()
	switch grown := l.record == nil || h.Tree.Size() > l.record.Tree.Size(); {
	case now.Before(l.rests):
	case h.Session != l.session:
		return true
	case grown && h.Tree.Size() > 0 && (now.Sub(l.at) >= l.s.cfg.Every || h.Commits-l.commits >= l.s.cfg.After):
		return true
	}
	l.busy.Unlock()
	return false
}

// step begins a session, or signs the next checkpoint. What fails is tried again; what is refused is named.
func (l *signing) step(ctx context.Context, h *logtree.Head) {
	err := l.try(ctx, h)
	if ctx.Err() != nil {
		return
	}
	var refused *Refusal
	if errors.As(err, &refused) {
		l.log.Error().Str("verdict", string(refused.Verdict)).Msg("no checkpoint was signed: " + refused.Detail)
	} else if err != nil {
		l.log.Warn().Err(err).Msg("checkpoint could not be signed")
	}
	if err != nil {
		l.session, l.rests = 0, l.s.cfg.Now().Add(lookAgain)
	}
	if errors.Is(err, eventlog.ErrTaken) || errors.Is(err, eventlog.ErrUnknown) {
		l.rests = time.Time{} // what is stored now tells
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Refusal = refused
	if l.record != nil {
		l.status.Size = l.record.Tree.Size()
	}
}

func (l *signing) try(ctx context.Context, h *logtree.Head) error {
	if h.Session != l.session {
		if err := l.begin(ctx, h); err != nil {
			return err
		}
		l.session = h.Session
	}
	if h.Tree.Size() == 0 || l.record != nil && l.record.Tree.Size() == h.Tree.Size() {
		return nil
	}
	if l.record != nil && l.record.Tree.Size() > h.Tree.Size() {
		return errors.New("the log's tree became smaller within a session") // begin says what is wrong
	}
	if !l.s.cfg.Record(ctx) {
		return errors.New("the key that signs checkpoints is not recorded yet")
	}
	return l.sign(ctx, h)
}

// sign signs the tree of a head and stores the checkpoint.
func (l *signing) sign(ctx context.Context, h *logtree.Head) error {
	signed, err := l.s.cfg.Key.Sign(h.Log, h.Tree.Size(), h.Tree.Root())
	if err != nil {
		return err
	}
	r := &logtree.Record{Note: signed, Position: h.Position(), Epoch: h.Epoch, Time: h.Time, Tree: h.Tree}
	value := r.Encode()
	revision, err := l.s.cfg.Bucket.Replace(ctx, l.s.cfg.KeyOf(h.Log), value, l.revision)
	if err != nil {
		return fmt.Errorf("store the checkpoint of size %d: %w", h.Tree.Size(), err)
	}
	l.record, l.revision, l.commits, l.at = r, revision, h.Commits, l.s.cfg.Now()
	l.s.signed.WithLabelValues(h.Log).Inc()
	if err := l.s.note(h.Log, value); err != nil {
		l.log.Warn().Err(err).Msg("own note of a checkpoint could not be written")
	}
	return nil
}

// note writes this process's own note of the last checkpoint of a log. It is not flushed: it is read beside the bucket.
func (s *Signer) note(log string, value []byte) error {
	path := filepath.Join(s.cfg.Dir, log)
	err := os.WriteFile(path+".new", value, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(s.cfg.Dir, 0o700); err == nil {
			err = os.WriteFile(path+".new", value, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note the checkpoint of %s: %w", log, err)
	}
	return nil
}
