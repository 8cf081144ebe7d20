package lease_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// An administrator purges the bucket: nothing tells those who watch. They stop answering, find out, read the table again and serve.
func TestATableThatIsEmptiedWithoutAWord(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		said := map[string]*bytes.Buffer{"a": {}, "b": {}}
		for name, to := range said {
			w.start(name, logs(4), func(c *lease.Config, _ *process) { c.Grace, c.Log = 0, zerolog.New(to) })
		}
		w.wantShares("start", time.Minute, []int{2, 2}, "a", "b")
		for round := 1; round <= 2; round++ {
			w.table.Purge()
			w.wantShares("what cannot be renewed is not held", ttl+time.Second, []int{0}, "a")
			w.wantShares("what cannot be renewed is not held", ttl+time.Second, []int{0}, "b")
			took := w.until("all is served again", 3*ttl, func() bool {
				return len(w.processes["a"].held())+len(w.processes["b"].held()) == 4
			})
			t.Logf("served again %v after nobody held anything", took)
			w.wantShares("shared again", time.Minute, []int{2, 2}, "a", "b")
			w.pass(5 * ttl)
			for name, p := range w.processes {
				p.keeper.Members() // orders what the keeper logged before what is read here
				if got := bytes.Count(said[name].Bytes(), []byte("could not be renewed")); got != round {
					t.Errorf("%s warned %d times, want %d:\n%s", name, got, round, said[name])
				}
			}
		}
	})
}

// While no request comes through it starts over too, and warns once, however long that takes.
func TestRenewalsThatFailForLong(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var said bytes.Buffer
		a := w.start("a", logs(2), func(c *lease.Config, _ *process) { c.Log = zerolog.New(&said) })
		w.wantShares("start", time.Second, []int{2}, "a")
		a.link.delay(time.Hour, 0)
		w.pass(10 * ttl)
		a.keeper.Members()
		if got := bytes.Count(said.Bytes(), []byte("could not be renewed")); got != 1 {
			t.Errorf("warned %d times, want once:\n%s", got, said.String())
		}
		a.link.delay(0, 0)
		w.wantShares("it passes", 2*ttl, []int{2}, "a")
	})
}
