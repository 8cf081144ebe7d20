package fieldkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

const keyLen = 32

// ErrNotOpened says that a value was not sealed under this key for this place, or was changed.
var ErrNotOpened = errors.New("sealed value does not open")

// Place is where a sealed value stands; it opens nowhere else.
type Place struct {
	Site      string
	Branch    uint64
	Aggregate event.AggregateID
	Field     string
}

// Key is the key of one aggregate.
type Key struct {
	commitment event.Hash
	values     cipher.AEAD
	digests    []byte
	pack       *packer
}

func (k *Keys) newKey(secret []byte) (*Key, error) {
	if len(secret) != keyLen {
		return nil, fmt.Errorf("a key of %d bytes, it must have %d", len(secret), keyLen)
	}
	block, err := aes.NewCipher(subkey(secret, "eventful.field.value.v1"))
	if err != nil {
		return nil, fmt.Errorf("prepare a field key: %w", err)
	}
	values, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("prepare a field key: %w", err)
	}
	return &Key{
		commitment: sha256.Sum256(append([]byte("eventful.key.v1\x00"), secret...)),
		values:     values, digests: subkey(secret, "eventful.field.digest.v1"), pack: k.pack,
	}, nil
}

func subkey(secret []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// String keeps keys out of logs.
func (k *Key) String() string { return "fieldkey.Key(" + k.commitment.String() + ")" }

// GoString is String.
func (k *Key) GoString() string { return k.String() }

// Commitment names the key without telling it.
func (k *Key) Commitment() event.Hash { return k.commitment }

// Digest stands for a text in the digest of a command.
func (k *Key) Digest(field, text string) string {
	mac := hmac.New(sha256.New, k.digests)
	mac.Write(appendStr(appendStr(nil, field), text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Seal gives the value of a sealed field; unique is its keyed hash, nil for none. Equal texts give values that have nothing in common but about their length, and
// the keyed hash. The result can be longer than a value may be (event.MaxValueLen).
func (k *Key) Seal(p Place, text string, unique *event.Hash) string {
	plain := []byte(text)
	s := &event.SealedValue{Unique: unique, Nonce: make([]byte, event.SealedNonceLen)}
	if packed, shorter := k.pack.pack(plain); shorter {
		plain, s.Compressed = packed, true
	}
	_, _ = rand.Read(s.Nonce) // never fails (crypto/rand)
	s.Ciphertext = k.values.Seal(nil, s.Nonce, plain, p.binding(s))
	return s.String()
}

// Open gives the text of a sealed value. The error wraps ErrNotOpened, or event.ErrDecode for what is no sealed value.
func (k *Key) Open(p Place, value string) (string, error) {
	s, err := event.ParseSealed(value)
	if err != nil {
		return "", err
	}
	plain, err := k.values.Open(nil, s.Nonce, s.Ciphertext, p.binding(s))
	if err != nil {
		return "", fmt.Errorf("field %s of %s: %w", p.Field, p.Aggregate, ErrNotOpened)
	}
	if s.Compressed {
		if plain, err = k.pack.unpack(plain); err != nil {
			return "", fmt.Errorf("field %s of %s: %w: %w", p.Field, p.Aggregate, err, ErrNotOpened)
		}
	}
	return string(plain), nil
}

// binding is the associated data of a value's seal (docs/spec/log.md, section 3).
func (p Place) binding(s *event.SealedValue) []byte {
	b := append(make([]byte, 0, 256), "eventful.field.sealed.v1\x00"...)
	b = binary.AppendUvarint(appendStr(b, p.Site), p.Branch)
	b = appendStr(appendStr(appendStr(b, p.Aggregate.Type), p.Aggregate.ID), p.Field)
	return s.AppendHead(b)
}

func appendStr(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
