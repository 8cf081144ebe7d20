package writer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// Keys of a writer's state. The state is a function of its log alone; losing it costs a replay, never an answer.
const (
	keyMeta     = "m"  // chain, log tree, window
	keyHead     = "h/" // + type 0x00 id: head
	keyCommands = "w/" // + number u64: hashes of the ids of 1024 accepted commands (window.go)
	keySpent    = "s/" // + token id: units spent in this log or handed back by it, u64
	keyBack     = "b/" // + token id: of these, units handed back, u64
	keyUnique   = "u/" // + type 0x00 field 0x00 value: ids of the aggregates that hold it, 0x00 between them
	keyForgot   = "f/" // + type 0x00 id: commitments of its forgotten keys, 32 bytes each, oldest first
	keySystem   = "y/" // the system log only: its view (system.go)

	keyUnfinished = "i" // the state is being taken over from the archive, and is not whole (import.go)
)

// stateFormat goes up when keys or values change; a state of another format is rebuilt.
const stateFormat = 7

// stateKind is what a state calls itself in the archive.
func stateKind() string { return fmt.Sprintf("writer/%d", stateFormat) }

type meta struct {
	chain  event.Chain
	tree   event.Tree // the log tree
	next   uint64     // ordinal of the next accepted command
	oldest uint64     // number of the oldest chunk of command ids
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
	hasher hasher
	meta   meta
	tail   *chunk // the newest command ids, as stored: those that do not fill a chunk yet
}

func loadState(store *statestore.Store, w window, h hasher) (*state, error) {
	s := &state{store: store, window: w, hasher: h, tail: &chunk{}}
	if _, err := store.Get([]byte(keyUnfinished)); !isNotFound(err) {
		return nil, errors.Join(err, fmt.Errorf("state from the archive is not whole: %w", statestore.ErrDoubted))
	}
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
	return s, s.loadTail()
}

func (s *state) loadTail() error {
	room := s.meta.next % chunkIDs
	if room == 0 {
		return nil
	}
	raw, err := s.store.Get([]byte(chunkKey(s.meta.next / chunkIDs)))
	if err == nil {
		s.tail, err = decodeChunk(raw)
	}
	if err == nil && uint64(len(s.tail.hashes)) != room {
		err = fmt.Errorf("%d where there must be %d", len(s.tail.hashes), room)
	}
	if err != nil {
		return fmt.Errorf("load newest command ids: %w: %w", err, statestore.ErrDoubted)
	}
	return nil
}

func headKey(a event.AggregateID) []byte { return []byte(keyHead + a.Type + "\x00" + a.ID) }

func (s *state) head(a event.AggregateID) (head, error) {
	raw, err := s.store.Get(headKey(a))
	return decodeFoundHead(a, raw, err)
}

func isNotFound(err error) bool { return errors.Is(err, statestore.ErrNotFound) }

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
