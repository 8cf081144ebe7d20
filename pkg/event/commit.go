package event

import (
	"encoding/binary"
	"fmt"
)

const commitLayout = 1

// Encode gives the bytes of the commit (section 6), or ErrInvalid with the rule that it breaks.
func (c *Commit) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit of %s: %w: %w", c.Aggregate, err, ErrInvalid)
	}
	b := make([]byte, 0, 512)
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
	for i := uint64(0); i < n && r.err == nil; i++ {
		c.Events = append(c.Events, decodeEvent(r))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit: %w: %w", err, ErrDecode)
	}
	for i := range c.Events {
		if _, err := DecodePayload(c.Events[i].Payload); err != nil {
			return nil, fmt.Errorf("commit: event %d: payload: %w", i, err)
		}
	}
	return c, nil
}

func decodeCommitHead(r *reader) (*Commit, uint64) {
	if layout := r.u8("layout"); r.err == nil && layout != commitLayout {
		r.fail("commit layout %d, known is %d", layout, commitLayout)
	}
	c := &Commit{ID: r.id16("commit id"), Site: r.str("site"), Branch: r.uv("branch"), CommandID: r.str("command id"), CommandDigest: r.hash("command digest")}
	c.Aggregate = AggregateID{Type: r.str("aggregate type"), ID: r.str("aggregate id")}
	c.First, c.Root = Version(r.uv("first version")), r.hash("root")
	c.Actor, c.TokenID, c.Issuer = r.str("actor"), r.str("token id"), r.str("issuer")
	c.Correlation, c.Causation, c.Traceparent = r.str("correlation"), r.str("causation"), r.str("traceparent")
	c.Transaction = Transaction{ID: r.id16("transaction id"), Index: r.uv("transaction index"), Count: r.uv("transaction count")}
	c.Time = r.time("writer time")
	if k := r.bytes("key commitment"); len(k) > 0 {
		c.KeyCommitment = k
	}
	return c, r.uv("number of events")
}

func decodeEvent(r *reader) Event {
	return Event{
		Type: r.str("event type"), SchemaDigest: r.hash("schema digest"), SchemaVersion: r.uv("schema version"),
		Salt: r.id16("salt"), OccurredAt: r.optionalTime("occurred-at"), Payload: r.bytes("payload"),
	}
}

// check holds every rule of sections 2 and 6 except those of the payload, which its own encoder and decoder hold.
func (c *Commit) check() error {
	checks := []error{
		CheckSite(c.Site), CheckCommandID(c.CommandID), c.Aggregate.Check(),
		text("actor", c.Actor, 1, MaxActorLen), visible("token id", c.TokenID, 1, MaxTokenIDLen), visible("issuer", c.Issuer, 1, MaxTokenIDLen),
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
	case c.First == 0 || uint64(c.First) > MaxVersion || n > MaxVersion-uint64(c.First):
		return fmt.Errorf("first version %d is out of range", c.First)
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
