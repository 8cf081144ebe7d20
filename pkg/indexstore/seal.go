package indexstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// fileID is drawn for each file; with the store's key it makes the file's own key, so a file in another one's place cannot be read.
type fileID [16]byte

func newFileID() (id fileID) {
	_, _ = rand.Read(id[:]) // it never fails: crypto/rand ends the process instead
	return id
}

const sealDomain = "eventful.indexstore.v1\x00"

// fileCipher is AES-256-GCM under HMAC-SHA-256(key, domain, id).
func fileCipher(key []byte, id fileID) (cipher.AEAD, error) {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(sealDomain))
	m.Write(id[:])
	block, err := aes.NewCipher(m.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}

// Lengths of AES-GCM.
const (
	nonceBytes = 12
	tagBytes   = 16
)

// offsetNonce is the nonce of a part of a run: its offset. A run is written once, under a key of its own, so none is used twice.
func offsetNonce(offset int64) (n [nonceBytes]byte) {
	binary.BigEndian.PutUint64(n[4:], uint64(offset))
	return n
}

// nonces gives nonces that no other process gave: 8 random bytes, and a count. It is for one goroutine.
type nonces struct {
	prefix [8]byte
	count  uint32
}

func (n *nonces) next() (out [nonceBytes]byte) {
	if n.count == 0 { // at the start, and when the count has gone round
		_, _ = rand.Read(n.prefix[:])
	}
	n.count++
	copy(out[:], n.prefix[:])
	binary.BigEndian.PutUint32(out[8:], n.count)
	return out
}
