package event

import (
	"crypto/sha256"
	"encoding/binary"
)

const leafDomain = "eventful.event.v1\x00"

// AppendEntry appends the leaf entry of the commit's i-th event (section 4). Its content for a given commit never changes.
func (c *Commit) AppendEntry(b []byte, i int) []byte {
	e := &c.Events[i]
	digest := PayloadDigest(e.Salt, e.Payload)
	b = append(b, leafDomain...)
	b = appendStr(b, c.Site)
	b = binary.AppendUvarint(b, c.Branch)
	b = appendStr(b, c.Aggregate.Type)
	b = appendStr(b, c.Aggregate.ID)
	b = binary.AppendUvarint(b, uint64(c.First)+uint64(i))
	b = appendStr(b, e.Type)
	b = append(b, e.SchemaDigest[:]...)
	b = append(b, digest[:]...)
	b = appendOptionalTime(b, e.OccurredAt)
	b = appendTime(b, c.Time)
	for _, s := range [...]string{c.Actor, c.TokenID, c.Issuer, c.CommandID, c.Correlation, c.Causation, c.Traceparent} {
		b = appendStr(b, s)
	}
	b = append(b, c.Transaction.ID[:]...)
	b = binary.AppendUvarint(b, c.Transaction.Index)
	b = binary.AppendUvarint(b, c.Transaction.Count)
	b = binary.AppendUvarint(b, uint64(i))
	b = binary.AppendUvarint(b, uint64(len(c.Events)))
	return appendBytes(b, c.KeyCommitment)
}

// Leaf is the leaf hash of the commit's i-th event: RFC 6962, section 2.1, over its entry.
func (c *Commit) Leaf(i int) Hash {
	buf := make([]byte, 1, 512)
	return sha256.Sum256(c.AppendEntry(buf, i)) // buf[0] is RFC 6962's leaf prefix 0x00
}

// Leaves are the leaf hashes of all events of the commit, in order.
func (c *Commit) Leaves() []Hash {
	return c.AppendLeaves(make([]Hash, 0, len(c.Events)))
}

// AppendLeaves appends what Leaves gives.
func (c *Commit) AppendLeaves(to []Hash) []Hash {
	for i := range c.Events {
		to = append(to, c.Leaf(i))
	}
	return to
}
