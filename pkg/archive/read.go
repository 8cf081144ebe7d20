package archive

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// opened is a segment whose header and footer were read and checked against its digest. It never changes.
type opened struct {
	Segment
	name   string
	header header
	footer footer
	packer packer
}

// openSegment reads header and footer of a segment: ErrNotFound, ErrDamaged, ErrSealed or ErrNewer, with its name.
func (a *Archive) openSegment(ctx context.Context, log string, first uint64) (*opened, error) {
	folder, err := folderOf(a.cfg.Site, log)
	if err != nil {
		return nil, err
	}
	name := segmentName(folder, first)
	s, err := a.readEnds(ctx, name)
	if err == nil && (s.header.site != a.cfg.Site || s.header.log != log || s.header.first != first) {
		err = fmt.Errorf("it is of site %s, log %s, and begins at %d: %w", s.header.site, s.header.log, s.header.first, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", name, err)
	}
	return s, nil
}

func (a *Archive) readEnds(ctx context.Context, name string) (*opened, error) {
	size, err := a.cfg.Objects.Size(ctx, name)
	if err != nil {
		return nil, err
	}
	if size < int64(endBytes) {
		return nil, fmt.Errorf("it has %d bytes: %w", size, ErrDamaged)
	}
	raw, err := a.cfg.Objects.Read(ctx, name, size-int64(endBytes), int64(endBytes))
	if err != nil {
		return nil, err
	}
	d := &decoder{in: raw}
	digest, headerBytes, footerBytes, magic := d.hash(), int64(d.u32()), int64(d.u32()), string(d.take(4))
	if magic != endMagic || headerBytes > maxHeader || footerBytes > maxFooter || headerBytes+footerBytes+int64(endBytes) > size {
		return nil, fmt.Errorf("its end cannot be read: %w", ErrDamaged)
	}
	head, err := a.cfg.Objects.Read(ctx, name, 0, headerBytes)
	if err != nil {
		return nil, err
	}
	foot, err := a.cfg.Objects.Read(ctx, name, size-int64(endBytes)-footerBytes, footerBytes)
	if err != nil {
		return nil, err
	}
	return a.decodeEnds(name, size, digest, head, foot)
}

func (a *Archive) decodeEnds(name string, size int64, digest event.Hash, head, foot []byte) (*opened, error) {
	s := &opened{name: name}
	var err error
	if s.header, err = decodeHeader(head); err != nil {
		return nil, err
	}
	if got := digestOf(head, foot); got != digest {
		return nil, fmt.Errorf("header and footer have the digest %s, it says %s: %w", got, digest, ErrDamaged)
	}
	if s.footer, err = decodeFooter(foot, s.header, len(head)); err != nil {
		return nil, err
	}
	end := s.footer.frames[len(s.footer.frames)-1]
	if int64(end.offset)+int64(end.stored)+int64(len(foot)+endBytes) != size {
		return nil, fmt.Errorf("it has %d bytes, which its frames do not fill: %w", size, ErrDamaged)
	}
	s.Segment = Segment{First: s.header.first, Last: s.footer.last, Bytes: size, Digest: digest}
	var key []byte
	if s.header.sealed {
		if key = a.cfg.Key; key == nil {
			return nil, ErrSealed
		}
	}
	s.packer, err = a.codec.packer(key, domainSegmentKey, s.header.id, head)
	return s, err
}

// messages is an opened frame.
type messages struct {
	first uint64
	data  [][]byte
	size  int
}

func (m *messages) last() uint64 { return m.first + uint64(len(m.data)) - 1 }

func (m *messages) has(sequence uint64) bool {
	return m != nil && sequence >= m.first && sequence <= m.last()
}

func (m *messages) at(sequence uint64) []byte { return m.data[sequence-m.first] }

// open reads a frame and checks it.
func (s *opened) open(ctx context.Context, o Objects, f frame) (*messages, error) {
	stored, err := o.Read(ctx, s.name, int64(f.offset), int64(f.stored))
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", s.name, err)
	}
	if got := event.Hash(sha256.Sum256(stored)); got != f.hash {
		return nil, fmt.Errorf("segment %s, sequences %d to %d: the frame has the digest %s, the footer says %s: %w", s.name, f.first, f.last(), got, f.hash, ErrDamaged)
	}
	plain, err := s.packer.open(stored, f.first, f.plain)
	if err != nil {
		return nil, fmt.Errorf("segment %s, sequences %d to %d: %w", s.name, f.first, f.last(), err)
	}
	m := &messages{first: f.first, data: make([][]byte, 0, min(int(f.count), len(plain))), size: len(plain)}
	d := &decoder{in: plain}
	for range f.count {
		if m.data = append(m.data, d.bytes()); d.failed {
			break
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("segment %s, sequences %d to %d: %w: %w", s.name, f.first, f.last(), err, ErrDamaged)
	}
	return m, nil
}

// frameOf is the frame that holds a sequence; the segment must.
func (s *opened) frameOf(sequence uint64) frame {
	lo, hi := 0, len(s.footer.frames)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if s.footer.frames[mid].first <= sequence {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return s.footer.frames[lo]
}
