package projector

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// Records are compressed, each by itself, against a dictionary that a flush makes of some of its commits: tokens, issuers, schemas and names of fields stand in nearly every one. The
// dictionary is a record too, and the others say where it lies.

// Forms of a record: its first byte.
const (
	formPlain  = 0 // as appendRecorded wrote it
	formShrunk = 1 // location of the dictionary, then S2
)

// Sizes of a dictionary.
const (
	dictBytes   = 4 << 10
	dictSamples = 8
	dictCommits = 16 // of a tail with fewer none is made
)

// dictionary makes that of a tail; nil: it is not worth it.
func (t *tail) dictionary() []byte {
	if len(t.hashes) < dictCommits {
		return nil
	}
	var b []byte
	for i := range dictSamples {
		h := t.hashes[i*(len(t.hashes)-1)/(dictSamples-1)]
		raw := h.of.commits[h.commit].raw
		b = append(b, raw[:min(len(raw), dictBytes/dictSamples)]...)
	}
	return b
}

// shrinker writes records.
type shrinker struct {
	batch *indexstore.Batch
	dict  *s2.Dict // nil: none
	at    []byte   // where it lies
	out   []byte
}

func newShrinker(b *indexstore.Batch, dictionary []byte) (*shrinker, error) {
	s := &shrinker{batch: b}
	if s.dict = s2.MakeDict(dictionary, nil); s.dict == nil {
		return s, nil
	}
	at, err := b.Record(append([]byte{formPlain}, s.dict.Bytes()...))
	s.at = at.Append(nil)
	return s, err
}

func (s *shrinker) record(b []byte) (indexstore.Location, error) {
	if s.dict != nil {
		s.out = append(append(s.out[:0], formShrunk), s.at...)
		head := len(s.out)
		if need := head + s2.MaxEncodedLen(len(b)); cap(s.out) < need {
			s.out = append(make([]byte, 0, 2*need), s.out...)
		}
		if packed := s.dict.Encode(s.out[head:cap(s.out)], b); head+len(packed) < 1+len(b) {
			return s.batch.Record(s.out[:head+len(packed)])
		}
	}
	s.out = append(append(s.out[:0], formPlain), b...)
	return s.batch.Record(s.out)
}

// dicts keeps dictionaries that were read, first in first out. It is safe for concurrent use.
type dicts struct {
	mu    sync.Mutex // guards what follows
	kept  map[dictAt]*s2.Dict
	queue []dictAt
}

type dictAt struct {
	store *indexstore.Store
	at    indexstore.Location
}

// maxDicts is the number of dictionaries kept at most, of some KiB each.
const maxDicts = 256

func newDicts() *dicts { return &dicts{kept: map[dictAt]*s2.Dict{}} }

func (d *dicts) get(key dictAt) *s2.Dict {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept[key]
}

func (d *dicts) put(key dictAt, dict *s2.Dict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[key] != nil {
		return
	}
	d.kept[key] = dict
	if d.queue = append(d.queue, key); len(d.queue) > maxDicts {
		delete(d.kept, d.queue[0])
		d.queue = append(d.queue[:0], d.queue[1:]...)
	}
}

// unshrunk reads a record as it was before it was compressed.
func (r *reading) unshrunk(at indexstore.Location) ([]byte, error) {
	b, err := r.store.Record(at)
	if err != nil {
		return nil, err
	}
	switch {
	case len(b) > 0 && b[0] == formPlain:
		return b[1:], nil
	case len(b) == 0 || b[0] != formShrunk:
		return nil, fmt.Errorf("record of no known form: %w", errContent)
	}
	of, packed, err := indexstore.ParseLocation(b[1:])
	if err != nil {
		return nil, err
	}
	dict, err := r.dict(of)
	if err != nil {
		return nil, err
	}
	out, err := dict.Decode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("record does not unpack: %w: %w", err, errContent)
	}
	return out, nil
}

// dict gives the dictionary at a location.
func (r *reading) dict(at indexstore.Location) (*s2.Dict, error) {
	key := dictAt{r.from, at}
	if dict := r.dicts.get(key); dict != nil {
		return dict, nil
	}
	b, err := r.store.Record(at)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[0] != formPlain {
		return nil, fmt.Errorf("dictionary of no known form: %w", errContent)
	}
	dict := s2.NewDict(b[1:])
	if dict == nil {
		return nil, fmt.Errorf("dictionary cannot be read: %w", errContent)
	}
	r.dicts.put(key, dict)
	return dict, nil
}
