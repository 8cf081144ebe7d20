package projector

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// posting names the commits that name something; the zero value: all commits.
type posting struct {
	kind byte
	hash uint64
}

// walk gives commits in the order of the log, beginning with the first that is not before a spot, until fn gives false or an error. by narrows what is read of the store; fn is
// given others too, which only share a hash.
func (r *reading) walk(by posting, from spot, fn func(located) (bool, error)) error {
	w := walker{r: r, from: from.commit(), fn: fn, more: true}
	var err error
	if by.kind == 0 {
		err = w.ordered()
	} else {
		err = w.posted(by)
	}
	if err != nil || !w.more {
		return err
	}
	if by.kind != 0 {
		return w.these(r.tail.posted(by, w.from))
	}
	return w.recent()
}

// tailStep is how many commits of a tail are taken at once.
const tailStep = 256

// walker is a walk under way.
type walker struct {
	r       *reading
	from    spot // the next commit is not before it
	fn      func(located) (bool, error)
	more    bool
	block   orderEntry
	records struct { // that were read last
		at  indexstore.Location
		raw []tailCommit
	}
}

// give gives a commit on, and goes behind it.
func (w *walker) give(c located) (err error) {
	w.more, err = w.fn(c)
	w.from = spotOf(c.at)
	w.from.index++
	return err
}

// ordered walks through all commits of the store.
func (w *walker) ordered() error {
	var failure error
	err := w.r.store.Scan([]byte{keyOrder}, orderKey(w.from.sequence), func(key, value []byte) bool {
		if w.block, failure = parseOrder(key, value); failure != nil {
			return false
		}
		for i := range w.block.commits {
			at := spot{sequence: w.block.sequence, index: uint32(i)}
			if at.compare(w.from) < 0 {
				continue
			}
			if failure = w.commit(at); failure != nil || !w.more {
				return false
			}
		}
		return true
	})
	return errors.Join(failure, err)
}

// commit reads the commit at a place of the block that was read last, and gives it on.
func (w *walker) commit(at spot) error {
	c, err := w.at(at)
	if err != nil {
		return err
	}
	return w.give(c)
}

// at reads the commit at a place of the block that was read last: from its record, or from the log if it left the hot tier.
func (w *walker) at(at spot) (located, error) {
	if at.sequence != w.block.sequence || int(at.index) >= len(w.block.commits) {
		return located{}, fmt.Errorf("index entry of a commit at %d/%d: %w", at.sequence, at.index, errContent)
	}
	c := w.block.commits[at.index]
	if c.at == (indexstore.Location{}) {
		return w.logged(at, c.first)
	}
	if c.at != w.records.at || w.records.raw == nil {
		raw, err := w.r.raw(c.at)
		if errors.Is(err, indexstore.ErrGone) {
			return w.logged(at, c.first)
		}
		if err != nil {
			return located{}, err
		}
		w.records.at, w.records.raw = c.at, raw
	}
	for _, raw := range w.records.raw {
		if raw.at.Sequence == at.sequence && raw.at.Index == at.index {
			return decodeOne(raw)
		}
	}
	return located{}, fmt.Errorf("index entry of a commit at %d/%d leads to a record without it: %w", at.sequence, at.index, errContent)
}

// logged reads a commit from the log.
func (w *walker) logged(at spot, first event.Version) (located, error) {
	c, _, err := w.r.logged(event.Link{Sequence: at.sequence, Index: at.index})
	if err == nil && c.First != first {
		err = unlogged(w.r.log, at.sequence, fmt.Errorf("it does not hold the commit from version %d on", first))
	}
	return c, err
}

// posted walks through the commits of the store that name something.
func (w *walker) posted(by posting) error {
	prefix := postingPrefix(by.kind, by.hash)
	begin := appendOrdered(postingPrefix(by.kind, by.hash), w.from.sequence)
	if at, _, found, err := w.r.store.Floor(prefix, begin); err != nil {
		return err
	} else if found {
		begin = at
	}
	var failure error
	err := w.r.store.Scan(prefix, begin, func(key, value []byte) bool {
		failure = w.chunk(key[len(prefix):], value)
		return failure == nil && w.more
	})
	return errors.Join(failure, err)
}

// chunk gives on the commits that one entry of postings names.
func (w *walker) chunk(key, value []byte) error {
	sequence, err := parseOrdered(key)
	for err == nil && len(value) > 0 && w.more {
		distance, n := binary.Uvarint(value)
		index, m := binary.Uvarint(value[max(n, 0):])
		if n <= 0 || m <= 0 || index > 1<<32-1 {
			return fmt.Errorf("entry of postings is cut: %w", errContent)
		}
		value = value[n+m:]
		sequence += distance
		at := spot{sequence: sequence, index: uint32(index)}
		if at.compare(w.from) < 0 {
			continue
		}
		if err = w.load(sequence); err == nil {
			err = w.commit(at)
		}
	}
	return err
}

// load reads the entry of a block, unless it was the last one read.
func (w *walker) load(sequence uint64) error {
	if w.block.sequence == sequence {
		return nil
	}
	key := orderKey(sequence)
	value, found, err := w.r.store.Get(key)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("postings name block %d, which the index does not hold: %w", sequence, errContent)
	}
	w.block, err = parseOrder(key, value)
	return err
}

// recent walks through the tail.
func (w *walker) recent() error {
	for {
		commits := w.r.tail.from(w.from, tailStep)
		if err := w.these(commits); err != nil || !w.more || len(commits) < tailStep {
			return err
		}
	}
}

// these gives commits of the tail on.
func (w *walker) these(commits []tailCommit) error {
	for _, raw := range commits {
		c, err := w.r.decodeRecent(raw)
		if err != nil {
			return err
		}
		if err := w.give(c); err != nil || !w.more {
			return err
		}
	}
	return nil
}

// orderEntry is what the index says of a block.
type orderEntry struct {
	sequence uint64
	time     event.Time
	commits  []orderCommit
}

type orderCommit struct {
	at    indexstore.Location
	first event.Version
}

func parseOrder(key, value []byte) (e orderEntry, err error) {
	if len(key) != 9 || len(value) < 8 {
		return e, fmt.Errorf("entry of a block is cut: %w", errContent)
	}
	e.sequence, e.time = binary.BigEndian.Uint64(key[1:]), event.Time(binary.BigEndian.Uint64(value))
	for rest := value[8:]; len(rest) > 0; {
		var c orderCommit
		if c.at, rest, err = indexstore.ParseLocation(rest); err != nil {
			return e, err
		}
		first, n := binary.Uvarint(rest)
		if n <= 0 {
			return e, fmt.Errorf("entry of a block is cut: %w", errContent)
		}
		c.first, rest = event.Version(first), rest[n:]
		e.commits = append(e.commits, c)
	}
	return e, nil
}

// since gives the place of the first block that is not before a time. Times rise from block to block; behind damage they need not, and then blocks may be missed.
func (r *reading) since(t event.Time) (spot, error) {
	key, _, found, err := r.store.Floor([]byte{keyOrder}, orderKey(1<<64-1))
	if err != nil || !found {
		return spot{}, err
	}
	last := binary.BigEndian.Uint64(key[1:])
	low, high := uint64(0), last+1 // the first block with such a time is in between
	for low < high {
		middle := low + (high-low)/2
		key, value, found, err := r.store.Floor([]byte{keyOrder}, orderKey(middle))
		if err != nil {
			return spot{}, err
		}
		if !found {
			low = middle + 1
			continue
		}
		e, err := parseOrder(key, value)
		if err != nil {
			return spot{}, err
		}
		if e.time < t {
			low = middle + 1
		} else {
			high = e.sequence
		}
	}
	return spot{sequence: low}, nil
}
