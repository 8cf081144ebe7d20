package archive

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// frameTarget is how much a frame holds before it is closed; a single message may be larger.
const frameTarget = 256 << 10

// segmentWriter builds one segment in memory. It is for one goroutine.
type segmentWriter struct {
	header  header
	about   []byte // the header, encoded
	packer  packer
	target  int // bytes of a frame, opened
	out     []byte
	footer  footer
	pending []byte // messages of the frame that is open
	first   uint64 // of it
	count   uint32
}

// newSegment begins the segment behind another one; chain is where the log stands there.
func (a *Archive) newSegment(log string, chain event.Chain, previous event.Hash) (*segmentWriter, error) {
	key := a.writeKey()
	w := &segmentWriter{header: header{sealed: key != nil, id: randomID(), site: a.cfg.Site, log: log, first: chain.Sequence + 1, previous: previous}}
	w.about, w.target = w.header.encode(), min(frameTarget, a.cfg.SegmentBytes)
	w.out = append([]byte(nil), w.about...)
	w.footer.last, w.footer.chain, w.first = chain.Sequence, chain, w.header.first
	var err error
	w.packer, err = a.codec.packer(key, domainSegmentKey, w.header.id, w.about)
	return w, err
}

// randomID never fails: crypto/rand ends the program if the system has no randomness.
func randomID() (id event.ID16) {
	_, _ = rand.Read(id[:])
	return id
}

// add takes the next message, which was judged: chain is where the log stands behind it.
func (w *segmentWriter) add(data []byte, chain event.Chain, root event.Hash) error {
	if len(w.pending) > 0 && len(w.pending)+len(data) > w.target {
		if err := w.cut(); err != nil {
			return err
		}
	}
	w.pending = binary.AppendUvarint(w.pending, uint64(len(data)))
	w.pending = append(w.pending, data...)
	w.count++
	w.footer.last, w.footer.chain, w.footer.root = chain.Sequence, chain, root
	return nil
}

// cut closes the open frame.
func (w *segmentWriter) cut() error {
	if w.count == 0 {
		return nil
	}
	if len(w.pending) > maxPlain {
		return fmt.Errorf("message %d has %d bytes, a frame holds %d", w.first, len(w.pending), maxPlain)
	}
	stored := w.packer.pack(w.pending, w.first)
	w.footer.frames = append(w.footer.frames, frame{
		offset: uint64(len(w.out)), stored: uint32(len(stored)), plain: uint32(len(w.pending)), first: w.first, count: w.count, hash: sha256.Sum256(stored),
	})
	w.out = append(w.out, stored...)
	w.first, w.count, w.pending = w.first+uint64(w.count), 0, w.pending[:0]
	return nil
}

// size is how long the segment is so far, at least.
func (w *segmentWriter) size() int { return len(w.out) }

// finish gives the segment and what the catalogue is to know of it.
func (w *segmentWriter) finish() ([]byte, Segment, error) {
	if err := w.cut(); err != nil {
		return nil, Segment{}, err
	}
	if len(w.footer.frames) == 0 {
		return nil, Segment{}, errors.New("a segment without messages")
	}
	foot := w.footer.encode()
	digest := digestOf(w.about, foot)
	out := append(append(w.out, foot...), encodeEnd(digest, len(w.about), len(foot))...)
	return out, Segment{First: w.header.first, Last: w.footer.last, Bytes: int64(len(out)), Digest: digest}, nil
}
