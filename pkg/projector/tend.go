package projector

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Aggregates that nothing was stored of for a while leave the hot tier: their commits are given up, and read from the log when they are asked for; state and entries by which they are found
// stay. What is written again, or restored, is brought back. Neither changes what the index says, so an index is the same function of its log whether it was tended or not.

const (
	// pausePatience is how long a log's follower may take to let the index be changed.
	pausePatience = 10 * time.Second
	// warmStep is how many aggregates are brought back in one batch, and warmBytes how much of them is held in memory, about.
	warmStep  = 1024
	warmBytes = 16 << 20
)

// tend moves aggregates until ctx ends.
func (p *Projector) tend(ctx context.Context) {
	tick := time.NewTicker(p.config.TendEvery)
	defer tick.Stop()
	swept := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.tendOnce(ctx, func(log string) bool {
			now, idle := time.Now(), p.config.IdleFor(log)
			if idle <= 0 || now.Sub(swept[log]) < min(idle/20, time.Hour) {
				return false
			}
			swept[log] = now
			return true
		})
	}
}

// tendOnce goes through all logs but the system log, once; sweep says of which to look for idle aggregates.
func (p *Projector) tendOnce(ctx context.Context, sweep func(log string) bool) {
	for _, x := range p.all() {
		if x.name == event.Reserved {
			continue
		}
		err := x.flushMoves(ctx)
		if err == nil {
			err = p.warmUp(ctx, x)
		}
		if err == nil && sweep(x.name) {
			err = p.cool(ctx, x)
		}
		if err != nil && ctx.Err() == nil {
			p.config.Log.Warn().Err(err).Str("log", x.name).Msg("aggregates were not moved between tiers, tried again later")
		}
	}
}

// idleSince is the time before which the newest commit of an idle aggregate of a log was stored; 0: none is idle.
func (p *Projector) idleSince(log string) event.Time {
	idle := p.config.IdleFor(log)
	if idle <= 0 {
		return 0
	}
	return event.Time(p.config.Now().Add(-idle).UnixNano())
}

// pause lets the index of a log be changed while the log is not read.
func (x *index) pause(ctx context.Context, fn func(m *mover) error) error {
	ctx, cancel := context.WithTimeout(ctx, pausePatience)
	defer cancel()
	done := make(chan error, 1)
	act := func() error {
		m, err := x.mover(ctx, x.store)
		if err == nil {
			err = fn(m)
			m.r.store.Close()
		}
		if err == nil {
			err = m.write(x.store)
		}
		done <- err
		if errors.Is(err, errContent) || errors.Is(err, indexstore.ErrDoubted) {
			return err
		}
		return nil
	}
	select {
	case x.pauses <- act:
		return <-done
	case <-ctx.Done():
		return problem.New(problem.Unavailable, "the follower of log %s is busy: %v", x.name, ctx.Err())
	}
}

// flushMoves writes what is in memory if it says something of tiers: what leaves the hot tier does so then, and need not wait until there is more.
func (x *index) flushMoves(ctx context.Context) error {
	x.mu.RLock()
	due := x.tail != nil && x.tail.moves()
	x.mu.RUnlock()
	if !due {
		return nil
	}
	return x.pause(ctx, func(*mover) error { return x.flush() })
}

// cool lets idle aggregates leave the hot tier.
func (p *Projector) cool(ctx context.Context, x *index) error {
	before, n := p.idleSince(x.name), 0
	for _, t := range x.listed(nil) {
		for after := ""; ; {
			ids, more, err := x.idle(ctx, t, after, before)
			if err != nil {
				return err
			}
			if len(ids) > 0 {
				if err := x.pause(ctx, func(m *mover) error { return m.cool(t, ids, before, x.tail) }); err != nil {
					return err
				}
				after, n = ids[len(ids)-1], n+len(ids)
			}
			if !more {
				break
			}
		}
	}
	if n > 0 {
		p.config.Log.Info().Str("log", x.name).Int("aggregates", n).Msg("aggregates left the hot tier: they are idle")
	}
	return nil
}

// idle gives ids of a type that are idle, behind one; more says that others may follow.
func (x *index) idle(ctx context.Context, aggregateType, after string, before event.Time) (ids []string, more bool, err error) {
	err = x.view(ctx, func(r *reading) error {
		prefix := typePrefix(keyNewest, aggregateType)
		var failure error
		err := r.store.Scan(prefix, append(bytes.Clone(prefix), after...), func(key, value []byte) bool {
			id := string(key[len(prefix):])
			if id <= after || len(value) == 0 {
				return true
			}
			s, err := parseState(value)
			if failure = err; err == nil && s.time < before && !s.gone() {
				ids = append(ids, id)
			}
			more = len(ids) == moveStep
			return err == nil && !more
		})
		return errors.Join(failure, err)
	})
	return ids, more, err
}

// cool collects what lets aggregates leave the hot tier that are idle still.
func (m *mover) cool(aggregateType string, ids []string, before event.Time, tail *tail) error {
	for _, id := range ids {
		a := event.AggregateID{Type: aggregateType, ID: id}
		s, err := m.state(newestKey(a))
		if err != nil {
			return err
		}
		if _, tiered := tail.tier(a); s == nil || s.time >= before || s.gone() || tiered || len(tail.of(a)) > 0 {
			continue
		}
		if err := m.leave(a, s); err != nil {
			return err
		}
		m.set(newestKey(a), append(s.appendHead(nil), s.fields...))
	}
	return nil
}

// warmed is an aggregate whose commits were read from the log.
type warmed struct {
	a       event.AggregateID
	part    coldPart
	commits []tailCommit // none: it stays where it is
}

// warmUp brings back what is to be brought back.
func (p *Projector) warmUp(ctx context.Context, x *index) error {
	for {
		found, more, err := p.due(ctx, x)
		if err != nil || len(found) == 0 {
			return err
		}
		if err := x.pause(ctx, func(m *mover) error { return m.warm(found, x.tail) }); err != nil || !more {
			return err
		}
	}
}

// due reads some aggregates that are to be brought back; more says that there are others.
func (p *Projector) due(ctx context.Context, x *index) (found []warmed, more bool, err error) {
	size, before := 0, p.idleSince(x.name)
	err = x.view(ctx, func(r *reading) error {
		var due []event.AggregateID
		err := r.store.Scan([]byte{keyDue}, nil, func(key, value []byte) bool {
			if len(value) > 0 && value[0] == dueWarm {
				due = append(due, aggregateOf(key))
			}
			return len(due) < warmStep
		})
		if err != nil {
			return err
		}
		more = len(due) == warmStep
		for _, a := range due {
			if more = more || size > warmBytes; size > warmBytes {
				return nil
			}
			w, n, err := p.read(r, a, before)
			if err != nil {
				return err
			}
			found, size = append(found, w), size+n
		}
		return nil
	})
	return found, more, err
}

// read reads what of an aggregate lies in the log alone. What is damaged there, more than fits into memory, idle or archived stays there.
func (p *Projector) read(r *reading, a event.AggregateID, before event.Time) (w warmed, size int, err error) {
	w.a = a
	base, err := r.base(a)
	if err != nil || base == nil || base.cold == nil || base.tier.archived() || base.time < before {
		return w, 0, err
	}
	w.part = *base.cold
	_, err = r.cold(a, 1, base.cold, func(c located) (bool, error) {
		raw, err := c.Encode()
		w.commits = append(w.commits, tailCommit{c.at, c.First, c.leaves, raw})
		size += len(raw) + commitBytes
		return size <= coldBytes, err
	})
	if size > coldBytes {
		w.commits = nil
	}
	if err != nil && problem.From(err).Code == problem.Damaged {
		p.config.Log.Error().Err(err).Stringer("aggregate", a).Msg("damage: an aggregate cannot be brought back into the hot tier")
		return warmed{a: a}, 0, nil
	}
	return w, size, err
}

// warm collects what brings aggregates back.
func (m *mover) warm(found []warmed, tail *tail) error {
	for _, w := range found {
		m.set(named(keyDue, w.a), nil)
	}
	m.records = func(b *indexstore.Batch) error {
		shrinker, err := newShrinker(b, dictionaryOf(found))
		if err != nil {
			return err
		}
		for i := range found {
			if err := m.put(shrinker, &found[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range found {
		s, err := m.state(newestKey(found[i].a))
		if err != nil {
			return err
		}
		if _, tiered := tail.tier(found[i].a); tiered || s == nil || s.cold == nil || s.cold.at != found[i].part.at {
			found[i].commits = nil // it was moved meanwhile
		}
	}
	return nil
}

// put writes the records of an aggregate, and the entries that lead to them.
func (m *mover) put(to *shrinker, w *warmed) error {
	if len(w.commits) == 0 {
		return nil
	}
	s, err := m.state(newestKey(w.a))
	if err != nil {
		return err
	}
	var at indexstore.Location
	var record []byte
	for i := 0; i < len(w.commits); {
		from := i
		record = record[:0]
		for ; i < len(w.commits) && (i == from || len(record)+len(w.commits[i].raw) <= recordBytes); i++ {
			record = appendRecorded(record, &w.commits[i])
		}
		if at, err = to.record(record); err != nil {
			return err
		}
		m.set(commitKey(w.a, w.commits[from].first), at.Append(nil))
	}
	if s.gone() {
		s.at = at
	}
	s.cold = nil
	m.set(newestKey(w.a), append(s.appendHead(nil), s.fields...))
	return nil
}

// dictionaryOf makes the dictionary of what is brought back.
func dictionaryOf(found []warmed) (b []byte) {
	for i := range found {
		if len(b) < dictBytes && len(found[i].commits) > 0 {
			raw := found[i].commits[0].raw
			b = append(b, raw[:min(len(raw), dictBytes/dictSamples)]...)
		}
	}
	return b
}
