package archive

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Forms of docs/spec/archive.md.
const (
	segmentMagic  = "EVS"
	stateMagic    = "EVW"
	endMagic      = "EVSE"
	formatVersion = 1

	digestBytes = 32
	endBytes    = digestBytes + 4 + 4 + len(endMagic)
)

// Bounds of what a reader takes, so that a changed length costs no memory.
const (
	maxPlain  = 16 << 20 // bytes of an opened frame or part
	maxStored = maxPlain + 1<<16
	maxHeader = 256
	maxFooter = 16 << 20
	maxParts  = 1 << 20
)

// errShort is a decoder that ran out of bytes or found one it cannot take.
var errShort = errors.New("it ends too early, or holds what cannot be")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads the primitives of docs/spec/log.md, section 1; the first that is missing ends it.
type decoder struct {
	in     []byte
	failed bool
}

func (d *decoder) take(n uint64) []byte {
	if d.failed || n > uint64(len(d.in)) {
		d.failed, d.in = true, nil
		return nil
	}
	out := d.in[:n:n]
	d.in = d.in[n:]
	return out
}

func (d *decoder) u8() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) hash() (h event.Hash) {
	copy(h[:], d.take(uint64(len(h))))
	return h
}

func (d *decoder) id16() (id event.ID16) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

// uv reads an unsigned LEB128 in its shortest form.
func (d *decoder) uv() uint64 {
	v, n := binary.Uvarint(d.in)
	if d.failed || n <= 0 || n > 1 && d.in[n-1] == 0 {
		d.failed, d.in = true, nil
		return 0
	}
	d.in = d.in[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uv()) }

func (d *decoder) text() string { return string(d.bytes()) }

// flag is a u8 that is 0 or 1.
func (d *decoder) flag() bool {
	v := d.u8()
	d.failed = d.failed || v > 1
	return v == 1
}

// end reports what was wrong, bytes left over too.
func (d *decoder) end() error {
	if d.failed || len(d.in) > 0 {
		return errShort
	}
	return nil
}

// magic checks the first four bytes of an object.
func (d *decoder) magic(want string) error {
	got := d.take(4)
	switch {
	case got == nil || string(got[:3]) != want:
		return fmt.Errorf("it does not begin with %s: %w", want, ErrDamaged)
	case got[3] > formatVersion:
		return fmt.Errorf("format %d, this program knows %d: %w", got[3], formatVersion, ErrNewer)
	case got[3] != formatVersion:
		return fmt.Errorf("format %d is none: %w", got[3], ErrDamaged)
	}
	return nil
}
