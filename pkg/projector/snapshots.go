package projector

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/snapshot"
)

const (
	// longAggregate is the version from which on a read looks for a snapshot; what is shorter is folded sooner than asked for.
	longAggregate = 500
	// snapshotPause is the time between two snapshots, and snapshotPatience that for one.
	snapshotPause    = 10 * time.Millisecond
	snapshotPatience = 2 * time.Second
	// snapshotTries is how often one is tried, a snapshotRetry apart, before it is left for a later multiple: the index may be on its way, or the bucket away.
	snapshotTries = 10
	snapshotRetry = 500 * time.Millisecond
	// maxDue is how many aggregates may wait for a snapshot; beyond that their next one comes with a later event.
	maxDue = 1 << 16
)

// taker takes snapshots of aggregates that have passed a multiple of their threshold, the newest one, one aggregate after the other.
type taker struct {
	keep *snapshot.Snapshots // nil: none are taken
	woke chan struct{}

	mu  sync.Mutex // guards due
	due map[event.AggregateID]dueSnapshot
}

type dueSnapshot struct {
	version event.Version
	tries   int // that failed
}

func newTaker(keep *snapshot.Snapshots) *taker {
	return &taker{keep: keep, woke: make(chan struct{}, 1), due: make(map[event.AggregateID]dueSnapshot)}
}

// passed notes that a commit came, which may have passed a multiple of every.
func (t *taker) passed(a event.AggregateID, first, last event.Version, every uint64) {
	if t.keep == nil || every == 0 || uint64(last)/every == uint64(first-1)/every {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, waits := t.due[a]; waits || len(t.due) < maxDue {
		t.due[a] = dueSnapshot{version: event.Version(uint64(last) / every * every)}
	}
	poke(t.woke)
}

func (t *taker) next() (a event.AggregateID, one dueSnapshot, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for a, one = range t.due {
		delete(t.due, a)
		return a, one, true
	}
	return a, one, false
}

// failed has one tried again, unless it failed too often or a newer one is due; false: it is left for a later multiple.
func (t *taker) failed(a event.AggregateID, one dueSnapshot) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	one.tries++
	if _, waits := t.due[a]; waits || one.tries >= snapshotTries || len(t.due) >= maxDue {
		return false
	}
	t.due[a] = one
	return true
}

// takeSnapshots runs until ctx ends. What fails again and again is left for a later multiple: a snapshot only spares work.
func (p *Projector) takeSnapshots(ctx context.Context) {
	pause := time.NewTicker(snapshotPause)
	defer pause.Stop()
	for {
		a, one, found := p.taker.next()
		if !found {
			select {
			case <-p.taker.woke:
				continue
			case <-ctx.Done():
				return
			}
		}
		wait := pause.C
		if err := p.take(ctx, a, one.version, nil); err != nil && ctx.Err() == nil {
			again := p.taker.failed(a, one)
			p.config.Log.Debug().Err(err).Stringer("aggregate", a).Bool("again", again).Msg("snapshot was not taken")
			if again {
				wait = time.After(snapshotRetry)
			}
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return
		}
	}
}

// request is what somebody said who asked for a snapshot.
type request struct{ comment, actor string }

// take stores a snapshot of an aggregate at a version.
func (p *Projector) take(ctx context.Context, a event.AggregateID, v event.Version, asked *request) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	x, err := p.find(a)
	if err != nil {
		return err
	}
	var one snapshot.Snapshot
	err = p.withSchemas(ctx, func() error {
		return x.view(ctx, func(r *reading) error {
			f, err := &folded{}, error(nil)
			if asked != nil { // from the events alone: it may be asked for because another one lies
				err = p.foldOn(ctx, r, a, v, f, "")
			} else {
				f, err = p.fold(ctx, r, a, v)
			}
			if err == nil {
				one = f.snapshot(x.name, a)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	one.Taken = p.config.Now().UTC()
	if asked == nil {
		return p.taker.keep.Put(ctx, one)
	}
	requested := one
	requested.Requested, requested.Comment, requested.Actor = true, asked.comment, asked.actor
	return errors.Join(p.taker.keep.Put(ctx, requested), p.taker.keep.Mend(ctx, one))
}

// folded is an aggregate folded up to a version.
type folded struct {
	state  aggregate.State
	last   located // the commit with that version
	sealed sealedState
	folded event.Version // events that were folded, those of a snapshot left out
}

func (f *folded) leaf() event.Hash { return f.last.leaves[int(f.state.Version-f.last.First)] }

// snapshot is what is kept of it.
func (f *folded) snapshot(log string, a event.AggregateID) snapshot.Snapshot {
	s := snapshot.Snapshot{Log: log, Type: a.Type, ID: a.ID, Version: f.state.Version, Hash: f.leaf().String(), Deleted: f.state.Deleted}
	for _, name := range slices.Sorted(maps.Keys(f.state.Fields)) {
		s.Fields = append(s.Fields, snapshot.Field{Name: name, Value: f.state.Fields[name], Sealed: f.state.Sealed[name]})
		version := f.state.Sealed[name]
		known := slices.ContainsFunc(s.Keys, func(k snapshot.SealedVersion) bool { return k.Version == version })
		if under, ok := f.sealed.sealAt(version); ok && version > 0 && !known {
			s.Keys = append(s.Keys, snapshot.SealedVersion{Version: version, Site: under.site, Branch: under.branch, Key: under.commitment.String()})
		}
	}
	return s
}

// folding begins with what a snapshot says.
func folding(s *snapshot.Snapshot) *folded {
	f := &folded{state: aggregate.State{Version: s.Version, Deleted: s.Deleted, Fields: make(map[string]string, len(s.Fields))}}
	for _, field := range s.Fields {
		f.state.Fields[field.Name] = field.Value
		if field.Sealed == 0 {
			continue
		}
		if f.state.Sealed == nil {
			f.state.Sealed = make(map[string]event.Version)
		}
		f.state.Sealed[field.Name] = field.Sealed
	}
	for _, k := range s.Keys {
		key, err := event.ParseHash(k.Key)
		if err != nil {
			continue // its values open under no key
		}
		f.sealed.commits = append(f.sealed.commits, sealedCommit{seal{site: k.Site, branch: k.Branch, commitment: key}, k.Version, k.Version})
	}
	return f
}

// errOtherSnapshot: a snapshot is not of the history that the index has.
var errOtherSnapshot = errors.New("snapshot does not fit the log")

// fold folds an aggregate up to a version that it has, from a snapshot where that spares work.
func (p *Projector) fold(ctx context.Context, r *reading, a event.AggregateID, version event.Version) (*folded, error) {
	if s := p.snapshotFor(ctx, r.log, a, version); s != nil {
		f := folding(s)
		err := p.foldOn(ctx, r, a, version, f, s.Hash)
		if err == nil {
			f.folded = version - s.Version
			return f, nil
		}
		if !errors.Is(err, errOtherSnapshot) {
			return nil, err
		}
		p.config.Log.Warn().Stringer("aggregate", a).Uint64("version", uint64(s.Version)).Msg("snapshot does not fit the log, and was left out")
	}
	f := &folded{folded: version}
	return f, p.foldOn(ctx, r, a, version, f, "")
}

// foldOn folds the events behind f's version. hash is what the event at that version must have, if it is above 0.
func (p *Projector) foldOn(ctx context.Context, r *reading, a event.AggregateID, version event.Version, f *folded, hash string) error {
	began := f.state.Version
	err := r.commits(ctx, a, max(began, 1), func(c located) (bool, error) {
		if began > 0 && c.First <= began && c.Last() >= began && c.leaves[began-c.First].String() != hash {
			return false, errOtherSnapshot
		}
		f.last = c
		f.sealed.note(c)
		for i := range c.Events {
			if f.state.Version == version {
				break
			}
			if c.First+event.Version(i) <= began {
				continue
			}
			deletes, err := p.schemas.deleting(a.Type, c.Events[i].Type, c.Events[i].SchemaDigest)
			if err != nil {
				return false, err
			}
			f.state = aggregate.Fold(f.state, c.Events[i], deletes)
		}
		return f.state.Version < version, nil
	})
	if err != nil {
		return err
	}
	if f.last.Commit == nil || f.state.Version != version || f.last.First > version {
		return gap(a, version)
	}
	f.state.RolledBack = aggregate.IsRollback(&f.last.Events[int(version-f.last.First)])
	return nil
}

// snapshotFor gives the newest snapshot up to a version, where looking for one is worth it; nil: there is none.
func (p *Projector) snapshotFor(ctx context.Context, log string, a event.AggregateID, version event.Version) *snapshot.Snapshot {
	if p.taker.keep == nil || version < longAggregate {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience/10)
	defer cancel()
	s, err := p.taker.keep.Newest(ctx, log, a)
	if err != nil || s == nil || s.Version > version || s.Version == 0 {
		return nil
	}
	return s
}

// TakeSnapshot stores a snapshot of an aggregate at a version (0: the newest), with a comment and who asked, and gives the version. not_found if there is no such
// aggregate or version.
func (p *Projector) TakeSnapshot(ctx context.Context, a event.AggregateID, v event.Version, comment, actor string) (SnapshotInfo, error) {
	if p.taker.keep == nil {
		return SnapshotInfo{}, problem.New(problem.Unavailable, "this process keeps no snapshots")
	}
	_, newest, _, err := p.Newest(ctx, a)
	switch {
	case err != nil:
		return SnapshotInfo{}, err
	case v > newest:
		return SnapshotInfo{}, problem.New(problem.NotFound, "aggregate %s has no version %d", a, v).WithHint("its newest version is %d", newest)
	case v == 0:
		v = newest
	}
	if err = p.take(ctx, a, v, &request{comment, actor}); errors.Is(err, snapshot.ErrTooLarge) {
		return SnapshotInfo{}, problem.New(problem.TooLarge, "%s at version %d: %v", a, v, err)
	} else if err != nil {
		return SnapshotInfo{}, unavailableSnapshots(a, err)
	}
	all, err := p.Snapshots(ctx, a)
	for _, one := range all {
		if err == nil && one.Version == uint64(v) && one.Requested {
			return one, nil
		}
	}
	return SnapshotInfo{Version: uint64(v)}, err
}

func unavailableSnapshots(a event.AggregateID, err error) error {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p
	}
	return problem.New(problem.Unavailable, "snapshots of %s cannot be reached: %v", a, err).WithHint("try again in a moment; states are read without them")
}

// Snapshots lists the snapshots of an aggregate by version. not_found if there is no such aggregate.
func (p *Projector) Snapshots(ctx context.Context, a event.AggregateID) ([]SnapshotInfo, error) {
	at, _, _, err := p.Newest(ctx, a)
	if err != nil {
		return nil, err
	}
	if p.taker.keep == nil {
		return []SnapshotInfo{}, nil
	}
	found, err := p.taker.keep.List(ctx, at.Log, a)
	if err != nil {
		return nil, unavailableSnapshots(a, err)
	}
	out := []SnapshotInfo{}
	for _, f := range found {
		one := SnapshotInfo{Version: uint64(f.Version), Hash: f.Hash, Requested: f.Requested, Comment: f.Comment, Actor: f.Actor}
		if f.Err != nil {
			one.Error = f.Err.Error()
		} else {
			one.Taken = f.Taken.Format(time.RFC3339Nano)
		}
		out = append(out, one)
	}
	return out, nil
}

// every is after how many events of a type a snapshot is taken; 0: none is.
func (s *schemas) every(aggregateType string) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.thresholds[aggregateType]
}
