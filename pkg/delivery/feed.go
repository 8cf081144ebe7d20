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
	chain event.Chain // where it stands; of the feed's goroutine once it joined
}

// join has the partition get everything behind a place; leave ends it.
func (f *feed) join(part *partition, from event.Chain) (leave func()) {
	m := &member{part, from}
	f.mu.Lock()
	f.members[m] = true
	f.mu.Unlock()
	select {
	case f.rejoined <- struct{}{}:
	default:
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.members, m)
	}
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

// patience is how long a member may take nothing before its feed lets go of the log.
const patience = time.Second

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
		held, err := m.take(ctx, a, at.letGo)
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

// take has the partition take what was read. While it takes nothing, as before a target that is down, nothing more is asked of the log: letGo ends the reader then, and held tells of it. So whoever
// waits for a target costs those who write the log nothing.
func (m *member) take(ctx context.Context, a *arrival, letGo func()) (held bool, err error) {
	soon := time.NewTimer(patience)
	defer soon.Stop()
	for {
		select {
		case m.part.in <- a:
			m.chain = a.chain
			return held, nil
		case <-m.part.over:
			return held, nil
		case <-soon.C:
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
