package projector

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// recordBytes is the size up to which commits of one aggregate share a record; blockChunk the number of block ids that share an entry.
const (
	recordBytes = 16 << 10
	blockChunk  = 64
)

// flush writes a tail into the store, in one batch together with the place behind it. A crash before its Commit leaves the store where it was: the
// blocks are read from the log again. It only reads the tail, so queries go on meanwhile.
func (t *tail) flush(store *indexstore.Store, begin func() (*indexstore.Batch, error), at place) error {
	b, err := begin()
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	f := flusher{batch: b, tail: t, aggregates: t.sorted()}
	steps := []func() error{ // in the order of their keys
		func() error { return f.fold(store) }, f.commits, f.blocks, f.dues, f.fieldEntries, f.hashes, f.newest, f.order, f.postings, func() error { return f.tree(store) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			b.Abandon()
			return fmt.Errorf("write index: %w", err)
		}
	}
	if err := b.Commit(at.encode()); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// flusher is a flush under way.
type flusher struct {
	batch      *indexstore.Batch
	tail       *tail
	aggregates []*tailed
	records    []indexstore.Location // of each commit; those of an aggregate begin at its slot
	folded     []foldedState         // of aggregates
	arena      []byte                // of their fields
	changes    []typeChanges
	key, value []byte
}

// at is the record that an event's commit lies in.
func (f *flusher) at(h tailHash) indexstore.Location { return f.records[h.of.slot+int(h.commit)] }

// commits writes the records, and the entries that lead from versions to them.
func (f *flusher) commits() error {
	shrinker, err := newShrinker(f.batch, f.tail.dictionary())
	if err != nil {
		return err
	}
	f.records = make([]indexstore.Location, 0, len(f.tail.commits))
	var record []byte
	var entries []firstRecord
	for _, of := range f.aggregates {
		of.slot = len(f.records)
		if of.cold() {
			f.records = append(f.records, make([]indexstore.Location, len(of.commits))...)
			continue
		}
		entries = entries[:0]
		for i := 0; i < len(of.commits); {
			from := i
			record = record[:0]
			for ; i < len(of.commits) && (i == from || len(record)+len(of.commits[i].raw) <= recordBytes && of.commits[i].first > of.commits[i-1].first); i++ {
				record = appendRecorded(record, &of.commits[i])
			}
			at, err := shrinker.record(record)
			if err != nil {
				return err
			}
			for range i - from {
				f.records = append(f.records, at)
			}
			entries = append(entries, firstRecord{of.commits[from].first, at})
		}
		if err := f.versions(of, entries); err != nil {
			return err
		}
	}
	return nil
}

type firstRecord struct {
	first event.Version
	at    indexstore.Location
}

// versions writes one entry for each record of an aggregate. In a log that holds a version twice, behind damage, the later one counts.
func (f *flusher) versions(of *tailed, entries []firstRecord) error {
	slices.SortStableFunc(entries, func(a, b firstRecord) int { return cmp.Compare(a.first, b.first) })
	f.key = append(appendName(append(f.key[:0], keyCommit), of.name), 0)
	prefix := len(f.key)
	for i, e := range entries {
		if i+1 < len(entries) && entries[i+1].first == e.first {
			continue
		}
		f.key = binary.BigEndian.AppendUint64(f.key[:prefix], uint64(e.first))
		f.value = e.at.Append(f.value[:0])
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}

func (f *flusher) blocks() error {
	for chunk := range slices.Chunk(f.tail.blocks, blockChunk) {
		f.value = f.value[:0]
		for _, b := range chunk {
			f.value = append(binary.AppendUvarint(f.value, b.sequence-chunk[0].sequence), b.id[:]...)
		}
		if err := f.batch.Set(blockKey(chunk[0].sequence), f.value); err != nil {
			return err
		}
	}
	return nil
}

func (f *flusher) hashes() error {
	order := make([]hashed, len(f.tail.hashes))
	for i := range order {
		order[i] = hashed{binary.BigEndian.Uint64(f.tail.hashes[i].hash()[:]), uint32(i)}
	}
	order = byHash(order, 64)
	for i := 0; i < len(order); {
		n := 1
		for i+n < len(order) && order[i+n].hash == order[i].hash {
			n++
		}
		if err := f.alike(order[i : i+n]); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// alike writes the entries of events whose hashes begin with the same eight bytes: it is hardly ever more than one.
func (f *flusher) alike(order []hashed) error {
	if len(order) > 1 {
		slices.SortStableFunc(order, func(a, b hashed) int {
			return bytes.Compare(f.tail.hashes[a.at].hash()[8:], f.tail.hashes[b.at].hash()[8:])
		})
	}
	for i, o := range order {
		h := f.tail.hashes[o.at]
		if i > 0 && *f.tail.hashes[order[i-1].at].hash() == *h.hash() {
			continue // the same commit twice, behind damage
		}
		f.key = append(append(f.key[:0], keyHash), h.hash()[:hashBytes]...)
		f.value = appendPlace(f.value[:0], h.of.commits[h.commit].at, uint32(h.event))
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}

func (f *flusher) newest() error {
	for i, of := range f.aggregates {
		f.key = appendName(append(f.key[:0], keyNewest), of.name)
		folded := f.folded[i]
		s := state{at: f.records[of.slot+len(of.commits)-1], version: of.delta.last, time: of.delta.time, flags: folded.flags, cold: folded.cold}
		f.value = append(s.appendHead(f.value[:0]), f.arena[folded.from:folded.to]...)
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}

// sorted gives the aggregates in the order of their keys. It is for the goroutine that adds.
func (t *tail) sorted() []*tailed {
	byType := map[string][]*tailed{}
	for a, of := range t.aggregates {
		byType[a.Type] = append(byType[a.Type], of)
	}
	out := make([]*tailed, 0, len(t.aggregates))
	for _, name := range sortedKeys(byType) {
		out = appendByID(out, byType[name])
	}
	return out
}

// appendByID appends aggregates of one type by id. Ids often begin alike, so they are first compared by some bytes behind that.
func appendByID(to, of []*tailed) []*tailed {
	type item struct {
		start uint64
		of    *tailed
	}
	alike := of[0].name.ID
	for _, one := range of {
		n := 0
		for n < len(alike) && n < len(one.name.ID) && alike[n] == one.name.ID[n] {
			n++
		}
		alike = alike[:n]
	}
	items := make([]item, len(of))
	for i, one := range of {
		var start [8]byte
		copy(start[:], one.name.ID[len(alike):])
		items[i] = item{binary.BigEndian.Uint64(start[:]), one}
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return strings.Compare(a.of.name.ID, b.of.name.ID)
	})
	for _, i := range items {
		to = append(to, i.of)
	}
	return to
}

// appendRecorded appends a commit to a record: link, first version, number of leaf hashes and length of the commit (a uvarint each), leaf hashes,
// commit.
func appendRecorded(b []byte, c *tailCommit) []byte {
	b = appendLink(b, c.at)
	b = binary.AppendUvarint(b, uint64(c.first))
	b = binary.AppendUvarint(b, uint64(len(c.leaves)))
	b = binary.AppendUvarint(b, uint64(len(c.raw)))
	for i := range c.leaves {
		b = append(b, c.leaves[i][:]...)
	}
	return append(b, c.raw...)
}

// parseRecord reads the commits of a record; they share its memory.
func parseRecord(b []byte) (out []tailCommit, err error) {
	for len(b) > 0 {
		var c tailCommit
		if c.at, b, err = cutLink(b); err != nil {
			return nil, err
		}
		var numbers [3]uint64
		for i := range numbers {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, fmt.Errorf("record of commits: number: %w", errContent)
			}
			numbers[i], b = v, b[n:]
		}
		leaves, length := numbers[1], numbers[2]
		if leaves > event.MaxCommitEvents || 32*leaves > uint64(len(b)) || length > uint64(len(b))-32*leaves {
			return nil, fmt.Errorf("record of commits: length: %w", errContent)
		}
		c.first, c.leaves = event.Version(numbers[0]), make([]event.Hash, leaves)
		for i := range c.leaves {
			c.leaves[i], b = event.Hash(b[:32]), b[32:]
		}
		c.raw, b = b[:length:length], b[length:]
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("record without a commit: %w", errContent)
	}
	return out, nil
}
