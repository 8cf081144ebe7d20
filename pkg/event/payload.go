package event

import (
	"bytes"
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
	if byName := func(a, b Field) int { return strings.Compare(a.Name, b.Name) }; !slices.IsSortedFunc(fields, byName) {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, byName)
	}
	size := binary.MaxVarintLen16
	for i, f := range fields {
		if i > 0 && fields[i-1].Name == f.Name {
			return nil, fmt.Errorf("field %q stands twice: %w", f.Name, ErrInvalid)
		}
		if err := checkField(f); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
		}
		size += len(f.Name) + len(f.Value) + 1 + 1 + binary.MaxVarintLen32
	}
	out := binary.AppendUvarint(make([]byte, 0, size), uint64(len(fields)))
	for _, f := range fields {
		out = appendStr(out, f.Name)
		out = append(out, kindOf(f))
		out = appendStr(out, f.Value)
	}
	return out, nil
}

// Kinds of fields (section 3).
const (
	kindUnset  = 0
	kindText   = 1
	kindSealed = 2
)

func kindOf(f Field) byte {
	switch {
	case f.Sealed:
		return kindSealed
	case f.Set:
		return kindText
	}
	return kindUnset
}

func checkField(f Field) error {
	if !utf8.ValidString(f.Value) {
		return fmt.Errorf("field %q is not valid UTF-8", clip(f.Name))
	}
	if rule := broken(f.Name, kindOf(f), len(f.Value)); rule != "" {
		return fmt.Errorf("field %q %s", clip(f.Name), rule)
	}
	if !f.Sealed {
		return nil
	}
	if !f.Set {
		return fmt.Errorf("field %q is sealed and not set", f.Name)
	}
	if rule := brokenSeal([]byte(f.Value)); rule != "" {
		return fmt.Errorf("sealed field %q %s", f.Name, rule)
	}
	return nil
}

// broken says which rule a field breaks, or nothing; that its value is UTF-8 is checked elsewhere. It keeps no argument, so that decoding
// a commit need not make strings of its field names.
func broken(name string, kind byte, valueLen int) string {
	switch {
	case !isFieldName(name):
		return fieldNameRule
	case kind > kindSealed:
		return "has a kind that is none of 0, 1 and 2"
	case valueLen > MaxValueLen:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", valueLen, MaxValueLen)
	case kind == kindUnset && valueLen > 0:
		return "is unset and has a value"
	}
	return ""
}

// DecodePayload is the inverse of EncodePayload; fields come in ascending name order, and their strings share one copy of the payload. The error wraps
// ErrDecode.
func DecodePayload(payload []byte) ([]Field, error) {
	fields, err := AppendFields(nil, payload)
	if err != nil {
		return nil, err
	}
	return fields, nil
}

// AppendFields appends what DecodePayload gives; what it appends together with an error means nothing.
func AppendFields(to []Field, payload []byte) ([]Field, error) {
	r := &reader{in: payload}
	n := fieldCount(r)
	if n == 0 {
		return to, r.end()
	}
	to = slices.Grow(to, int(min(n, uint64(len(payload))/minFieldLen)))
	all := string(payload)
	var last []byte
	for range n {
		start := r.pos + 1 // behind the length of the name, which has one byte
		name, kind, value := decodeField(r, last)
		if r.err != nil {
			return to, r.err
		}
		to = append(to, Field{Name: all[start : start+len(name)], Value: all[r.pos-len(value) : r.pos], Set: kind != kindUnset, Sealed: kind == kindSealed})
		last = name
	}
	return to, r.end()
}

// checkPayload says what DecodePayload would say, without making the fields, and whether one of them is sealed.
func checkPayload(payload []byte) (sealed bool, err error) {
	r := &reader{in: payload}
	n := fieldCount(r)
	var last []byte
	for i := uint64(0); i < n && r.err == nil; i++ {
		var kind byte
		last, kind, _ = decodeField(r, last)
		sealed = sealed || kind == kindSealed
	}
	return sealed, r.end()
}

// minFieldLen is the length of a field with a name of one letter and no value.
const minFieldLen = 2 + 1 + 1

// fieldCount reads the number of fields; 0 after an error.
func fieldCount(r *reader) uint64 {
	n := r.uv("number of fields")
	if n > MaxFields {
		r.fail("%d fields, at most %d are allowed", n, MaxFields)
		return 0
	}
	return n
}

// decodeField reads and checks the field behind the one named last.
func decodeField(r *reader, last []byte) (name []byte, kind byte, value []byte) {
	name, kind, value = r.text("field name"), r.u8("field kind"), r.text("field value")
	if r.err != nil {
		return nil, 0, nil
	}
	if rule := broken(string(name), kind, len(value)); rule != "" {
		r.fail("field %q %s", clip(string(name)), rule)
	} else if bytes.Compare(last, name) >= 0 {
		r.fail("field %q is not in ascending order", name)
	} else if kind == kindSealed {
		if rule := brokenSeal(value); rule != "" {
			r.fail("sealed field %q %s", name, rule)
		}
	}
	return name, kind, value
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
