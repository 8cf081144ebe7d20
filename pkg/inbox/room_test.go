package inbox_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// Purges at the same time, as a client that repeats its request makes them, drop each refusal once, and leave one act of each on record.
func TestPurgesAtOnce(t *testing.T) {
	const refused, callers = 30, 4
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "never")
	}, func(c *inbox.Config) {
		record := c.Record
		c.Record = func(ctx context.Context, by *token.Claims, id, kind string, fields map[string]string) *problem.Problem {
			<-time.After(time.Millisecond) // a flush
			return record(ctx, by, id, kind, fields)
		}
	})
	for n := range refused {
		o.put(patient(n), "{}")
	}
	o.run()
	o.empty()
	var purged atomic.Int64
	var wait sync.WaitGroup
	for n := range callers {
		wait.Go(func() {
			if n == 0 {
				if one, p := o.engine.Purge(t.Context(), caller("ada"), 3, ""); p == nil {
					purged.Add(int64(one.Purged))
				}
			}
			done, p := o.engine.Purge(t.Context(), caller("ada"), 0, "")
			if p != nil {
				t.Error(p)
				return
			}
			purged.Add(int64(done.Purged))
		})
	}
	wait.Wait()
	if purged.Load() != refused || len(o.acts) != refused || len(o.entries()) != 0 {
		t.Errorf("got %d purged, %d acts on record and %d left, want %d, %d and none", purged.Load(), len(o.acts), len(o.entries()), refused, refused)
	}
	if _, p := o.engine.Purge(t.Context(), caller("ada"), 3, ""); p == nil || p.Code != problem.NotFound || len(o.acts) != refused {
		t.Errorf("purge of what is gone: got %v and %d acts, want not_found and nothing more on record", p, len(o.acts))
	}
}

// A purge of many answers in time, and goes on when it is asked again.
func TestPurgeAnswersInTime(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "never")
	}, func(c *inbox.Config) { c.PurgeTime = 1 })
	for n := range 3 {
		o.put(patient(n), "{}")
	}
	o.run()
	o.empty()
	for n, want := range []inbox.Purged{{Purged: 1, More: true}, {Purged: 1, More: true}, {Purged: 1, More: true}, {}} {
		if got, p := o.engine.Purge(t.Context(), admin(), 0, ""); p != nil || *got != want {
			t.Errorf("purge %d: got %+v, %v, want %+v", n+1, got, p, want)
		}
	}
}

// While there is no room for refusals what was refused waits, and other commands are stored; purged of one sender's, it goes on.
func TestNoRoomForRefusals(t *testing.T) {
	o := newOffice(t, func(_ context.Context, _ string, h nats.Header, body []byte) *problem.Problem {
		if bytes.Contains(body, []byte("bad")) {
			return problem.New(problem.Invalid, "never")
		}
		return nil
	}, nil)
	js, name := o.refusals()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 100_000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		o.raw("inbox.cmd.patient.E.crp", nats.Header{streams.HeaderToken: {"token-of-eve"}}, "bad "+noise(30_000))
	}
	o.raw("inbox.cmd.patient.A.crp", nats.Header{streams.HeaderToken: {"token-of-ada"}}, "bad "+noise(30_000))
	for n := range 50 {
		o.put(patient(n), "{}")
	}
	o.run()
	until(t, "the good ones are stored, and what cannot be kept waits", func() bool { return o.waiting() <= 6 && o.sentOf("{}") == 50 })
	before := o.waiting()
	if kept := len(o.entries()); before == 0 || kept == 6 || kept+int(before) < 6 { // one that was just kept may wait to be acknowledged
		t.Errorf("got %d kept and %d waiting, want all six, and some of them waiting", kept, before)
	}
	purge := func() bool {
		_, p := o.engine.Purge(t.Context(), admin(), 0, "user:eve")
		return p == nil && o.waiting() == 0
	}
	until(t, "all is kept or purged", purge)
	until(t, "the last one is purged", purge) // it may have been kept behind the purge
	if got := o.entries(); len(got) != 1 || got[0].Actor != "user:ada" {
		t.Errorf("got %+v, want ada's", got)
	}
}

// sentOf counts the attempts with a body.
func (o *office) sentOf(body string) (n int) {
	for _, s := range o.attempts() {
		if s.body == body {
			n++
		}
	}
	return n
}
