package writer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	typeArchive      = schema.SystemArchive // in the log that is archived
	eventArchived    = "log-archived"
	typeArchiveAct   = schema.SystemArchiveAct // in the system log
	eventArchivedAct = "events-archived"
)

// Cut says up to where a log lies in the archive.
type Cut struct {
	Sequence uint64 `json:"sequence"` // the last that may be purged
	Segment  string `json:"segment"`  // digest of the segment that holds it, hexadecimal
}

// archiving is a state on its way to the archive.
type archiving struct {
	cut  Cut
	done chan struct{}
	kept eventlog.KeptSnapshot // read after done
	p    *problem.Problem
}

// AskArchive has whoever writes a log keep its state, as of the cut or later, in the archive, and record both in the log. It asks again until that is done or ctx ends. asker is the token
// of who wants it, which the writer checks; empty: a policy does. Repeated with the same cut, it may keep a second state.
func AskArchive(ctx context.Context, peers Peers, log, asker string, cut Cut) (eventlog.KeptSnapshot, error) {
	r, err := askArchive(ctx, peers, log, call{Format: callFormat, Asker: asker, Archive: &cut})
	switch {
	case err != nil:
		return eventlog.KeptSnapshot{}, err
	case r.Kept == nil:
		return eventlog.KeptSnapshot{}, fmt.Errorf("log %s: whoever writes it kept no state", log)
	}
	return *r.Kept, nil
}

// askArchive has the call of an archiver answered by whoever writes a log.
func askArchive(ctx context.Context, peers Peers, log string, c call) (r result, err error) {
	body, err := json.Marshal(c)
	if err != nil {
		return r, fmt.Errorf("encode a call: %w", err)
	}
	why := "nobody serves it"
	for {
		one, cancel := context.WithTimeout(ctx, attemptPatience)
		answer, err := peers.Call(one, log, verbArchive, body)
		cancel()
		if err == nil {
			r, err = decodeResult(answer)
		}
		switch {
		case err != nil:
			why = err.Error()
		case r.Again:
			why = "who serves it is not done"
		case r.Problem != nil:
			return r, r.Problem
		default:
			return r, nil
		}
		if pause(ctx, retryAtLeast) != nil {
			return result{}, fmt.Errorf("whoever writes log %s did not answer in time: %s: %w", log, why, eventlog.ErrUnavailable)
		}
	}
}

// archiveAs is under whose name an archiver's call is recorded. An archiver is no writer, so it is believed nothing of that: it hands on the token of who asked, or acts for a policy.
func (w *Writer) archiveAs(c call) (*token.Claims, *problem.Problem) {
	if c.Token != nil {
		return nil, problem.New(problem.Malformed, "the archiver says who asks, and hands on no token of his").WithHint("update the processes of the projector")
	}
	if c.Asker == "" {
		return &token.Claims{ID: "archive-policy", Issuer: "archive-policy", IdentifierType: "policy", IdentifierID: "archive"}, nil
	}
	claims, err := w.Authenticate(c.Asker)
	switch {
	case err != nil:
		return nil, problem.From(err)
	case !claims.AllowsAll(token.ActionAdmin):
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow archiving", claims.Actor()).WithHint("use an auth key that may administer every type")
	}
	return claims, nil
}

// archive answers the call of an archiver. The work goes on from call to call.
func (w *Writer) archive(ctx context.Context, e *engine, c call) result {
	by, p := w.archiveAs(c)
	if p != nil {
		return result{Problem: p}
	}
	cut := *c.Archive
	if w.cfg.Snapshots == nil {
		return result{Problem: problem.New(problem.Invalid, "the writer of log %s has no archive", e.name).WithHint("give all processes of the site the same `archive`")}
	}
	w.checking.Lock()
	k := w.archives[e.name]
	if k == nil || k.cut != cut {
		k = &archiving{cut: cut, done: make(chan struct{})}
		w.archives[e.name] = k
		w.beside(func(ctx context.Context) {
			defer close(k.done)
			k.kept, k.p = w.keepState(ctx, e, by, cut)
		})
	}
	w.checking.Unlock()
	if !doneInTime(ctx, k.done) {
		return result{Again: true}
	}
	w.checking.Lock()
	defer w.checking.Unlock()
	if w.archives[e.name] == k {
		delete(w.archives, e.name)
	}
	return result{Kept: &k.kept, Problem: k.p}
}

// keepState is three side effects: (1) the state goes to the archive: a crash behind it leaves what nothing names. (2) The record in the log. (3) The act in the system log, for the
// audit: the archiver, who has no answer yet and purges nothing without one, asks again, for this cut or a later one.
func (w *Writer) keepState(ctx context.Context, e *engine, by *token.Claims, cut Cut) (k eventlog.KeptSnapshot, p *problem.Problem) {
	if p := w.checkCut(ctx, e.name, cut); p != nil {
		return k, p
	}
	var st *state
	if _, p := w.act(ctx, e, by, func(*submission) ([]aggregate.Change, *problem.Problem) { st = e.st; return nil, nil }); p != nil {
		return k, p
	}
	for e.applied.Load() < cut.Sequence { // the stored state is a second behind, at most
		if pause(ctx, retryAtLeast) != nil {
			return k, problem.New(problem.Unavailable, "log %s: its state does not have sequence %d yet", e.name, cut.Sequence)
		}
	}
	k, err := st.keep(ctx, w.cfg.Snapshots, e.name, e.mark())
	if err == nil && k.Sequence < cut.Sequence {
		err = fmt.Errorf("the state kept is of sequence %d, before the cut at %d", k.Sequence, cut.Sequence)
	}
	if err != nil {
		return k, problem.New(problem.Unavailable, "the state of log %s could not be kept in the archive: %v", e.name, err)
	}
	k.Cut = cut.Sequence
	answer, p := w.act(ctx, e, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(typeArchive, e.name, eventArchived, map[string]string{
			"cut": decimal(cut.Sequence), "segment": cut.Segment, "state": k.Name, "digest": k.Digest, "sequence": decimal(k.Sequence),
		}), nil
	})
	if p != nil {
		return k, p
	}
	made := answer.Commits[0]
	k.Record = made.Position
	if e.isSystem() {
		return k, nil // the record is the act
	}
	_, p = w.ask(ctx, w.system.name, verbArchived, call{Token: by, Archived: &archivedAct{e.name, cut, made.Position, made.Hashes[0]}})
	return k, p
}

// archivedAct says that a log lies in the archive up to a cut, and where the log itself says so.
type archivedAct struct {
	Log      string `json:"log"`
	Cut      Cut    `json:"cut"`
	Position string `json:"position"`
	Hash     string `json:"hash"`
}

// enterArchived records it in the system log, once for each cut of a log.
func (w *Writer) enterArchived(ctx context.Context, by *token.Claims, a archivedAct) *problem.Problem {
	_, p := w.act(ctx, w.system, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		changes := oneEvent(typeArchiveAct, a.Log+"/"+decimal(a.Cut.Sequence), eventArchivedAct, map[string]string{
			"log": a.Log, "cut": decimal(a.Cut.Sequence), "segment": a.Cut.Segment, "position": a.Position, "hash": a.Hash,
		})
		changes[0].Expected = aggregate.None
		return changes, nil
	})
	if p != nil && p.Code == problem.Conflict {
		return nil // it was entered before
	}
	return p
}

// checkCut looks into the archive for the segment that an archiver names.
func (w *Writer) checkCut(ctx context.Context, log string, cut Cut) *problem.Problem {
	held, err := w.cfg.Snapshots.Holder(ctx, log, cut.Sequence)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		return problem.New(problem.Invalid, "log %s: the writer does not find what was archived: %v", log, err).WithHint("give all processes of the site the same `archive`")
	case err != nil:
		return problem.New(problem.Unavailable, "log %s: the archive cannot be read: %v", log, err)
	case held.String() != cut.Segment:
		return problem.New(problem.Invalid, "log %s: sequence %d lies in segment %s of the archive, not in %.80q", log, cut.Sequence, held, cut.Segment).WithHint("give all processes of the site the same `archive`")
	}
	return nil
}

// mark is what a state must bear that this engine may take over: the same key of command ids, the same unique fields.
func (e *engine) mark() []byte {
	h := newHasher(e.cfg.Key, e.name)
	key := h.hash("mark")
	unique := sha256.Sum256([]byte(e.uniqueKey))
	return append(key[:], unique[:]...)
}

// errStateMoved: the state was written to between two reads of it.
var errStateMoved = errors.New("the state moved on")

// keep puts all of a stored state into the archive, as it is at one moment. It may run beside the applier.
func (s *state) keep(ctx context.Context, to eventlog.Snapshots, log string, mark []byte) (k eventlog.KeptSnapshot, err error) {
	for {
		raw, err := s.store.Get([]byte(keyMeta))
		if err != nil {
			return k, fmt.Errorf("read the state's position: %w", err)
		}
		m, err := decodeMeta(raw)
		if err != nil {
			return k, err
		}
		about := eventlog.Snapshot{Log: log, Kind: stateKind(), Mark: mark, Sequence: m.chain.Sequence}
		k, err = to.PutSnapshot(ctx, about, func(put func(key, value []byte) error) error { return s.each(string(raw), put) })
		if !errors.Is(err, errStateMoved) {
			return k, err
		}
	}
}

// each gives all that is stored; errStateMoved if its position is another one than before.
func (s *state) each(position string, put func(key, value []byte) error) (err error) {
	if now, err := s.store.Get([]byte(keyMeta)); err != nil || string(now) != position {
		return errors.Join(err, errStateMoved)
	}
	scanErr := s.store.Scan(nil, nil, func(key, value []byte) bool {
		if string(key) == keyMeta && string(value) != position {
			err = errStateMoved
		} else {
			err = put(key, value)
		}
		return err == nil
	})
	return errors.Join(err, scanErr)
}
