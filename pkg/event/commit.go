package event

import (
	"encoding/binary"
	"fmt"
)

const commitLayout = 1

// Encode gives the bytes of the commit (section 6), or ErrInvalid with the rule that it breaks.
func (c *Commit) Encode() ([]byte, error) { return c.AppendEncoded(make([]byte, 0, c.RoughSize())) }

// AppendEncoded appends what Encode gives; behind an error it gives b as it was.
func (c *Commit) AppendEncoded(b []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return b, fmt.Errorf("commit of %s: %w: %w", c.Aggregate, err, ErrInvalid)
	}
	b = append(b, commitLayout)
	b = append(b, c.ID[:]...)
	b = appendStr(b, c.Site)
	b = binary.AppendUvarint(b, c.Branch)
	b = appendStr(b, c.CommandID)
	b = append(b, c.CommandDigest[:]...)
	b = appendStr(b, c.Aggregate.Type)
	b = appendStr(b, c.Aggregate.ID)
	b = binary.AppendUvarint(b, uint64(c.First))
	b = append(b, c.Root[:]...)
	for _, s := range [...]string{c.Actor, c.TokenID, c.Issuer, c.Correlation, c.Causation, c.Traceparent} {
		b = appendStr(b, s)
	}
	b = append(b, c.Transaction.ID[:]...)
	b = binary.AppendUvarint(b, c.Transaction.Index)
	b = binary.AppendUvarint(b, c.Transaction.Count)
	b = appendTime(b, c.Time)
	b = appendBytes(b, c.KeyCommitment)
	b = binary.AppendUvarint(b, uint64(len(c.Events)))
	for i := range c.Events {
		b = c.Events[i].append(b)
	}
	return b, nil
}

// RoughSize is not below the number of bytes that Encode writes.
func (c *Commit) RoughSize() int {
	const fixed, length = 1 + 3*16 + 2*32 + 8 + 5*binary.MaxVarintLen64, 2 // parts of fixed length and numbers; the length of a short text
	texts := len(c.Site) + len(c.CommandID) + len(c.Aggregate.Type) + len(c.Aggregate.ID) + len(c.Actor) + len(c.TokenID) + len(c.Issuer) +
		len(c.Correlation) + len(c.Causation) + len(c.Traceparent) + len(c.KeyCommitment)
	size := fixed + texts + 11*length
	for i := range c.Events {
		e := &c.Events[i]
		size += len(e.Type) + len(e.Payload) + length + 32 + 16 + 9 + 2*binary.MaxVarintLen64
	}
	return size
}

func (e *Event) append(b []byte) []byte {
	b = appendStr(b, e.Type)
	b = append(b, e.SchemaDigest[:]...)
	b = binary.AppendUvarint(b, e.SchemaVersion)
	b = append(b, e.Salt[:]...)
	b = appendOptionalTime(b, e.OccurredAt)
	return appendBytes(b, e.Payload)
}

// DecodeCommit is the inverse of Encode. The commit's payloads share raw's memory. The error wraps ErrDecode.
func DecodeCommit(raw []byte) (*Commit, error) {
	r := &reader{in: raw}
	c, n := decodeCommitHead(r)
	if n > MaxCommitEvents {
		r.fail("%d events, at most %d are allowed", n, MaxCommitEvents)
	}
	c.Events = make([]Event, 0, min(n, uint64(len(r.in)-r.pos)/minEventLen))
	for i := uint64(0); i < n && r.err == nil; i++ {
		c.Events = append(c.Events, decodeEvent(r, c.Events))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit: %w: %w", err, ErrDecode)
	}
	for i := range c.Events {
		sealed, err := checkPayload(c.Events[i].Payload)
		if err != nil {
			return nil, fmt.Errorf("commit: event %d: payload: %w", i, err)
		}
		if sealed && c.KeyCommitment == nil {
			return nil, fmt.Errorf("commit: event %d: a field is sealed, and the commit has no key commitment: %w", i, ErrDecode)
		}
	}
	return c, nil
}

func decodeCommitHead(r *reader) (*Commit, uint64) {
	if layout := r.u8("layout"); r.err == nil && layout != commitLayout {
		r.fail("commit layout %d, known is %d", layout, commitLayout)
	}
	c := &Commit{ID: r.id16("commit id")}
	site := r.text("site")
	c.Branch = r.uv("branch")
	command := r.text("command id")
	c.CommandDigest = r.hash("command digest")
	kind, id := r.text("aggregate type"), r.text("aggregate id")
	c.First, c.Root = Version(r.uv("first version")), r.hash("root")
	actor, token, issuer := r.text("actor"), r.text("token id"), r.text("issuer")
	correlation, causation, traceparent := r.text("correlation"), r.text("causation"), r.text("traceparent")
	carve([]*string{&c.Aggregate.Type, &c.Aggregate.ID}, kind, id) // for itself: maps keep aggregates longer than commits
	carve([]*string{&c.Site, &c.CommandID, &c.Actor, &c.TokenID, &c.Issuer, &c.Correlation, &c.Causation, &c.Traceparent},
		site, command, actor, token, issuer, correlation, causation, traceparent)
	c.Transaction = Transaction{ID: r.id16("transaction id"), Index: r.uv("transaction index"), Count: r.uv("transaction count")}
	c.Time = r.time("writer time")
	if k := r.bytes("key commitment"); len(k) > 0 {
		c.KeyCommitment = k
	}
	return c, r.uv("number of events")
}

// minEventLen is the length of an event with a type of one letter and no fields.
const minEventLen = 2 + 32 + 1 + 16 + 1 + 2

// decodeEvent reads the event behind those before it; it takes over the string of the last one's type if its own is the same.
func decodeEvent(r *reader, before []Event) Event {
	kind := r.text("event type")
	var name string
	if n := len(before); n > 0 && before[n-1].Type == string(kind) {
		name = before[n-1].Type
	} else {
		name = string(kind)
	}
	return Event{
		Type: name, SchemaDigest: r.hash("schema digest"), SchemaVersion: r.uv("schema version"),
		Salt: r.id16("salt"), OccurredAt: r.optionalTime("occurred-at"), Payload: r.bytes("payload"),
	}
}

// check holds every rule of sections 2 and 6 except those of the payload, which its own encoder and decoder hold; DecodeCommit holds that sealed fields
// have a key commitment.
func (c *Commit) check() error {
	checks := []error{
		CheckSite(c.Site), CheckCommandID(c.CommandID), c.Aggregate.Check(),
		CheckActor(c.Actor), visible("token id", c.TokenID, 1, MaxTokenIDLen), visible("issuer", c.Issuer, 1, MaxTokenIDLen),
		text("correlation", c.Correlation, 0, MaxContextLen), text("causation", c.Causation, 0, MaxContextLen),
		visible("traceparent", c.Traceparent, 0, MaxContextLen),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	n := uint64(len(c.Events))
	switch t := c.Transaction; {
	case n == 0 || n > MaxCommitEvents:
		return fmt.Errorf("%d events, it must have 1 to %d", n, MaxCommitEvents)
	case c.First == 0 || uint64(c.First) > MaxVersion || n-1 > MaxVersion-uint64(c.First):
		return fmt.Errorf("first version %d with %d events is out of range", c.First, n)
	case t.Index >= t.Count:
		return fmt.Errorf("transaction index %d is not below its count %d", t.Index, t.Count)
	case t.Count == 1 && t.ID != c.ID:
		return fmt.Errorf("a commit on its own has the transaction id %s, not its own", t.ID)
	case len(c.KeyCommitment) != 0 && len(c.KeyCommitment) != 32:
		return fmt.Errorf("key commitment has %d bytes, it must have 0 or 32", len(c.KeyCommitment))
	}
	for i := range c.Events {
		if err := CheckEventType(c.Events[i].Type); err != nil {
			return err
		}
	}
	return nil
}

// EventsOf is the number of events of an encoded commit; of the rest nothing is checked. The error wraps ErrDecode.
func EventsOf(raw []byte) (uint64, error) {
	r := &reader{in: raw}
	r.take(1+16, "commit id")
	r.bytes("site")
	r.uv("branch")
	r.bytes("command id")
	r.take(32, "command digest")
	r.bytes("type")
	r.bytes("id")
	r.uv("first version")
	r.take(32, "root")
	for range 6 { // actor, token id, issuer, correlation, causation, traceparent
		r.bytes("text")
	}
	r.take(16, "transaction id")
	r.uv("transaction index")
	r.uv("transaction count")
	r.take(8, "time")
	r.bytes("key commitment")
	n := r.uv("number of events")
	return n, r.err
}
