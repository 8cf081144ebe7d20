package event

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const payloadDomain = "eventful.payload.v1\x00"

// EncodePayload encodes fields in ascending name order (section 3). The input may come in any order and is left as it is.
// A name that stands twice, a bad name or value, or more than MaxFields fields is ErrInvalid.
func EncodePayload(fields []Field) ([]byte, error) {
	if len(fields) > MaxFields {
		return nil, fmt.Errorf("%d fields, at most %d are allowed: %w", len(fields), MaxFields, ErrInvalid)
	}
	sorted := slices.Clone(fields)
	slices.SortFunc(sorted, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	out := binary.AppendUvarint(nil, uint64(len(sorted)))
	for i, f := range sorted {
		if i > 0 && sorted[i-1].Name == f.Name {
			return nil, fmt.Errorf("field %q stands twice: %w", f.Name, ErrInvalid)
		}
		if err := checkField(f); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
		}
		out = appendStr(out, f.Name)
		out = append(out, kindOf(f))
		out = appendStr(out, f.Value)
	}
	return out, nil
}

func kindOf(f Field) byte {
	if f.Set {
		return 1
	}
	return 0
}

func checkField(f Field) error {
	if err := CheckField(f.Name); err != nil {
		return err
	}
	switch {
	case len(f.Value) > MaxValueLen:
		return fmt.Errorf("field %q has %d bytes, at most %d are allowed", f.Name, len(f.Value), MaxValueLen)
	case !utf8.ValidString(f.Value):
		return fmt.Errorf("field %q is not valid UTF-8", f.Name)
	case !f.Set && f.Value != "":
		return fmt.Errorf("field %q is unset and has a value", f.Name)
	}
	return nil
}

// DecodePayload is the inverse of EncodePayload; fields come in ascending name order.
func DecodePayload(payload []byte) ([]Field, error) {
	r := &reader{in: payload}
	n := r.uv("number of fields")
	if n > MaxFields {
		r.fail("%d fields, at most %d are allowed", n, MaxFields)
	}
	var fields []Field
	for range n {
		f := Field{Name: r.str("field name")}
		kind := r.u8("field kind")
		f.Set = kind == 1
		f.Value = r.str("field value")
		if r.err != nil {
			return nil, r.err
		}
		if kind > 1 {
			r.fail("field %q: kind %d is neither 0 nor 1", clip(f.Name), kind)
		}
		if err := checkField(f); err != nil {
			r.fail("%s", err)
		}
		if len(fields) > 0 && fields[len(fields)-1].Name >= f.Name {
			r.fail("field %q is not in ascending order", f.Name)
		}
		fields = append(fields, f)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return fields, nil
}

// PayloadDigest is what the leaf holds of an event's fields (section 3).
func PayloadDigest(salt ID16, payload []byte) Hash {
	h := sha256.New()
	h.Write([]byte(payloadDomain))
	h.Write(salt[:])
	h.Write(payload)
	var out Hash
	h.Sum(out[:0])
	return out
}
