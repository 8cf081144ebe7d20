package projector

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// cursors seals where a page ends, together with the query that it is of: a cursor of another query, or one that was changed, does not open. Every
// process with the same key opens them. What a cursor says of aggregates that who has it may not read stays hidden.
type cursors struct{ aead cipher.AEAD }

const cursorDomain = "eventful.projector.cursor.v1"

func newCursors(key []byte) (*cursors, error) {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(cursorDomain))
	block, err := aes.NewCipher(m.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("make cipher of cursors: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher of cursors: %w", err)
	}
	return &cursors{aead}, nil
}

// seal gives the cursor of a query that goes on at a place, which is written as JSON.
func (c *cursors) seal(query []byte, place any) (string, error) {
	plain, err := json.Marshal(place)
	if err != nil {
		return "", fmt.Errorf("encode cursor: %w", err)
	}
	nonce := make([]byte, c.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(c.aead.Seal(nonce, nonce, plain, query)), nil
}

// maxCursor is the length of a cursor at most.
const maxCursor = 64 << 10

// open reads a cursor of a query; an empty one leaves place as it is.
func (c *cursors) open(query []byte, cursor string, place any) error {
	if cursor == "" {
		return nil
	}
	bad := problem.New(problem.Malformed, "the cursor %.40q is not one that this query gave", cursor).WithHint("take the cursor of the page before as it is, with the same query; or none to begin")
	if len(cursor) > maxCursor {
		return bad
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < c.aead.NonceSize() {
		return bad
	}
	plain, err := c.aead.Open(nil, raw[:c.aead.NonceSize()], raw[c.aead.NonceSize():], query)
	if err != nil || json.Unmarshal(plain, place) != nil {
		return bad
	}
	return nil
}

// queryDigest stands for a query in its cursors.
func queryDigest(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}
