package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// feed reads one log for all partitions of a plugin in this process.
type feed struct {
	w        *work
	name     string
	folder   *folder
	far      int           // messages that were read ahead last; of the feed's goroutine, as folder is
	rejoined chan struct{} // holds one element when a member came

	mu      sync.Mutex // guards members
	members map[*member]bool
}

// member is a partition that gets what a feed reads.
type member struct {
	part  *partition
	chain event.Chain // where it stands; of the feed's goroutine once it joined, and of bench's while it is out
	slow  bool        // it was left behind, and has not come up to another one since; as chain
	left  bool        // guarded by feed.mu
}

// join has the partition get everything behind a place; leave ends it.
func (f *feed) join(part *partition, from event.Chain) (leave func()) {
	m := &member{part: part, chain: from}
	f.enter(m)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		m.left = true
		delete(f.members, m)
	}
}

// enter has the feed read for a member from its place on, unless it left meanwhile.
func (f *feed) enter(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.left {
		return
	}
	f.members[m] = true
	select {
	case f.rejoined <- struct{}{}:
	default:
	}
}

// bench goes on without a member that takes nothing, if there are others: these are not to wait for it. It is read for again, from its own place, once it took what it was given last.
func (f *feed) bench(m *member, a *arrival) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.members) < 2 || !f.members[m] {
		return false
	}
	delete(f.members, m)
	m.slow = true
	f.w.reading.Go(func() {
		select {
		case m.part.in <- a:
			m.chain = a.chain
			f.enter(m)
		case <-m.part.over:
		case <-f.w.ctx.Done():
		}
	})
	return true
}

func (f *feed) all() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*member, 0, len(f.members))
	for m := range f.members {
		all = append(all, m)
	}
	return all
}

// run reads until ctx ends, from the place of the member that stands furthest back whenever one comes.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		members := f.all()
		if len(members) == 0 {
			select {
			case <-f.rejoined:
			case <-ctx.Done():
			}
			continue
		}
		from := members[0].chain
		for _, m := range members[1:] {
			if m.chain.Sequence < from.Sequence {
				from = m.chain
			}
		}
		err := f.read(ctx, from)
		switch {
		case ctx.Err() != nil || errors.Is(err, errRejoin) || errors.Is(err, errHeldUp):
		case isMismatch(err):
			for _, m := range f.all() {
				m.part.fail(fmt.Errorf("log %s: %w", f.name, err))
			}
			wait(ctx, pause)
		default:
			f.w.log.Warn().Err(err).Str("log", f.name).Msg("log could not be read, it is tried again")
			wait(ctx, pause)
		}
	}
}

var (
	// errRejoin: a member came that stands elsewhere.
	errRejoin = errors.New("another place to read from")
	// errHeldUp: nothing was asked of the log while a member took nothing, and now it does; or the log gave nothing for a while.
	errHeldUp = errors.New("reading was held up")
)

// patience is how long a member may take nothing before its feed goes on with the others, or lets go of the log. One that stands behind the others, as it was slow before, is waited for no longer than brief.
const (
	patience = time.Second
	brief    = 20 * time.Millisecond
)

func (f *feed) read(ctx context.Context, from event.Chain) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		select {
		case <-f.rejoined:
			cancel(errRejoin)
		case <-ctx.Done():
		}
	})
	source, err := f.w.e.cfg.Store.Open(ctx, f.name)
	if err != nil {
		return causeOf(ctx, err)
	}
	r, err := eventlog.Read(ctx, source, from)
	if err != nil {
		return causeOf(ctx, err)
	}
	letGo := sync.OnceFunc(r.Stop)
	defer letGo()
	for {
		all, err := f.gather(ctx, source, r, letGo)
		for i := range all {
			if err := f.hand(ctx, source, &all[i]); err != nil {
				return causeOf(ctx, err)
			}
		}
		if err != nil {
			return causeOf(ctx, err)
		}
	}
}

func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errRejoin) {
		return cause
	}
	return err
}

// step is where a reader stood before a message, and behind it, and what ends the reader.
type step struct {
	before uint64
	behind event.Chain
	letGo  func()
}

// hand gives one judged message to every member that stands right before it. One that stands further back has just come: it is read for from its own place. errHeldUp: the
// reader ended meanwhile.
func (f *feed) hand(ctx context.Context, source eventlog.Log, at *judged) error {
	found := &at.found
	waiting := f.waiting(found, at.before)
	if len(waiting) == 0 {
		return nil
	}
	if found.Missing {
		first, _, err := source.Bounds(ctx)
		if err == nil && first > at.before+1 {
			err = fmt.Errorf("it begins with %d, what comes behind %d was purged, and this process is told no archive that holds it: %w", first, at.before, errMismatch)
		}
		if err != nil {
			return err
		}
	}
	if found.Standing == event.Damaged || found.Missing {
		f.w.log.Error().Err(found.Err).Str("log", f.name).Uint64("sequence", found.Sequence).Bool("missing", found.Missing).Msg("log is damaged; what is readable is delivered")
	}
	var divided map[int][]*item
	if found.Standing == event.Counts {
		var err error
		if divided, err = f.divide(ctx, source, found, waiting); err != nil {
			return err
		}
	}
	heldUp := false
	for _, m := range waiting {
		a := &arrival{log: f.name, chain: at.behind, counts: found.Standing == event.Counts}
		if a.counts {
			a.commits, a.items = len(found.Commits), divided[m.part.t.index]
		}
		held, err := f.give(ctx, m, a, len(waiting) > 1, at.letGo)
		if err != nil {
			return err
		}
		heldUp = heldUp || held
	}
	if heldUp {
		return errHeldUp
	}
	return nil
}

// give has the partition of a member take what was read. While it takes nothing the others are gone on with; if there are none, as before a target that is down, nothing more is asked of the log: letGo ends
// the reader then, and held tells of it. So whoever waits for a target costs those who write the log nothing. level: another member stands where this one does.
func (f *feed) give(ctx context.Context, m *member, a *arrival, level bool, letGo func()) (held bool, err error) {
	longest := patience
	if m.slow {
		longest = brief
	}
	soon := time.NewTimer(longest)
	defer soon.Stop()
	for {
		select {
		case m.part.in <- a:
			m.chain, m.slow = a.chain, m.slow && !level
			return held, nil
		case <-m.part.over:
			return held, nil
		case <-soon.C:
			if f.bench(m, a) {
				return held, nil
			}
			letGo()
			held = true
		case <-ctx.Done():
			return held, ctx.Err()
		}
	}
}

// arrival is one message of a log, as a partition gets it.
type arrival struct {
	log     string
	chain   event.Chain // behind it
	counts  bool
	commits int
	items   []*item
}
