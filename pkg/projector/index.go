package projector

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// errContent: an entry of the index does not read as this program writes it; the index is dropped and rebuilt.
var errContent = errors.New("index entry cannot be read")

// index is the index of one log. Its follower writes it, queries read it.
type index struct {
	name     string
	progress progress
	woken    chan struct{} // asks the follower to look at its log again, and to try again what failed
	doubted  chan struct{} // a query found an entry that cannot be read

	mu    sync.RWMutex        // guards what follows; held for reading while a query uses store
	store *statestore.Store   // nil while there is none
	types map[string]struct{} // aggregate types in store
	log   eventlog.Log        // nil until it was opened
}

func newIndex(name string) *index {
	x := &index{name: name, woken: make(chan struct{}, 1), doubted: make(chan struct{}, 1)}
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

// open opens the store and reads which types it holds; a store that is doubted gives an error that wraps statestore.ErrDoubted.
func (x *index) open(c statestore.Config) (place, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store == nil {
		store, err := statestore.Open(c)
		if err != nil {
			return place{}, fmt.Errorf("open index: %w", err)
		}
		x.store = store
	}
	at, err := readPlace(x.store)
	if err != nil {
		return place{}, err
	}
	x.types, err = readTypes(x.store)
	return at, err
}

func readPlace(store *statestore.Store) (place, error) {
	raw, err := store.Get(positionKey)
	if errors.Is(err, statestore.ErrNotFound) {
		return place{}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("read position of the index: %w", err)
	}
	return parsePlace(raw)
}

// readTypes jumps from type to type; it does not read the aggregates between.
func readTypes(store *statestore.Store) (map[string]struct{}, error) {
	types := map[string]struct{}{}
	var after []byte
	for {
		found := ""
		err := store.Scan([]byte{keyAggregate}, after, func(key, _ []byte) bool {
			found, _, _ = strings.Cut(string(key[1:]), "\x00")
			return false
		})
		if err != nil {
			return nil, fmt.Errorf("read types of the index: %w", err)
		}
		if found == "" {
			return types, nil
		}
		types[found] = struct{}{}
		after = afterType(found)
	}
}

// drop closes the store and deletes its folder; the next open begins with an empty one.
func (x *index) drop(dir string) error {
	if err := x.close(); err != nil && !errors.Is(err, statestore.ErrDoubted) {
		return err
	}
	x.progress.reset()
	select {
	case <-x.doubted: // it was about what is dropped now
	default:
	}
	if err := statestore.Remove(dir); err != nil {
		return fmt.Errorf("drop index: %w", err)
	}
	return nil
}

func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store == nil {
		return nil
	}
	err := x.store.Close()
	x.store, x.types = nil, nil
	if err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return nil
}

// addTypes notes the types of commits that are now in the store.
func (x *index) addTypes(types map[string]struct{}) {
	if len(types) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for t := range types {
		x.types[t] = struct{}{}
	}
}

func (x *index) has(aggregateType string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.types[aggregateType]
	return ok
}

// view runs a query on the store. It refuses while the index is being built, and turns a doubted store into a rebuild.
func (x *index) view(fn func(*statestore.Store) error) error {
	if err := x.progress.complete(x.name); err != nil {
		return err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.store == nil {
		return problem.New(problem.Unavailable, "the index of log %s is not open", x.name).WithHint("try again in a moment")
	}
	err := fn(x.store)
	if errors.Is(err, errContent) || errors.Is(err, statestore.ErrDoubted) {
		poke(x.doubted)
		return problem.New(problem.Unavailable, "the index of log %s is doubted and will be rebuilt: %v", x.name, err).WithHint("try again when `status` shows it as following")
	}
	return err
}

// item is one judged message on its way into the index. err is the reader's last word.
type item struct {
	eventlog.Found
	chain   event.Chain // behind the message
	entries []entry     // of a block that counts
	err     error
}

// entry is one key of the index with its value.
type entry struct{ key, value []byte }

// batch collects what one Update stores.
type batch struct {
	items  []item
	events int
	bytes  int
}

// Limits of a batch, well below those of the store; a block may exceed them alone.
const (
	batchEvents = 4096
	batchBytes  = 1 << 20
)

func (b *batch) add(i item) {
	b.items = append(b.items, i)
	if i.Standing != event.Counts {
		return
	}
	for k, c := range i.Commits {
		b.events += len(c.Events)
		b.bytes += len(i.Block.Records[k].Raw)
	}
}

func (b *batch) full() bool { return b.events >= batchEvents || b.bytes >= batchBytes }

// write puts blocks that count, and the position behind all items, into one Update. It gives where the index then stands.
func (b *batch) write(store *statestore.Store, counted uint64) (place, error) {
	at := place{counted: counted, chain: b.items[len(b.items)-1].chain}
	err := store.Update(func(w *statestore.Batch) error {
		for i := range b.items {
			if it := &b.items[i]; it.Standing == event.Counts {
				at.counted = it.Sequence
				for _, e := range it.entries {
					w.Set(e.key, e.value)
				}
			}
		}
		w.Set(positionKey, at.encode())
		return nil
	})
	if err != nil {
		return place{}, fmt.Errorf("write index: %w", err)
	}
	return at, nil
}

// encode makes the entries of a block that counts. The reading goroutine does it, so that the writing one has little left but to store.
func (it *item) encode() {
	id := it.Block.ID
	it.entries = append(make([]entry, 0, 1+3*len(it.Commits)), entry{blockKey(it.Sequence), id[:]})
	for i, c := range it.Commits {
		raw := it.Block.Records[i].Raw
		at := event.Link{Sequence: it.Sequence, Index: uint32(i), Block: id}
		value := append(appendLink(make([]byte, 0, linkBytes+len(raw)), at), raw...)
		s := summaryOf(c, at)
		it.entries = append(it.entries, entry{commitKey(c.Aggregate, c.First), value}, entry{aggregateKey(c.Aggregate), s.encode()})
		for k := range c.Events {
			it.entries = append(it.entries, entry{hashKey(c.Leaf(k)), hashValue(c.Aggregate, c.First+event.Version(k))})
		}
	}
}

func (b *batch) types(known func(string) bool) map[string]struct{} {
	types := map[string]struct{}{}
	for i := range b.items {
		if b.items[i].Standing != event.Counts {
			continue
		}
		for _, c := range b.items[i].Commits {
			if _, ok := types[c.Aggregate.Type]; !ok && !known(c.Aggregate.Type) {
				types[c.Aggregate.Type] = struct{}{}
			}
		}
	}
	return types
}
