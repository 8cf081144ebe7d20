package event

import (
	"encoding/base64"
	"fmt"
)

// Lengths within a sealed value, in bytes.
const (
	SealedNonceLen = 12
	sealedTagLen   = 16
	sealedHashLen  = 32
)

// Layout of a sealed value.
const (
	sealedVersion    = 1
	sealedCompressed = 1 << 0
	sealedUnique     = 1 << 1
	sealedFlags      = sealedCompressed | sealedUnique
)

var sealedEncoding = base64.RawURLEncoding.Strict()

// SealedValue is what the value of a sealed field says (section 3). What it seals only its aggregate's key opens.
type SealedValue struct {
	Compressed bool   // what is sealed is a zstd frame of the text
	Unique     *Hash  // keyed hash of the text, of a unique field; nil: none
	Nonce      []byte // SealedNonceLen bytes
	Ciphertext []byte // with its tag
}

// AppendHead appends the bytes before the nonce, which the seal is bound to.
func (s *SealedValue) AppendHead(b []byte) []byte {
	flags := byte(0)
	if s.Compressed {
		flags |= sealedCompressed
	}
	if s.Unique != nil {
		flags |= sealedUnique
	}
	b = append(b, sealedVersion, flags)
	if s.Unique != nil {
		b = append(b, s.Unique[:]...)
	}
	return b
}

// String is the field's value as it is stored.
func (s *SealedValue) String() string {
	return sealedEncoding.EncodeToString(append(append(s.AppendHead(nil), s.Nonce...), s.Ciphertext...))
}

// ParseSealed reads the value of a sealed field. The error wraps ErrDecode.
func ParseSealed(value string) (*SealedValue, error) {
	if rule := brokenSeal([]byte(value)); rule != "" {
		return nil, fmt.Errorf("sealed value: %s: %w", rule, ErrDecode)
	}
	raw, err := sealedEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("sealed value: %w: %w", err, ErrDecode)
	}
	s := &SealedValue{Compressed: raw[1]&sealedCompressed != 0}
	rest := raw[2:]
	if raw[1]&sealedUnique != 0 {
		s.Unique = new(Hash(rest[:sealedHashLen]))
		rest = rest[sealedHashLen:]
	}
	s.Nonce, s.Ciphertext = rest[:SealedNonceLen:SealedNonceLen], rest[SealedNonceLen:]
	return s, nil
}

// brokenSeal says which rule a sealed value breaks, or nothing.
func brokenSeal(value []byte) string {
	for _, c := range value {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return "has a byte that is not of base64url"
		}
	}
	n, least := sealedEncoding.DecodedLen(len(value)), 2+SealedNonceLen+sealedTagLen
	if n < least {
		return fmt.Sprintf("seals %d bytes, fewer than %d", n, least)
	}
	var head [3]byte
	if _, err := sealedEncoding.Decode(head[:], value[:4]); err != nil {
		return "is not base64url without padding"
	}
	if _, err := sealedEncoding.Decode(make([]byte, 3), value[len(value)/4*4:]); err != nil {
		return "is not base64url without padding, its last bits zero"
	}
	switch {
	case head[0] != sealedVersion:
		return fmt.Sprintf("has layout %d, known is %d", head[0], sealedVersion)
	case head[1]&^sealedFlags != 0:
		return fmt.Sprintf("has flags %#x, known are %#x", head[1], sealedFlags)
	case head[1]&sealedUnique != 0 && n < least+sealedHashLen:
		return fmt.Sprintf("seals %d bytes, fewer than %d", n, least+sealedHashLen)
	}
	return ""
}
