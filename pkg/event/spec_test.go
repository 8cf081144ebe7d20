package event_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
)

func TestPayloadVectors(t *testing.T) {
	for _, v := range vectors[payloadVector](t, "payload.json") {
		t.Run(v.Name, func(t *testing.T) {
			raw := unhex(t, v.Hex)
			fields, err := event.DecodePayload(raw)
			if !accepted(t, v.OK, err) {
				return
			}
			same(t, "fields", viewFields(fields), v.Fields)
			same(t, "digest", event.PayloadDigest(id16(t, v.Salt), raw).String(), v.Digest)
			slices.Reverse(fields)
			again, err := event.EncodePayload(fields)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "encoded again", hex.EncodeToString(again), v.Hex)
		})
	}
}

// The vector gives the payload's digest, not the payload; the digest of the payload that stands in for it is replaced.
func TestLeafVectors(t *testing.T) {
	for _, v := range vectors[leafVector](t, "leaf.json") {
		t.Run(v.Name, func(t *testing.T) {
			payload := []byte{0}
			c := commitOfLeaf(t, v)
			c.Events[v.EventIndex] = event.Event{
				Type: v.Event, SchemaDigest: hash(t, v.SchemaDigest), OccurredAt: optionalTime(t, v.OccurredAt), Payload: payload,
			}
			entry := c.AppendEntry(nil, v.EventIndex)
			same(t, "leaf of the entry", c.Leaf(v.EventIndex).String(), leafOf(entry))
			entry = replaceDigest(entry, event.PayloadDigest(event.ID16{}, payload), unhex(t, v.PayloadDigest))
			same(t, "entry", hex.EncodeToString(entry), v.Entry)
			same(t, "leaf", leafOf(entry), v.Leaf)
		})
	}
}

func commitOfLeaf(t *testing.T, v leafVector) *event.Commit {
	t.Helper()
	return &event.Commit{
		Site: v.Site, Branch: v.Branch, Aggregate: event.AggregateID{Type: v.Type, ID: v.ID}, First: event.Version(v.Version - uint64(v.EventIndex)),
		Time: event.Time(v.WriterTime), Actor: v.Actor, TokenID: v.TokenID, Issuer: v.Issuer, CommandID: v.CommandID, Correlation: v.Correlation,
		Causation: v.Causation, Traceparent: v.Traceparent, KeyCommitment: unhex(t, v.KeyCommitment), Events: make([]event.Event, v.EventCount),
		Transaction: event.Transaction{ID: id16(t, v.TransactionID), Index: v.TransactionIndex, Count: v.TransactionCount},
	}
}

func TestTreeVectors(t *testing.T) {
	for _, v := range vectors[treeVector](t, "tree.json") {
		t.Run(v.Name, func(t *testing.T) {
			tree := event.Tree{}.Append(hashes(t, v.Leaves)...)
			same(t, "size", tree.Size(), uint64(len(v.Leaves)))
			same(t, "root", tree.Root().String(), v.Root)
			same(t, "frontier", hexes(tree.Frontier()), v.Frontier)
		})
	}
}

func TestCommitVectors(t *testing.T) {
	for _, v := range vectors[commitVector](t, "commit.json") {
		t.Run(v.Name, func(t *testing.T) {
			c, err := event.DecodeCommit(unhex(t, v.Hex))
			if !accepted(t, v.OK, err) {
				return
			}
			same(t, "commit", viewCommit(t, c), v.commitView)
			again, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			same(t, "encoded again", hex.EncodeToString(again), v.Hex)
			if v.Before != nil {
				tree := event.Tree{}.Append(hashes(t, *v.Before)...).Append(c.Leaves()...)
				same(t, "root after", tree.Root().String(), *v.RootAfter)
			}
		})
	}
}

func TestBlockVectors(t *testing.T) {
	for _, v := range vectors[blockVector](t, "block.json") {
		t.Run(v.Name, func(t *testing.T) {
			b, commits, err := event.DecodeBlock(unhex(t, v.Hex), v.Sequence)
			if !accepted(t, v.OK, err) {
				if !v.OK && !errors.Is(err, event.ErrDecode) && !errors.Is(err, event.ErrNewerFormat) {
					t.Errorf("got %v, want ErrDecode or ErrNewerFormat", err)
				}
				return
			}
			same(t, "block", viewBlock(b, commits), v.blockView)
			same(t, "encoded again", hex.EncodeToString(b.Encode()), v.Hex)
		})
	}
}

func TestChainVectors(t *testing.T) {
	word := map[event.Standing]string{event.Counts: "block", event.Void: "void", event.Damaged: "damage", event.Newer: "refused"}
	for _, v := range vectors[chainVector](t, "chain.json") {
		t.Run(v.Name, func(t *testing.T) {
			var chain event.Chain
			got := []judgement{}
			for _, m := range v.Messages {
				gap := chain.Sequence + 1
				verdict := chain.Next(m.Sequence, unhex(t, m.Hex))
				same(t, "missing before "+strconv.FormatUint(m.Sequence, 10), verdict.Missing, gap != m.Sequence)
				for ; gap < m.Sequence; gap++ {
					got = append(got, judgement{gap, "damage"})
				}
				got = append(got, judgement{m.Sequence, word[verdict.Standing]})
				if verdict.Standing == event.Newer {
					break
				}
				chain = stored(t, chain)
			}
			same(t, "judgements", got, v.Expect)
		})
	}
}

// stored sends a chain through its stored form.
func stored(t *testing.T, c event.Chain) event.Chain {
	t.Helper()
	back, err := event.ChainFromBinary(c.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	if back != c {
		t.Fatalf("chain read back: got %+v, want %+v", back, c)
	}
	return back
}

func TestPositionVectors(t *testing.T) {
	for _, v := range vectors[positionVector](t, "position.json") {
		t.Run(v.Text, func(t *testing.T) {
			p, err := event.ParsePosition(v.Text)
			if !accepted(t, v.OK, err) {
				return
			}
			got := positionVector{Text: p.String(), OK: true, Log: p.Log, Sequence: new(strconv.FormatUint(p.Sequence, 10)), Index: p.Index, Block: p.Block.String()}
			same(t, "position", got, v)
		})
	}
}

func TestLargeVectors(t *testing.T) {
	for _, v := range vectors[largeVector](t, "large.json") {
		t.Run(v.Name, func(t *testing.T) {
			var raw []byte
			for _, run := range v.Runs {
				raw = append(raw, bytes.Repeat(unhex(t, run.Hex), run.Times)...)
			}
			same(t, "length", len(raw), v.Length)
			switch v.Of {
			case "payload":
				if _, err := event.DecodePayload(raw); accepted(t, v.OK, err) {
					same(t, "digest", event.PayloadDigest(id16(t, v.Salt), raw).String(), v.Digest)
				}
			case "commit":
				if c, err := event.DecodeCommit(raw); accepted(t, v.OK, err) {
					same(t, "root after", event.Tree{}.Append(c.Leaves()...).Root().String(), v.RootAfter)
				}
			default:
				t.Errorf("large vector of %q is unknown", v.Of)
			}
		})
	}
}
