// Package event is the immutable fact, the commit that stores it, and the block that carries it to disk: types, byte encoding and leaf hash.
//
// The authority for every byte is docs/spec/log.md; section numbers in comments are its sections. The package is pure: no clock, no randomness,
// no I/O. Values are plain structs; what cannot be stored is refused when it is encoded and again when it is decoded, so a decoded value is
// always valid. Nothing here is safe for concurrent change; concurrent reading is.
package event

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Version numbers the events of one aggregate: 1, 2, 3 … Zero means "none yet".
type Version uint64

// Time is nanoseconds since the Unix epoch, UTC.
type Time int64

// Hash is a SHA-256 digest.
type Hash [32]byte

// ID16 is a random identifier of a commit, block or transaction, or a salt.
type ID16 [16]byte

// String is the lower-case hexadecimal form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// AppendTo appends what String gives.
func (h Hash) AppendTo(b []byte) []byte { return hex.AppendEncode(b, h[:]) }

// IsZero reports whether the id is sixteen zero bytes, which stands for "none".
func (i ID16) IsZero() bool { return i == ID16{} }

// String is the lower-case hexadecimal form.
func (i ID16) String() string { return hex.EncodeToString(i[:]) }

// ParseHash reads 64 lower-case hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	return h, parseHex(h[:], "hash", s)
}

// ParseID16 reads 32 lower-case hexadecimal digits.
func ParseID16(s string) (ID16, error) {
	var i ID16
	err := parseHex(i[:], "id", s)
	return i, err
}

func parseHex(dst []byte, what, s string) error {
	if len(s) != 2*len(dst) || strings.ToLower(s) != s {
		return fmt.Errorf("%s %q is not %d lower-case hexadecimal digits", what, clip(s), 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("%s %q: %w", what, clip(s), err)
	}
	return nil
}

// AggregateID names an aggregate.
type AggregateID struct {
	Type string
	ID   string
}

// String is `type/id`.
func (a AggregateID) String() string { return a.Type + "/" + a.ID }

// Check says why a names no aggregate, or nil.
func (a AggregateID) Check() error {
	if err := CheckType(a.Type); err != nil {
		return err
	}
	return CheckID(a.ID)
}

// Field is one field of an event. Set is false for a field that the event unsets; Value is then empty. Sealed says that Value is a sealed value
// (ParseSealed) and not the text itself; Set is true then.
type Field struct {
	Name   string
	Value  string
	Set    bool
	Sealed bool
}

// Event is one immutable fact as it stands in a commit (section 6).
type Event struct {
	Type          string
	SchemaDigest  Hash
	SchemaVersion uint64
	Salt          ID16
	OccurredAt    *Time // nil: the command gave none
	Payload       []byte
}

// Transaction says which transaction a commit belongs to. A commit on its own has its own id, index 0, count 1.
type Transaction struct {
	ID    ID16
	Index uint64
	Count uint64
}

// Commit is 1..4096 events of one aggregate, stored together or not at all (section 6).
type Commit struct {
	ID            ID16
	Site          string
	Branch        uint64
	CommandID     string
	CommandDigest Hash
	Aggregate     AggregateID
	First         Version
	Root          Hash // of the aggregate tree after this commit
	Actor         string
	TokenID       string
	Issuer        string
	Correlation   string
	Causation     string
	Traceparent   string
	Transaction   Transaction
	Time          Time
	KeyCommitment []byte // nil or 32 bytes: of the key under which sealed fields of Events are sealed
	Events        []Event
}

// Last is the version of the commit's last event.
func (c *Commit) Last() Version { return c.First + Version(len(c.Events)) - 1 }

// Link is where the aggregate's previous commit lies; zero in its first commit.
type Link struct {
	Sequence uint64
	Index    uint32
	Block    ID16
}

// Record is a commit as it lies in a block: with the link, which is local to the log.
type Record struct {
	Prev Link
	Raw  []byte // the encoded commit
}

// Header is what a block says of itself (section 7).
type Header struct {
	ID       ID16
	Previous ID16
	Epoch    uint64
	System   SystemPosition
	TreeSize uint64
	TreeRoot Hash
	Time     Time
}

// SystemPosition names the newest block of the system log that a block was decided under; zero is "none".
type SystemPosition struct {
	Sequence uint64
	Block    ID16
}

// Block is 0..n commits of one log, appended as one message.
type Block struct {
	Header
	Records []Record
}

// Position is where a commit lies (section 8). Whoever saves one saves all four.
type Position struct {
	Log      string
	Sequence uint64
	Index    uint32
	Block    ID16
}

// String is `<log>/<sequence>/<index>/<block id>`.
func (p Position) String() string {
	return string(p.AppendTo(make([]byte, 0, len(p.Log)+2*20+3+2*len(p.Block))))
}

// AppendTo appends what String gives.
func (p Position) AppendTo(b []byte) []byte {
	b = append(append(b, p.Log...), '/')
	b = append(strconv.AppendUint(b, p.Sequence, 10), '/')
	b = append(strconv.AppendUint(b, uint64(p.Index), 10), '/')
	return hex.AppendEncode(b, p.Block[:])
}

// ParsePosition reads the text form of a position.
func ParsePosition(s string) (Position, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return Position{}, fmt.Errorf("position %q is not <log>/<sequence>/<index>/<block id>", clip(s))
	}
	p := Position{Log: parts[0]}
	if err := CheckLog(p.Log); err != nil {
		return Position{}, fmt.Errorf("position %q: %w", clip(s), err)
	}
	var err error
	if p.Sequence, err = decimal(parts[1], 64); err != nil {
		return Position{}, fmt.Errorf("position %q: sequence: %w", clip(s), err)
	}
	if p.Sequence == 0 {
		return Position{}, fmt.Errorf("position %q: sequences begin with 1", clip(s))
	}
	index, err := decimal(parts[2], 32)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: index: %w", clip(s), err)
	}
	p.Index = uint32(index)
	if p.Block, err = ParseID16(parts[3]); err != nil {
		return Position{}, fmt.Errorf("position %q: %w", clip(s), err)
	}
	return p, nil
}

// decimal reads digits without sign or leading zero.
func decimal(s string, bits int) (uint64, error) {
	if s == "" || (len(s) > 1 && s[0] == '0') || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a decimal number without leading zeros", clip(s))
	}
	return strconv.ParseUint(s, 10, bits)
}
