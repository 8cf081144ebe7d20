package writer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// Keys of a writer's state. The state is a function of its log alone; losing it costs a replay, never an answer.
const (
	keyMeta    = "m"  // chain, log tree, window
	keyHead    = "h/" // + type 0x00 id: head
	keyCommand = "c/" // + command id: accepted
	keyQueue   = "q/" // + ordinal u64: command id; what leaves the window next
	keySpent   = "s/" // + token id: units spent in this log or handed back by it, u64
	keyBack    = "b/" // + token id: of these, units handed back, u64
	keyUnique  = "u/" // + type 0x00 field 0x00 value: ids of the aggregates that hold it, 0x00 between them
	keySystem  = "y/" // the system log only: its view (system.go)
)

// stateFormat goes up when keys or values change; a state of another format is rebuilt.
const stateFormat = 5

// window bounds how long a command id is remembered: both measures are of the log, so every replay forgets the same ids.
type window struct {
	commands uint64
	age      time.Duration
}

// holds reports whether a command is still in the window for the next one, with that ordinal, in a block of that time.
func (w window) holds(a accepted, next uint64, now event.Time) bool {
	return next-a.ordinal <= w.commands && now-a.at <= event.Time(w.age)
}

// maxForgotten bounds what leaves the stored state with one block: after a quiet day a million ids leave the window at once, and the state's batches are
// bounded. An id that has left the window and not yet the state is known by its ordinal and time.
const maxForgotten = 1024

type meta struct {
	chain  event.Chain
	tree   event.Tree // the log tree
	next   uint64     // ordinal of the next accepted command
	oldest uint64     // ordinal of the oldest one in the window
	unique string     // the set of unique fields that the state is kept for
}

func (m meta) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.next)
	b = binary.BigEndian.AppendUint64(b, m.oldest)
	chain := m.chain.AppendBinary(nil)
	b = append(b, byte(len(chain)))
	b = append(b, chain...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.unique)))
	b = append(b, m.unique...)
	return m.tree.AppendBinary(b)
}

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < 17 || len(b) < 17+int(b[16]) {
		return m, fmt.Errorf("state position of %d bytes: %w", len(b), event.ErrDecode)
	}
	m.next, m.oldest = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	n := 17 + int(b[16])
	if m.chain, err = event.ChainFromBinary(b[17:n]); err != nil {
		return m, err
	}
	if len(b) < n+4 || uint64(len(b)) < uint64(n)+4+uint64(binary.BigEndian.Uint32(b[n:])) {
		return m, fmt.Errorf("state position of %d bytes: %w", len(b), event.ErrDecode)
	}
	end := n + 4 + int(binary.BigEndian.Uint32(b[n:]))
	m.unique = string(b[n+4 : end])
	m.tree, err = event.TreeFromBinary(b[end:])
	return m, err
}

// state is the stored state of one log. It is changed by one goroutine at a time; lookups may run beside it.
type state struct {
	store  *statestore.Store
	window window
	meta   meta
}

func loadState(store *statestore.Store, w window) (*state, error) {
	s := &state{store: store, window: w}
	raw, err := store.Get([]byte(keyMeta))
	if isNotFound(err) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load state position: %w", err)
	}
	if s.meta, err = decodeMeta(raw); err != nil {
		return nil, fmt.Errorf("load state position: %w: %w", err, statestore.ErrDoubted)
	}
	return s, nil
}

func headKey(a event.AggregateID) []byte { return []byte(keyHead + a.Type + "\x00" + a.ID) }

func (s *state) head(a event.AggregateID) (head, error) {
	raw, err := s.store.Get(headKey(a))
	return decodeFoundHead(a, raw, err)
}

func isNotFound(err error) bool { return errors.Is(err, statestore.ErrNotFound) }

func (s *state) accepted(commandID string) (accepted, bool, error) {
	raw, err := s.store.Get([]byte(keyCommand + commandID))
	return decodeFoundAccepted(commandID, raw, err)
}

func decodeFoundAccepted(commandID string, raw []byte, err error) (accepted, bool, error) {
	switch {
	case isNotFound(err):
		return accepted{}, false, nil
	case err != nil:
		return accepted{}, false, fmt.Errorf("load command %s: %w", commandID, err)
	}
	a, err := decodeAccepted(raw)
	if err != nil {
		return accepted{}, false, fmt.Errorf("load command %s: %w: %w", commandID, err, statestore.ErrDoubted)
	}
	return a, true, nil
}

// holders are the ids of the aggregates that hold a value of a unique field, as stored; empty: nobody.
func (s *state) holders(key string) (string, error) {
	id, err := s.store.Get([]byte(key))
	if isNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("load holders of a unique value: %w", err)
	}
	return string(id), nil
}

func (s *state) spent(tokenID string) (uint64, error) {
	return readCount(s.store.Get([]byte(keySpent + tokenID)))
}

func (s *state) back(tokenID string) (uint64, error) {
	return readCount(s.store.Get([]byte(keyBack + tokenID)))
}

func readCount(raw []byte, err error) (uint64, error) {
	switch {
	case isNotFound(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("load count: %w", err)
	case len(raw) != 8:
		return 0, fmt.Errorf("load count: %d bytes: %w", len(raw), statestore.ErrDoubted)
	}
	return binary.BigEndian.Uint64(raw), nil
}

// changes collects what blocks change; reads through it see what was collected. It is written in one batch with the position.
type changes struct {
	st   *state
	meta meta
	set  map[string][]byte // nil: deleted
	size int               // bytes that were put
}

// enough is when changes of several blocks are written: far below the store's limits, since one block more may still come on top.
const (
	enoughWrites = 8000
	enoughBytes  = 512 << 10
)

func (c *changes) full() bool { return len(c.set) >= enoughWrites || c.size >= enoughBytes }

func (c *changes) put(key string, value []byte) {
	c.set[key] = value
	c.size += len(key) + len(value)
}

func (s *state) changes() *changes {
	return &changes{st: s, meta: s.meta, set: make(map[string][]byte)}
}

func (c *changes) get(key string) ([]byte, error) {
	if v, ok := c.set[key]; ok {
		if v == nil {
			return nil, statestore.ErrNotFound
		}
		return v, nil
	}
	return c.st.store.Get([]byte(key))
}

// write stores all changes and the position they lead to, or nothing. A crash before it costs a replay of these blocks.
func (c *changes) write() error {
	err := c.st.store.Update(func(b *statestore.Batch) error {
		for k, v := range c.set {
			if v == nil {
				b.Delete([]byte(k))
			} else {
				b.Set([]byte(k), v)
			}
		}
		b.Set([]byte(keyMeta), c.meta.encode())
		return nil
	})
	if err != nil {
		return fmt.Errorf("write state at sequence %d: %w", c.meta.chain.Sequence, err)
	}
	c.st.meta = c.meta
	return nil
}

// stored is a block of the log with what its commits lead to.
type stored struct {
	sequence uint64
	header   event.Header
	items    []item
	kept     map[string][]byte // the system log only: its view's keys and values
}

// item is one commit of a block and the head behind it.
type item struct {
	commit *event.Commit
	after  head
	claims []claim // values of unique fields that it took or gave up
}

// add collects the changes of the next block, in the order of the log.
func (c *changes) add(b stored, chain event.Chain, tree event.Tree, budgeted bool) error {
	for i := range b.items {
		it := &b.items[i]
		c.put(string(headKey(it.commit.Aggregate)), it.after.encode())
		if err := c.claim(it); err != nil {
			return err
		}
		if it.commit.Transaction.Index == 0 {
			c.accept(it.commit, b)
		}
		if budgeted {
			if err := c.spend(it.commit); err != nil {
				return err
			}
		}
	}
	for k, v := range b.kept {
		c.put(k, v)
	}
	c.meta.chain, c.meta.tree = chain, tree
	return c.forget(b.header.Time)
}

// claim keeps what a commit took and gave up of unique values. While the rule is in force a value has one holder, except between the commits of a transaction that
// moves it; events from before the rule may have given it to several.
func (c *changes) claim(it *item) error {
	id := it.commit.Aggregate.ID
	for _, taken := range it.claims {
		raw, err := c.get(taken.key)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("load holders of a unique value: %w", err)
		}
		holders := slices.DeleteFunc(strings.Split(string(raw), holderSeparator), func(h string) bool { return h == id || h == "" })
		if taken.owner != "" {
			holders = append(holders, id)
		}
		if len(holders) == 0 {
			c.put(taken.key, nil)
		} else {
			c.put(taken.key, []byte(strings.Join(holders, holderSeparator)))
		}
	}
	return nil
}

const holderSeparator = "\x00" // stands in no id

func (c *changes) accept(commit *event.Commit, b stored) {
	a := accepted{digest: commit.CommandDigest, sequence: b.sequence, block: b.header.ID, ordinal: c.meta.next, at: b.header.Time}
	c.put(keyCommand+commit.CommandID, a.encode())
	c.put(queueKey(c.meta.next), []byte(commit.CommandID))
	c.meta.next++
}

// spend counts what a commit takes from its token's units here: one for each event, or all that it hands back.
func (c *changes) spend(commit *event.Commit) error {
	if commit.Aggregate.Type != typeBudget {
		return c.count(keySpent+commit.TokenID, uint64(len(commit.Events)))
	}
	back, err := readCount(c.get(keyBack + commit.TokenID))
	if err != nil {
		return err
	}
	total, err := returnedBy(commit)
	if err != nil || total < back {
		return fmt.Errorf("%s hands back %d units behind %d: %w", commit.Aggregate, total, back, errors.Join(err, ErrDamaged))
	}
	return errors.Join(c.count(keyBack+commit.TokenID, total-back), c.count(keySpent+commit.TokenID, total-back))
}

func (c *changes) count(key string, more uint64) error {
	n, err := readCount(c.get(key))
	if err != nil {
		return err
	}
	c.put(key, binary.BigEndian.AppendUint64(nil, n+more))
	return nil
}

// returnedBy reads how many units a log has handed back of a token, all told, as of this commit.
func returnedBy(commit *event.Commit) (uint64, error) {
	f, err := fieldsOf(&commit.Events[len(commit.Events)-1])
	if err != nil {
		return 0, err
	}
	return parseUnits(f["units"])
}

func queueKey(ordinal uint64) string {
	return keyQueue + string(binary.BigEndian.AppendUint64(nil, ordinal))
}

// forget drops command ids that have left the window at block time now, oldest first, and a bounded number of them.
func (c *changes) forget(now event.Time) error {
	for n := 0; n < maxForgotten && c.meta.oldest < c.meta.next; n++ {
		key := queueKey(c.meta.oldest)
		id, err := c.get(key)
		if err != nil {
			return fmt.Errorf("load window entry %d: %w: %w", c.meta.oldest, err, statestore.ErrDoubted)
		}
		a, found, err := c.accepted(string(id))
		if err != nil {
			return err
		}
		mine := found && a.ordinal == c.meta.oldest // else the id was used again behind its time
		if mine && c.st.window.holds(a, c.meta.next, now) {
			return nil
		}
		c.put(key, nil)
		if mine {
			c.put(keyCommand+string(id), nil)
		}
		c.meta.oldest++
	}
	return nil
}

func (c *changes) accepted(commandID string) (accepted, bool, error) {
	raw, err := c.get(keyCommand + commandID)
	return decodeFoundAccepted(commandID, raw, err)
}
