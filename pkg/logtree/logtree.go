// Package logtree is what is signed and proved about the tree of a log: checkpoints, tiles, proofs and policies, as values.
//
// The authority is docs/spec/proofs.md; the formats are those of C2SP. The tree is the log tree of docs/spec/log.md, section 5, so a leaf is the hash
// of an event's entry. The package is pure: it signs with keys that it is given, and knows no clock, no file and no NATS. It is safe for concurrent use.
package logtree

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	formats "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"github.com/eventfuldb/eventful/pkg/event"
)

var (
	// ErrFormat: bytes are no checkpoint, record, proof, policy or tile.
	ErrFormat = errors.New("it cannot be read")
	// ErrNoRecord: bytes that lie where the record of a checkpoint is kept, and have not the form of one of any version. It is an ErrFormat.
	ErrNoRecord = fmt.Errorf("it is no record of a checkpoint: %w", ErrFormat)
	// ErrSignature: a checkpoint has no signature by the key that is asked for.
	ErrSignature = errors.New("it is not signed by the log's key")
	// ErrProof: hashes do not lead from a leaf, or a smaller tree, to the root.
	ErrProof = errors.New("the proof does not hold")
)

const originPrefix = "eventfuldb/"

// maxNote bounds the bytes of a checkpoint with all its signatures.
const maxNote = 64 << 10

// Origin is the name of a log among all logs of all sites: the first line of its checkpoints, and the name of its key.
func Origin(site, log string) string { return originPrefix + site + "/" + log }

// ParseOrigin is the inverse of Origin.
func ParseOrigin(origin string) (site, log string, err error) {
	rest, ok := strings.CutPrefix(origin, originPrefix)
	site, log, two := strings.Cut(rest, "/")
	if !ok || !two || event.CheckSite(site) != nil || event.CheckLog(log) != nil {
		return "", "", fmt.Errorf("origin %.80q is not %s<site>/<log>: %w", origin, originPrefix, ErrFormat)
	}
	return site, log, nil
}

// Key signs the checkpoints of all logs of a site. It prints as its public half.
type Key struct {
	site    string
	private ed25519.PrivateKey
}

// NewKey makes the log key of a site from its seed.
func NewKey(site string, seed [32]byte) *Key {
	return &Key{site: site, private: ed25519.NewKeyFromSeed(seed[:])}
}

// Public is the public key.
func (k *Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// String is the public key in hexadecimal; the seed never leaves.
func (k *Key) String() string { return hex.EncodeToString(k.Public()) }

// GoString is String.
func (k *Key) GoString() string { return k.String() }

// Origin is that of a log of the key's site.
func (k *Key) Origin(log string) string { return Origin(k.site, log) }

// VKey is the verifier key of one log.
func (k *Key) VKey(log string) string {
	text, _ := note.NewEd25519VerifierKey(k.Origin(log), k.Public()) // an Ed25519 key has its size
	return text
}

// Checkpoint is what a signed note says of a log.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   event.Hash
}

// Sign gives the checkpoint of a log's tree as a signed note.
func (k *Key) Sign(log string, size uint64, root event.Hash) ([]byte, error) {
	text := formats.Checkpoint{Origin: k.Origin(log), Size: size, Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, signer{k.Origin(log), k.private})
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of %s: %w", log, err)
	}
	return signed, nil
}

// signer implements note.Signer.
type signer struct {
	name    string
	private ed25519.PrivateKey
}

const algEd25519 = 1

func (s signer) Name() string { return s.name }

func (s signer) KeyHash() uint32 {
	h := sha256.New()
	h.Write([]byte(s.name + "\n"))
	h.Write(append([]byte{algEd25519}, s.private.Public().(ed25519.PublicKey)...))
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.private, msg), nil }

// Open reads a checkpoint and checks the signature of the log with that verifier key. The error wraps ErrFormat or ErrSignature.
func Open(signed []byte, vkey string) (Checkpoint, error) {
	c, err := Peek(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verifier key %.80q: %w: %w", vkey, err, ErrFormat)
	}
	if c.Origin != verifier.Name() {
		return Checkpoint{}, fmt.Errorf("the checkpoint is of %.80q, the key of %.80q: %w", c.Origin, verifier.Name(), ErrSignature)
	}
	if _, err := note.Open(signed, note.VerifierList(verifier)); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of %.80q: %w: %w", c.Origin, err, ErrSignature)
	}
	return c, nil
}

// Peek reads a checkpoint and checks no signature. The error wraps ErrFormat.
func Peek(signed []byte) (Checkpoint, error) {
	if len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("a checkpoint of %d bytes: %w", len(signed), ErrFormat)
	}
	text, _, found := bytes.Cut(signed, []byte("\n\n"))
	lines := strings.Split(string(text), "\n")
	if !found || len(lines) < 3 {
		return Checkpoint{}, fmt.Errorf("a checkpoint has origin, size, root, an empty line and signatures: %w", ErrFormat)
	}
	var c formats.Checkpoint
	if _, err := c.Unmarshal(append(text, '\n')); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %w", err, ErrFormat)
	}
	if canonical := c.Marshal(); !bytes.HasPrefix(append(text, '\n'), canonical) || len(c.Hash) != len(event.Hash{}) {
		return Checkpoint{}, fmt.Errorf("checkpoint of %.80q: its size or root is written in another way: %w", c.Origin, ErrFormat)
	}
	return Checkpoint{Origin: c.Origin, Size: c.Size, Root: event.Hash(c.Hash)}, nil
}

// publicOf is the Ed25519 key in a verifier key.
func publicOf(vkey string) (name string, key ed25519.PublicKey, err error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return "", nil, fmt.Errorf("verifier key %.80q is not name+hash+key: %w", vkey, ErrFormat)
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return "", nil, fmt.Errorf("verifier key %.80q holds no Ed25519 key: %w", vkey, ErrFormat)
	}
	return parts[0], raw[1:], nil
}
