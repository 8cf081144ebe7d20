package inbox_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// transactionAbout sends a transaction about two aggregates of one type.
func (o *office) transactionAbout(a, b event.AggregateID) {
	o.t.Helper()
	body := fmt.Sprintf(`{"commits":[{"events":[{"event":"crp"}],"type":%q,"id":%q},{"type":%q,"id":%q,"events":[{"event":"crp"}]}]}`, a.Type, a.ID, b.Type, b.ID)
	o.raw("inbox.cmd."+a.Type, nats.Header{streams.HeaderToken: {"token-of-ada"}}, body)
}

func TestForgetRefusedCommands(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "no")
	}, nil)
	about, other := event.AggregateID{Type: "patient", ID: "Ada *"}, event.AggregateID{Type: "patient", ID: "Bob"}
	o.put(about, `{"crp":1}`)
	o.put(other, `{"crp":2}`)
	o.transactionAbout(other, about)
	o.transactionAbout(other, patient(1))
	o.raw("inbox.cmd.patient", nil, `{"commits":[{"id":"Ada *", cut`)
	o.raw("inbox.cmd.patient", nil, `{"commits":[{"id":"Bob", cut`)
	o.raw("inbox.cmd.patient.x.y.z", nil, `{}`)
	o.run()
	o.empty()
	until(t, "all are kept", func() bool { return len(o.entries()) == 7 })
	for _, dry := range []bool{true, false} {
		refused, letters, p := o.engine.Forget(t.Context(), about, dry)
		if p != nil || refused != 3 || letters != 0 {
			t.Errorf("dry %v: got %d, %d, %v, want 3 refused", dry, refused, letters, p)
		}
	}
	if left := o.entries(); len(left) != 4 {
		t.Errorf("got %d left, want 4: %+v", len(left), left)
	}
	if refused, _, p := o.engine.Forget(t.Context(), about, false); p != nil || refused != 0 {
		t.Errorf("repeated: got %d, %v", refused, p)
	}
}

// A refusal of which too much is gone to tell goes too.
func TestForgetTruncatedTransactions(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "no")
	}, nil)
	o.raw("inbox.cmd.patient", nil, `{"commits":[{"events":[{"event":"crp","fields":{"x":"`+noise(1_000_000)+`"}}],"type":"patient","id":"Bob"}]}`)
	o.run()
	o.empty()
	until(t, "it is kept", func() bool { return len(o.entries()) == 1 })
	one, p := o.engine.Show(t.Context(), admin(), o.entries()[0].Number)
	if p != nil || len(one.Body) == one.Size {
		t.Skipf("it was kept whole: %v", p)
	}
	if refused, _, p := o.engine.Forget(t.Context(), event.AggregateID{Type: "patient", ID: "Ada"}, false); p != nil || refused != 1 {
		t.Errorf("got %d, %v, want it gone: nobody can tell that it is not about Ada", refused, p)
	}
}

// noise does not compress.
func noise(n int) string {
	out := make([]byte, n)
	x := uint64(1)
	for i := range out {
		x = x*6364136223846793005 + 1442695040888963407
		out[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x>>58]
	}
	return string(out)
}

// Waiting commands about the aggregate are dropped: those that pause, those behind them, those under way and those that the server still keeps; others wait on.
func TestForgetWaitingCommands(t *testing.T) {
	var mended atomic.Bool
	o := newOffice(t, func(ctx context.Context, subject string, _ nats.Header, _ []byte) *problem.Problem {
		if mended.Load() {
			return nil
		}
		return problem.New(problem.Unavailable, "later")
	}, func(c *inbox.Config) { c.Concurrency, c.LastPause = 4, 30*time.Second })
	about, other := event.AggregateID{Type: "patient", ID: "Ada"}, event.AggregateID{Type: "patient", ID: "Bob"}
	for i := range 40 {
		o.put(about, fmt.Sprintf(`{"crp":%d}`, i))
		o.put(other, fmt.Sprintf(`{"crp":%d}`, i))
	}
	o.transactionAbout(other, about)
	o.transactionAbout(other, patient(3))
	o.run()
	until(t, "both were tried", func() bool { return len(o.attempts()) > 3 })
	if refused, letters, p := o.engine.Forget(t.Context(), about, true); p != nil || letters != 41 || refused != 0 || o.waiting() != 82 {
		t.Errorf("dry: got %d, %d, %v, %d waiting", refused, letters, p, o.waiting())
	}
	if _, letters, p := o.engine.Forget(t.Context(), about, false); p != nil || letters != 41 {
		t.Fatalf("got %d, %v, want 41 dropped", letters, p)
	}
	if n := o.waiting(); n != 41 {
		t.Errorf("got %d waiting, want the 41 of others", n)
	}
	mended.Store(true)
	o.put(about, `{"crp":"new"}`)
	until(t, "what came later is sent", func() bool {
		for _, s := range o.attempts() {
			if strings.Contains(s.subject, ".Ada.") && strings.Contains(s.body, "new") {
				return true
			}
		}
		return false
	})
	if n := len(o.entries()); n != 0 {
		t.Errorf("got %d refusals, want none", n)
	}
}

// Where nobody empties the inbox it says so, and is tried again.
func TestForgetWithoutDelivery(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem { return nil }, nil)
	about := event.AggregateID{Type: "patient", ID: "Ada"}
	o.put(about, `{"crp":1}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, p := o.engine.Forget(ctx, about, false); p == nil || p.Code != problem.Unavailable {
		t.Errorf("got %v, want unavailable", p)
	}
	o.run()
	if _, _, p := o.engine.Forget(t.Context(), about, false); p != nil || o.waiting() != 0 {
		t.Errorf("got %v, %d waiting", p, o.waiting())
	}
}
