package archive

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Domains of docs/spec/archive.md.
const (
	domainSegment    = "eventful.segment.v1\x00"
	domainSegmentKey = "eventful.segment.key.v1\x00"
	domainState      = "eventful.state.v1\x00"
	domainStateKey   = "eventful.state.key.v1\x00"
)

// codec compresses and decompresses; it is safe for concurrent use.
type codec struct {
	to   *zstd.Encoder
	from *zstd.Decoder
}

func newCodec() (c codec, err error) {
	if c.to, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
		return c, fmt.Errorf("make compressor: %w", err)
	}
	if c.from, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain+1)); err != nil {
		return c, fmt.Errorf("make decompressor: %w", err)
	}
	return c, nil
}

// packer compresses and, with a cipher, encrypts what is put into one object, and the inverse. It is safe for concurrent use.
type packer struct {
	codec
	aead  cipher.AEAD // nil: stored as it is compressed
	about []byte      // associated data
}

// packer is that of the object with an id; key nil: it is not encrypted.
func (c codec) packer(key []byte, domain string, id event.ID16, about []byte) (packer, error) {
	if key == nil {
		return packer{codec: c}, nil
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(domain))
	mac.Write(id[:])
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return packer{}, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return packer{}, fmt.Errorf("make cipher: %w", err)
	}
	return packer{codec: c, aead: aead, about: about}, nil
}

func nonce(number uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4, 12), number) }

// pack gives the stored form of what is the number-th thing of the object.
func (p packer) pack(plain []byte, number uint64) []byte {
	stored := p.to.EncodeAll(plain, nil)
	if p.aead == nil {
		return stored
	}
	return p.aead.Seal(nil, nonce(number), stored, p.about)
}

// open is the inverse; plain must have the length that was noted. Errors wrap ErrDamaged.
func (p packer) open(stored []byte, number uint64, length uint32) ([]byte, error) {
	if length > maxPlain {
		return nil, fmt.Errorf("it opens to %d bytes, more than %d: %w", length, maxPlain, ErrDamaged)
	}
	if p.aead != nil {
		var err error
		if stored, err = p.aead.Open(nil, nonce(number), stored, p.about); err != nil {
			return nil, fmt.Errorf("it does not decrypt: %w: %w", err, ErrDamaged)
		}
	}
	plain, err := p.from.DecodeAll(stored, make([]byte, 0, length))
	if err != nil || uint32(len(plain)) != length {
		return nil, fmt.Errorf("it opens to %d of %d bytes (%v): %w", len(plain), length, err, ErrDamaged)
	}
	return plain, nil
}
