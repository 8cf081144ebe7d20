package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Segment is one segment of a log, as the catalogue knows it.
type Segment struct {
	First  uint64
	Last   uint64
	Bytes  int64 // as it lies there
	Digest event.Hash
}

// header says what a segment is about.
type header struct {
	sealed   bool
	id       event.ID16
	site     string
	log      string
	first    uint64
	previous event.Hash // digest of the segment before
}

func (h header) encode() []byte {
	b := append([]byte(segmentMagic), formatVersion, flag(h.sealed))
	b = append(b, h.id[:]...)
	b = appendText(appendText(b, h.site), h.log)
	b = binary.BigEndian.AppendUint64(b, h.first)
	return append(b, h.previous[:]...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func decodeHeader(b []byte) (h header, err error) {
	d := &decoder{in: b}
	if err := d.magic(segmentMagic); err != nil {
		return h, err
	}
	h = header{sealed: d.flag(), id: d.id16(), site: d.text(), log: d.text(), first: d.u64(), previous: d.hash()}
	if err := d.end(); err != nil {
		return h, fmt.Errorf("its header: %w: %w", err, ErrDamaged)
	}
	return h, nil
}

// frame is a line of the footer.
type frame struct {
	offset uint64
	stored uint32
	plain  uint32
	first  uint64
	count  uint32
	hash   event.Hash
}

func (f frame) last() uint64 { return f.first + uint64(f.count) - 1 }

// footer says where the messages of a segment stand, and where the log stands behind them.
type footer struct {
	last   uint64
	frames []frame
	chain  event.Chain
	root   event.Hash // of the log tree
}

func (f footer) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, f.last)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.frames)))
	for _, fr := range f.frames {
		b = binary.BigEndian.AppendUint64(b, fr.offset)
		b = binary.BigEndian.AppendUint32(b, fr.stored)
		b = binary.BigEndian.AppendUint32(b, fr.plain)
		b = binary.BigEndian.AppendUint64(b, fr.first)
		b = binary.BigEndian.AppendUint32(b, fr.count)
		b = append(b, fr.hash[:]...)
	}
	b = append(b, f.chain.Block[:]...)
	b = binary.BigEndian.AppendUint64(b, f.chain.At)
	b = binary.BigEndian.AppendUint64(b, f.chain.Epoch)
	b = binary.BigEndian.AppendUint64(b, f.chain.TreeSize)
	b = append(b, f.root[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(f.chain.Time))
}

// frameBytes is the length of a frame's line in the footer.
const frameBytes = 8 + 4 + 4 + 8 + 4 + digestBytes

func decodeFooter(b []byte, h header, headerBytes int) (f footer, err error) {
	d := &decoder{in: b}
	f.last = d.u64()
	n := d.u32()
	if n == 0 || uint64(n)*frameBytes > uint64(len(d.in)) {
		return f, fmt.Errorf("its footer has %d frames in %d bytes: %w", n, len(b), ErrDamaged)
	}
	f.frames = make([]frame, n)
	for i := range f.frames {
		f.frames[i] = frame{offset: d.u64(), stored: d.u32(), plain: d.u32(), first: d.u64(), count: d.u32(), hash: d.hash()}
	}
	newest := event.Header{ID: d.id16()}
	at := d.u64()
	newest.Epoch, newest.TreeSize = d.u64(), d.u64()
	f.root = d.hash()
	newest.Time = event.Time(d.u64())
	if err := d.end(); err != nil {
		return f, fmt.Errorf("its footer: %w: %w", err, ErrDamaged)
	}
	if at > 0 {
		f.chain = event.ChainAt(at, newest)
	}
	f.chain.Sequence = f.last
	return f, f.check(h, headerBytes)
}

// check holds that the frames cover the segment without a gap.
func (f footer) check(h header, headerBytes int) error {
	offset, next := uint64(headerBytes), h.first
	for i, fr := range f.frames {
		if fr.offset != offset || fr.first != next || fr.count == 0 || fr.stored > maxStored || fr.plain > maxPlain || next+uint64(fr.count) < next {
			return fmt.Errorf("frame %d of %d does not follow the one before: %w", i+1, len(f.frames), ErrDamaged)
		}
		offset, next = offset+uint64(fr.stored), next+uint64(fr.count)
	}
	if next != f.last+1 || f.chain.At > f.last {
		return fmt.Errorf("its frames end at %d, it says %d: %w", next-1, f.last, ErrDamaged)
	}
	return nil
}

// digestOf is the digest of the segment with this header and footer.
func digestOf(header, footer []byte) event.Hash {
	h := sha256.New()
	h.Write([]byte(domainSegment))
	h.Write(header)
	h.Write(footer)
	return event.Hash(h.Sum(nil))
}

func encodeEnd(digest event.Hash, header, footer int) []byte {
	b := append([]byte(nil), digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(header))
	b = binary.BigEndian.AppendUint32(b, uint32(footer))
	return append(b, endMagic...)
}
