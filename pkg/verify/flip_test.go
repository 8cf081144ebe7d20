package verify_test

import (
	"bytes"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// span is a stretch of a message's bytes.
type span struct{ from, to int }

// unproved are the bytes of a message that stand under no hash and no rule (docs/spec/log.md): changing them cannot be noticed.
func unproved(t *testing.T, raw []byte, sequence uint64, last bool) (out []span) {
	t.Helper()
	out = append(out, span{36, 44}, span{44, 68}) // epoch (any that fits its neighbours), system position
	if last {
		out = append(out, span{4, 20}) // nothing names the last block yet
	}
	_, commits, err := event.DecodeBlock(raw, sequence)
	if err != nil {
		t.Fatal(err)
	}
	find := func(b []byte) int {
		at := bytes.Index(raw, b)
		if at < 0 {
			t.Fatalf("message %d does not hold %x", sequence, b)
		}
		return at
	}
	for _, c := range commits {
		at := find(c.CommandDigest[:])
		out = append(out, span{at, at + 32})
		if c.Transaction.Count > 1 {
			at = find(c.ID[:])
			out = append(out, span{at, at + 16})
		}
		for _, e := range c.Events {
			at = find(e.SchemaDigest[:]) + 32
			out = append(out, span{at, at + 1}) // schema version
		}
	}
	return out
}

// TestEveryByte flips each byte of a log, one after another: All must notice each, but for those that the format does not prove.
func TestEveryByte(t *testing.T) {
	messages, _ := sample(t)
	for i, raw := range messages {
		free := unproved(t, raw, uint64(i+1), i == len(messages)-1)
		for at := range raw {
			for _, mask := range []byte{0x01, 0x80, 0xff} {
				prove := whole // one of the three in parts too, which takes several times as long
				if mask == 0xff {
					prove = all
				}
				report := prove(t, verifytest.Log(t, "patient", changed(messages, i, func(m []byte) { m[at] ^= mask })))
				if report.OK() && !within(free, at) {
					t.Errorf("message %d, byte %d changed by %#x: got an OK report, want a finding", i+1, at, mask)
				}
				if n := len(report.Failed) + len(report.Damage); n > 4 {
					t.Errorf("message %d, byte %d changed by %#x: got %d findings, want few: %+v", i+1, at, mask, n, report.Failures())
				}
			}
		}
	}
}

func within(spans []span, at int) bool {
	for _, s := range spans {
		if at >= s.from && at < s.to {
			return true
		}
	}
	return false
}

// TestEveryPayloadByte flips each byte of each payload: All must name the aggregate, and the first version of the commit.
func TestEveryPayloadByte(t *testing.T) {
	messages, _ := sample(t)
	for i, raw := range messages {
		_, commits, err := event.DecodeBlock(raw, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commits {
			for _, e := range c.Events {
				at := bytes.Index(raw, e.Payload)
				for k := range e.Payload {
					report := all(t, verifytest.Log(t, "patient", changed(messages, i, func(m []byte) { m[at+k] ^= 0x01 })))
					if len(report.Failed) != 1 || report.Failed[0].Aggregate != c.Aggregate || report.Failed[0].Version != c.First {
						t.Errorf("message %d, payload byte %d of %s: got %+v, want %s at version %d alone", i+1, k, c.Aggregate, report.Failures(), c.Aggregate, c.First)
					}
				}
			}
		}
	}
}
