package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// errContent: an entry of the index does not read as this program writes it; the index is dropped and rebuilt.
var errContent = errors.New("index entry cannot be read")

// index is the index of one log. Its follower writes it, queries read it.
type index struct {
	name     string
	held     *held
	dicts    *dicts
	progress progress
	woken    chan struct{}     // asks the follower to look at its log again, and to try again what failed
	swaps    chan func() error // asks the follower to run it while nothing reads the log
	anew     sync.Mutex        // held while the index is being rebuilt beside
	doubted  chan struct{}     // a query found an entry that cannot be read
	at       place             // behind what tail holds; the follower's alone
	awaited  atomic.Int64      // those who wait for it to get further
	flushed  bool              // tail is in store, and what it says of tiers is to be done; the follower's alone
	pauses   chan func() error // asks the follower to run it while the log is not read

	mu    sync.RWMutex        // guards what follows
	store *indexstore.Store   // nil while there is none
	tail  *tail               // what is not in store yet
	types map[string]struct{} // aggregate types in store and tail
	log   eventlog.Log        // nil until it was opened
	haste func()              // of the reader of log; nil while there is none
}

func newIndex(name string, held *held) *index {
	x := &index{name: name, held: held, dicts: newDicts(), woken: make(chan struct{}, 1), doubted: make(chan struct{}, 1), swaps: make(chan func() error), pauses: make(chan func() error)}
	x.progress.init()
	return x
}

// wake asks the follower to look at its log again. It never blocks.
func (x *index) wake() { poke(x.woken) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// source gives the log, once its follower has opened it; before that nil.
func (x *index) source() eventlog.Log {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.log
}

func (x *index) setSource(log eventlog.Log) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.log = log
}

func (x *index) setHurry(haste func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.haste = haste
}

// hurry makes the follower take up at once what is stored by now: somebody waits for it.
func (x *index) hurry() {
	x.mu.RLock()
	haste, store := x.haste, x.store
	x.mu.RUnlock()
	if store != nil {
		store.Hurry()
	}
	if haste != nil {
		haste()
	}
}

// open opens the store and reads which types it holds, unless that was done before; a store that is doubted gives an error that wraps
// indexstore.ErrDoubted. It gives where the index stands.
func (x *index) open(c indexstore.Config) (place, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store != nil {
		return x.at, nil
	}
	store, err := indexstore.Open(c)
	if err != nil {
		return place{}, fmt.Errorf("open index: %w", err)
	}
	at, err := readPlace(store)
	var types map[string]struct{}
	if err == nil {
		types, err = readTypes(store)
	}
	if err == nil {
		err = x.settle(store) // a crash may have left it undone
	}
	if err != nil {
		return place{}, errors.Join(err, store.Close())
	}
	x.store, x.tail, x.types, x.at = store, newTail(nil), types, at
	return at, nil
}

func readPlace(store *indexstore.Store) (place, error) {
	note := store.Note()
	if note == nil {
		return place{}, nil
	}
	return parsePlace(note)
}

func readTypes(store *indexstore.Store) (map[string]struct{}, error) {
	view, err := store.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	r := reading{tail: newTail(nil), store: view, dicts: newDicts()}
	return r.types()
}

// add takes a block that counts into the index.
func (x *index) add(found *eventlog.Found, deletes func(string, *event.Event) (ends, certain bool)) {
	x.tail.add(found.Sequence, found.Block, found.Commits, learning{deletes: deletes, known: func(a event.AggregateID) {
		if !x.has(a.Type) {
			x.mu.Lock()
			x.types[a.Type] = struct{}{}
			x.mu.Unlock()
		}
	}})
}

// flush moves the tail into the store, and takes its time if the index is complete and nobody waits for it. Queries see every event all the while: in the tail that they hold, or in the store, or in both.
func (x *index) flush() error {
	if !x.flushed {
		begin := x.store.Begin
		if x.progress.settled() && x.awaited.Load() == 0 {
			begin = x.store.BeginGently
		}
		if err := x.tail.flush(x.store, begin, x.at); err != nil {
			return err
		}
		x.flushed = true
	}
	if x.tail.moves() {
		if err := x.settle(x.store); err != nil {
			return err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tail, x.flushed = newTail(x.tail), false
	return nil
}

// drop closes the store and deletes its folder; the next open begins with an empty one.
func (x *index) drop(dir string) error {
	if err := x.shut(false); err != nil && !errors.Is(err, indexstore.ErrDoubted) {
		return err
	}
	x.progress.reset()
	select {
	case <-x.doubted: // it was about what is dropped now
	default:
	}
	if err := indexstore.Remove(dir); err != nil {
		return fmt.Errorf("drop index: %w", err)
	}
	return nil
}

// close stores what is in memory and closes the store.
func (x *index) close() error { return x.shut(true) }

func (x *index) shut(keep bool) (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store == nil {
		return nil
	}
	if keep && !x.tail.empty() && !x.flushed {
		err = x.tail.flush(x.store, x.store.Begin, x.at)
	}
	err = errors.Join(err, x.store.Close())
	x.store, x.tail, x.types, x.flushed = nil, nil, nil, false
	if err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return nil
}

func (x *index) has(aggregateType string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.types[aggregateType]
	return ok
}

// view runs a query on the index. It refuses while the index is being built, and turns a doubted one into a rebuild.
func (x *index) view(ctx context.Context, fn func(*reading) error) error {
	if err := x.progress.complete(x.name); err != nil {
		return err
	}
	err := x.read(ctx, fn)
	if errors.Is(err, errContent) || errors.Is(err, indexstore.ErrDoubted) {
		poke(x.doubted)
		return problem.New(problem.Unavailable, "the index of log %s is doubted and will be rebuilt: %v", x.name, err).WithHint("try again when `status` shows it as following")
	}
	return err
}

// read runs a query on the index as it is.
func (x *index) read(ctx context.Context, fn func(*reading) error) error {
	x.mu.RLock()
	tail, store, source := x.tail, x.store, x.log
	_, tiers := x.types[schema.SystemTier]
	var view *indexstore.View
	var err error
	if store != nil {
		view, err = store.View() // behind tail, see reading
	}
	x.mu.RUnlock()
	if store == nil || err != nil {
		return problem.New(problem.Unavailable, "the index of log %s is not open", x.name).WithHint("try again in a moment")
	}
	defer view.Close()
	return fn(&reading{log: x.name, tail: tail, from: store, store: view, held: x.held, dicts: x.dicts, tiers: tiers, source: source, ctx: ctx})
}
