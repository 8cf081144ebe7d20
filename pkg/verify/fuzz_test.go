package verify_test

import (
	"context"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// FuzzLog holds that whatever lies in a log, verify comes to a report; and that a sound log with one message more or another one is sound only if that message is a
// block that counts for nothing.
func FuzzLog(f *testing.F) {
	_, log, b := verifytest.Memory(f, "patient")
	for _, id := range []string{"A", "B", "A"} {
		b.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", id), Events: []verifytest.Event{{Type: "crp", Fields: []event.Field{verifytest.Text("crp", "1")}}}})
	}
	b.Block()
	messages := verifytest.Messages(f, log)
	for i, m := range messages {
		f.Add(m, uint8(i), false)
		f.Add(m, uint8(i+1), true)
		f.Add(m[:len(m)/2], uint8(i), true)
	}
	f.Add([]byte("EVB\x02"), uint8(2), true)
	f.Fuzz(func(t *testing.T, message []byte, at uint8, more bool) {
		if len(message) == 0 {
			return
		}
		changed := slices.Clone(messages)
		i := int(at) % (len(changed) + 1)
		same := false
		switch {
		case more || i == len(changed):
			changed = slices.Insert(changed, i, message)
		default:
			same = slices.Equal(changed[i], message)
			changed[i] = message
		}
		report, err := verify.All(context.Background(), verifytest.Log(t, "patient", changed), nil)
		if err != nil {
			return // a newer format
		}
		if same && !report.OK() {
			t.Errorf("got %v of a sound log", report.Failures())
		}
		if !same && !more && i < len(messages)-1 && report.OK() {
			t.Errorf("message %d is another one, and nothing was found", i+1)
		}
	})
}
