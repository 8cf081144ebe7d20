package event_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
)

// What a decoder accepts it must write back byte for byte; what it refuses it must refuse by a sentinel.

func FuzzDecodePayload(f *testing.F) {
	for _, v := range vectors[payloadVector](f, "payload.json") {
		f.Add(unhex(f, v.Hex))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fields, err := event.DecodePayload(raw)
		if err != nil {
			refused(t, err)
			return
		}
		again, err := event.EncodePayload(fields)
		unchanged(t, raw, again, err)
		for _, f := range fields {
			if !f.Sealed {
				continue
			}
			s, err := event.ParseSealed(f.Value)
			if err != nil || s.String() != f.Value {
				t.Errorf("sealed value %q of an accepted payload: got %v, %v", f.Value, s, err)
			}
		}
	})
}

func FuzzDecodeCommit(f *testing.F) {
	for _, v := range vectors[commitVector](f, "commit.json") {
		f.Add(unhex(f, v.Hex))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := event.DecodeCommit(raw)
		if err != nil {
			refused(t, err)
			return
		}
		again, err := c.Encode()
		unchanged(t, raw, again, err)
		for i := range c.Events {
			if _, err := event.DecodePayload(c.Events[i].Payload); err != nil {
				t.Errorf("event %d of an accepted commit: %v", i, err)
			}
		}
		if got := len(c.Leaves()); got != len(c.Events) {
			t.Errorf("got %d leaves, want %d", got, len(c.Events))
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	for _, v := range vectors[blockVector](f, "block.json") {
		if len(v.Hex) < 1<<16 { // the largest one slows mutation down
			f.Add(unhex(f, v.Hex), v.Sequence)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, sequence uint64) {
		b, commits, err := event.DecodeBlock(raw, sequence)
		if err != nil {
			refused(t, err)
			return
		}
		unchanged(t, raw, b.Encode(), nil)
		if len(commits) != len(b.Records) {
			t.Errorf("got %d commits of %d records", len(commits), len(b.Records))
		}
		for i, c := range commits {
			if c.Time != b.Time {
				t.Errorf("commit %d has time %d, its block %d", i, c.Time, b.Time)
			}
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, v := range vectors[positionVector](f, "position.json") {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := event.ParsePosition(text)
		if err != nil {
			return
		}
		if got := p.String(); got != text {
			t.Errorf("got %q back, want %q", got, text)
		}
		if p.Sequence == 0 || event.CheckLog(p.Log) != nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	})
}

// FuzzStored reads what local stores hold: their content is doubted, so no bytes may crash the program.
func FuzzStored(f *testing.F) {
	f.Add(event.Chain{}.AppendBinary(nil))
	f.Add(event.Tree{}.Append(make([]event.Hash, 5)...).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if tree, err := event.TreeFromBinary(raw); err == nil {
			unchanged(t, raw, tree.AppendBinary(nil), nil)
			tree.Append(event.Hash{}).Root()
		}
		if chain, err := event.ChainFromBinary(raw); err == nil {
			unchanged(t, raw, chain.AppendBinary(nil), nil)
		}
	})
}

func refused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, event.ErrDecode) && !errors.Is(err, event.ErrNewerFormat) {
		t.Errorf("got %v, want ErrDecode or ErrNewerFormat", err)
	}
}

func unchanged(t *testing.T, want, got []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("encode again: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoded again: got %x, want %x", got, want)
	}
}
