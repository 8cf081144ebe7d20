package event

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// Entry is what a leaf of the trees is made of (section 4): who did what to which aggregate and when, and the digest of the values.
type Entry struct {
	Site          string
	Branch        uint64
	Aggregate     AggregateID
	Version       Version
	Type          string
	SchemaDigest  Hash
	PayloadDigest Hash
	OccurredAt    *Time
	Time          Time
	Actor         string
	TokenID       string
	Issuer        string
	CommandID     string
	Correlation   string
	Causation     string
	Traceparent   string
	Transaction   Transaction
	Index, Count  uint64 // place of the event in its commit, and how many there are
	KeyCommitment []byte
}

// ParseEntry reads the bytes that AppendEntry writes. The error wraps ErrDecode.
func ParseEntry(b []byte) (*Entry, error) {
	rest, ok := bytes.CutPrefix(b, []byte(leafDomain))
	if !ok {
		return nil, fmt.Errorf("entry: it does not begin with %q: %w", leafDomain[:len(leafDomain)-1], ErrDecode)
	}
	r := &reader{in: rest}
	str := func(what string) string { return string(r.text(what)) }
	e := &Entry{Site: str("site"), Branch: r.uv("branch")}
	e.Aggregate = AggregateID{Type: str("type"), ID: str("id")}
	e.Version, e.Type = Version(r.uv("version")), str("event type")
	e.SchemaDigest, e.PayloadDigest = r.hash("schema digest"), r.hash("payload digest")
	e.OccurredAt, e.Time = r.optionalTime("occurred-at"), r.time("time")
	for _, field := range []*string{&e.Actor, &e.TokenID, &e.Issuer, &e.CommandID, &e.Correlation, &e.Causation, &e.Traceparent} {
		*field = str("text")
	}
	e.Transaction = Transaction{ID: r.id16("transaction"), Index: r.uv("transaction index"), Count: r.uv("transaction count")}
	e.Index, e.Count = r.uv("index"), r.uv("count")
	e.KeyCommitment = r.bytes("key commitment")
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	return e, e.check()
}

func (e *Entry) check() error {
	switch {
	case CheckSite(e.Site) != nil, e.Aggregate.Check() != nil, CheckEventType(e.Type) != nil:
		return fmt.Errorf("entry: its site, aggregate or event type is none: %w", ErrDecode)
	case e.Version < 1 || e.Version > MaxVersion, e.Index >= e.Count, e.Transaction.Index >= e.Transaction.Count:
		return fmt.Errorf("entry: its version, index or transaction is none: %w", ErrDecode)
	case len(e.KeyCommitment) != 0 && len(e.KeyCommitment) != len(Hash{}):
		return fmt.Errorf("entry: a key commitment of %d bytes: %w", len(e.KeyCommitment), ErrDecode)
	}
	return nil
}

// EntryLeaf is the leaf hash over the bytes of an entry.
func EntryLeaf(entry []byte) Hash {
	return sha256.Sum256(append([]byte{0}, entry...))
}
