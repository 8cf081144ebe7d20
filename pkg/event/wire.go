package event

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Primitives of docs/spec/log.md, section 1: writers append to a slice, the reader remembers its first error.

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendStr(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t Time) []byte { return binary.BigEndian.AppendUint64(b, uint64(t)) }

func appendOptionalTime(b []byte, t *Time) []byte {
	if t == nil {
		return append(b, 0)
	}
	return appendTime(append(b, 1), *t)
}

// reader walks over an input; after the first error every read gives zero values. Slices it returns share the input's memory.
type reader struct {
	in  []byte
	pos int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %s: %w", r.pos, fmt.Sprintf(format, args...), ErrDecode)
	}
}

func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.in)-r.pos) {
		r.fail("%s: %d bytes wanted, %d left", what, n, len(r.in)-r.pos)
		return nil
	}
	out := r.in[r.pos : r.pos+int(n) : r.pos+int(n)]
	r.pos += int(n)
	return out
}

func (r *reader) u8(what string) byte {
	if b := r.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) time(what string) Time { return Time(r.u64(what)) }

func (r *reader) flag(what string) bool {
	b := r.u8(what)
	if b > 1 {
		r.fail("%s: flag %d is neither 0 nor 1", what, b)
	}
	return b == 1
}

func (r *reader) optionalTime(what string) *Time {
	if !r.flag(what) {
		return nil
	}
	t := r.time(what)
	return &t
}

func (r *reader) uv(what string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.in[r.pos:])
	switch {
	case n == 0:
		r.fail("%s: number is cut", what)
	case n < 0:
		r.fail("%s: number is over 64 bits", what)
	case n > 1 && r.in[r.pos+n-1] == 0:
		r.fail("%s: number is not in its shortest form", what)
	default:
		r.pos += n
		return v
	}
	return 0
}

func (r *reader) bytes(what string) []byte { return r.take(r.uv(what), what) }

// text reads a str without making a string of it.
func (r *reader) text(what string) []byte {
	b := r.bytes(what)
	if !utf8.Valid(b) {
		r.fail("%s: not valid UTF-8", what)
		return nil
	}
	return b
}

// carve sets each string to its text; they share one allocation, so each keeps the memory of all.
func carve(dst []*string, texts ...[]byte) {
	var stack [512]byte
	buf := stack[:0]
	for _, t := range texts {
		buf = append(buf, t...)
	}
	all := string(buf)
	for i, t := range texts {
		*dst[i], all = all[:len(t)], all[len(t):]
	}
}

func (r *reader) hash(what string) (h Hash) {
	copy(h[:], r.take(32, what))
	return h
}

func (r *reader) id16(what string) (i ID16) {
	copy(i[:], r.take(16, what))
	return i
}

// end reports the first error, or that bytes are left over.
func (r *reader) end() error {
	if r.err == nil && r.pos != len(r.in) {
		r.fail("%d bytes left over", len(r.in)-r.pos)
	}
	return r.err
}
