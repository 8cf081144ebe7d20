package projector

import (
	"context"
	"sync"
	"time"
)

// bell tells those who wait that something moved.
type bell struct {
	mu   sync.Mutex    // guards what follows
	rung chan struct{} // nil while nobody waits
}

// next gives a channel that is closed at the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// Follow gives the events that come next, as Events does, and waits for them for at most a while; then the page is empty. There is always a cursor, with which following goes on: each event is
// given once, those of an aggregate, and of a log, in their order, whichever process is asked. Without a cursor it begins with the first event, or with now the first that is stored from now on. conflict: a
// log lost the block up to which events were given.
func (p *Projector) Follow(ctx context.Context, want EventsWanted, now bool, patience time.Duration) (Events, error) {
	f, err := p.feed(want, "follow")
	if err != nil {
		return Events{}, err
	}
	if now && want.Cursor == "" {
		if err := f.toEnd(ctx); err != nil {
			return Events{}, err
		}
		patience = 0
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for waiting := patience > 0; ; {
		moved := p.moves.next()
		if err := f.page(ctx); err != nil {
			return Events{}, err
		}
		if len(f.out.Events) > 0 || f.rest || !waiting {
			break
		}
		select {
		case <-moved:
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	f.out.Cursor, err = p.cursors.seal(f.query, f.places)
	return f.out, err
}

// toEnd goes behind all events that there are.
func (f *feed) toEnd(ctx context.Context) error {
	for _, x := range f.p.all() {
		err := x.view(ctx, func(r *reading) error {
			end, err := r.end()
			f.places[x.name] = end
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
