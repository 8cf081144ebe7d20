package eventlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Persistent makes a store fit for the suite while its servers are killed: an append whose outcome is unknown is sent again, to the same place and for nothing else, until the
// place is taken; then what lies there says whose it is. Everything else is the store's own. Messages of one place must differ from sender to sender.
func Persistent(s eventlog.Store) eventlog.Store { return persistentStore{s} }

type persistentStore struct{ eventlog.Store }

func (s persistentStore) Open(ctx context.Context, name string) (eventlog.Log, error) {
	return persist(s.Store.Open(ctx, name))
}

func (s persistentStore) Create(ctx context.Context, name string) (eventlog.Log, error) {
	return persist(s.Store.Create(ctx, name))
}

func persist(l eventlog.Log, err error) (eventlog.Log, error) {
	if err != nil {
		return nil, err
	}
	none := &settled{done: make(chan struct{})}
	close(none.done)
	return &persistentLog{Log: l, last: none}, nil
}

type persistentLog struct {
	eventlog.Log
	mu   sync.Mutex
	last *settled // the newest append
}

// settled is an append whose outcome is always known in the end.
type settled struct {
	expected uint64
	again    bool // it was sent more than once; read behind done
	done     chan struct{}
	err      error
}

func (p *settled) Done() <-chan struct{} { return p.done }

func (p *settled) Err() error {
	<-p.done
	return p.err
}

func (l *persistentLog) Append(expected uint64, data []byte) eventlog.Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, p := l.last, &settled{expected: expected, done: make(chan struct{})}
	l.last = p
	first := l.Log.Append(expected, data)
	go func() {
		defer close(p.done)
		p.err = l.settle(p, before, first, data)
	}()
	return p
}

func (l *persistentLog) settle(p, before *settled, sent eventlog.Pending, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience-patience/6) // before whoever waits for it gives up, so that it is told why
	defer cancel()
	for {
		err := sent.Err()
		switch {
		case errors.Is(err, eventlog.ErrUnknown):
			p.again = true
		case !errors.Is(err, eventlog.ErrTaken):
			return err
		case !p.again && !l.behind(p, before):
			return err
		}
		switch m, failed := l.Get(ctx, p.expected+1); {
		case failed == nil && bytes.Equal(m.Data, data):
			return nil
		case failed == nil:
			return fmt.Errorf("another message lies there: %w", eventlog.ErrTaken)
		case ctx.Err() != nil:
			return fmt.Errorf("no outcome: %w; its place could not be read: %w", err, failed)
		}
		if _, last, failed := l.Bounds(ctx); errors.Is(err, eventlog.ErrTaken) && failed == nil && last < p.expected && !l.follows(p, before) {
			return err // the place before it is empty, and nobody fills it
		}
		p.again = true
		sent = l.Log.Append(p.expected, data)
	}
}

// behind says whether an append was refused only because the one before it had to be sent again, and is stored now.
func (l *persistentLog) behind(p, before *settled) bool {
	return l.follows(p, before) && before.again
}

// follows says whether the append before it is at the place before, and stored.
func (l *persistentLog) follows(p, before *settled) bool {
	return before.expected+1 == p.expected && before.Err() == nil
}
