package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

const (
	sealVersion = 1
	nonceLen    = 12
	saltLen     = 16
	algorithm   = "argon2id"
)

// Cost is what deriving a key with Argon2id takes.
type Cost struct {
	Memory  uint32 // KiB, 8 per thread to 1 GiB
	Time    uint32 // passes, 1 to 20
	Threads uint8  // 1 to 16
}

// DefaultCost takes about 0.1 s and 64 MiB (RFC 9106, section 4, second recommendation).
var DefaultCost = Cost{Memory: 64 << 10, Time: 3, Threads: 4}

func (c Cost) check() error {
	if c.Threads < 1 || c.Threads > 16 || c.Time < 1 || c.Time > 20 || c.Memory < 8*uint32(c.Threads) || c.Memory > 1<<20 {
		return fmt.Errorf("cost of Argon2id out of bounds: %d KiB, %d passes, %d threads", c.Memory, c.Time, c.Threads)
	}
	return nil
}

// kdf is how a key is derived from a secret, as the file remembers it.
type kdf struct {
	Algorithm string `json:"algorithm"`
	Salt      []byte `json:"salt"`
	Memory    uint32 `json:"memory"` // KiB
	Time      uint32 `json:"time"`
	Threads   uint8  `json:"threads"`
}

func newKDF(c Cost) kdf {
	return kdf{Algorithm: algorithm, Salt: random(saltLen), Memory: c.Memory, Time: c.Time, Threads: c.Threads}
}

func (f kdf) cost() Cost { return Cost{Memory: f.Memory, Time: f.Time, Threads: f.Threads} }

func (f kdf) check() error {
	if f.Algorithm != algorithm {
		return fmt.Errorf("key derivation %.40q is unknown", f.Algorithm)
	}
	if len(f.Salt) != saltLen {
		return fmt.Errorf("salt has %d bytes, it must have %d", len(f.Salt), saltLen)
	}
	return f.cost().check()
}

func (f kdf) derive(secret []byte) [32]byte {
	return [32]byte(argon2.IDKey(secret, f.Salt, f.Time, f.Memory, f.Threads, 32))
}

// Seal encrypts plain with AES-256-GCM under a random nonce. The name says what is sealed; Unseal must be given the same, so one sealed thing
// cannot stand in for another. A key may seal 2^32 things (NIST SP 800-38D, section 8.3). The result is one byte of version, nonce,
// ciphertext and tag: 29 bytes longer than plain.
func Seal(key [32]byte, name string, plain []byte) []byte {
	out := append([]byte{sealVersion}, random(nonceLen)...)
	return gcm(key).Seal(out, out[1:], plain, associated(name))
}

// Unseal is the inverse of Seal. Anything that Seal did not make with this key and name gives ErrWrongKey, a newer layout ErrNewer.
func Unseal(key [32]byte, name string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+nonceLen {
		return nil, fmt.Errorf("unseal: %w", ErrWrongKey)
	}
	if sealed[0] > sealVersion {
		return nil, fmt.Errorf("unseal: %w: layout %d, this program knows %d", ErrNewer, sealed[0], sealVersion)
	}
	plain, err := gcm(key).Open(nil, sealed[1:1+nonceLen], sealed[1+nonceLen:], associated(name))
	if err != nil || sealed[0] != sealVersion {
		return nil, fmt.Errorf("unseal: %w", ErrWrongKey)
	}
	return plain, nil
}

func associated(name string) []byte { return []byte("eventful.sealed.v1\x00" + name) }

func gcm(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	mode, err2 := cipher.NewGCM(block)
	if err := errors.Join(err, err2); err != nil {
		panic(err) // cannot be: the key has 32 bytes
	}
	return mode
}

// random never fails: crypto/rand ends the program if the system has no randomness.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
