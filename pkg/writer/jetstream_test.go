package writer_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// The server goes away and comes back while 32 senders write: every acknowledged command is in the log exactly once, one that was refused as unavailable
// is sent again with its id.
func TestTheServerGoesAwayUnderLoad(t *testing.T) {
	t.Parallel()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	s := newSite(t, server.Store())
	jwt := s.token(100_000)
	const senders, each = 32, 60
	var group sync.WaitGroup
	progress := make(chan struct{}, senders*each)
	for i := range senders {
		group.Go(func() {
			for n := range each {
				if !s.untilStored(jwt, fmt.Sprintf("c-%d-%d", i, n), fmt.Sprint("p", i%5), fmt.Sprint(n)) {
					return
				}
				progress <- struct{}{}
			}
		})
	}
	for range 3 {
		for range senders * each / 5 {
			<-progress
		}
		server.Stop()
		server.Start()
	}
	group.Wait()
	stored := s.stored("patient")
	for i := range senders {
		for n := range each {
			if id := fmt.Sprintf("c-%d-%d", i, n); stored[id] != 1 {
				t.Errorf("command %s is stored %d times, want once", id, stored[id])
			}
		}
	}
}

// untilStored sends a command until it is acknowledged, every few milliseconds while the log is away.
func (s *site) untilStored(jwt, commandID, id, value string) bool {
	again, late := time.NewTicker(5*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		switch o := <-s.send(crp(jwt, commandID, id, value)); {
		case o.problem == nil:
			return true
		case o.problem.Code != problem.Unavailable:
			s.t.Errorf("command %s: got %v, want stored or unavailable", commandID, o.problem)
			return false
		}
		select {
		case <-again.C:
		case <-late:
			s.t.Errorf("command %s was never taken", commandID)
			return false
		}
	}
}

// BenchmarkCommands measures the writer alone on a real server with sync always, beside raw JetStream publishes of a block's size: the figure is a command's
// share of the time, at so many senders.
func BenchmarkCommands(b *testing.B) {
	for _, senders := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("senders=", senders), func(b *testing.B) {
			server := jetlogtest.StartServer(b, jetlogtest.Options{})
			benchmarkCommands(b, server.Store(), senders)
		})
	}
}

func benchmarkCommands(b *testing.B, store *jetlog.Store, senders int) {
	s := newSite(b, eventlog.Store(store))
	jwt := s.token(1 << 40)
	var group sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range senders {
		group.Go(func() {
			for n := i; n < b.N; n += senders {
				if o := <-s.send(crp(jwt, "", fmt.Sprint("p", n%10_000), "21.5")); o.problem != nil {
					b.Error(o.problem)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
}
