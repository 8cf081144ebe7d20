package jetlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// partitionPatience is how long anything may take while servers are parted from each other.
const partitionPatience = 2 * time.Minute

// TestPartitions parts one server after the other from the rest, the leader first, while a rival at each server appends and a reader at each follows: what was acknowledged lies at its
// place, once, and every reader gets all of it in order and is never told that the log lost its end.
func TestPartitions(t *testing.T) {
	rounds := 2
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		rounds = 12
	}
	c := natstest.Start(t, 3, clusterConfig)
	p := &parted{acknowledged: make(map[uint64][]byte)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*partitionPatience)
	defer cancel()
	stop := make(chan struct{})
	var rivals, readers sync.WaitGroup
	seen := make([][][]byte, c.Size())
	ends := make([]chan uint64, c.Size())
	for i := range c.Size() {
		l := logAt(t, c, i)
		ends[i] = make(chan uint64, 1)
		rivals.Go(func() { p.contend(ctx, t, l, i, stop) })
		readers.Go(func() { seen[i] = readTo(ctx, t, l, i, ends[i]) })
	}
	for round := range rounds {
		victim := (round + max(0, c.Leader("EVT_site_patient"))) % c.Size()
		p.await(ctx, t, 20)
		c.Isolate(victim)
		p.await(ctx, t, 20) // the others go on
		c.Rejoin(victim)
		c.AwaitHealthy()
	}
	close(stop)
	rivals.Wait()
	_, last, err := logAt(t, c, 0).Bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range ends {
		end <- last
	}
	readers.Wait()
	for sequence, data := range p.acknowledged {
		for i := range seen {
			if uint64(len(seen[i])) < sequence || !bytes.Equal(seen[i][sequence-1], data) {
				t.Errorf("reader %d, sequence %d: got another message than the acknowledged %q", i, sequence, data)
			}
		}
	}
	t.Logf("%d messages acknowledged in %d partitions", len(p.acknowledged), rounds)
}

// logAt opens the replicated log over one server alone.
func logAt(t *testing.T, c *natstest.Cluster, i int) eventlog.Log {
	t.Helper()
	nc, err := jetlog.Connect(c.URL(i, "log", "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	store, err := jetlog.New(nc, "site", jetlog.Options{Replicas: c.Size(), AckTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), partitionPatience)
	defer cancel()
	l, err := store.Create(ctx, "patient")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// parted is what the rivals were told.
type parted struct {
	mu           sync.Mutex // guards acknowledged
	acknowledged map[uint64][]byte
}

func (p *parted) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acknowledged)
}

// highest is the sequence of the newest message that was acknowledged.
func (p *parted) highest() (last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for sequence := range p.acknowledged {
		last = max(last, sequence)
	}
	return last
}

// await waits for more acknowledgements.
func (p *parted) await(ctx context.Context, t *testing.T, more int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for wanted := p.count() + more; p.count() < wanted; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("got %d acknowledgements, want %d", p.count(), wanted)
		}
	}
}

// contend appends at the end of the log again and again. An unknown outcome is left unknown.
func (p *parted) contend(ctx context.Context, t *testing.T, l eventlog.Log, rival int, stop <-chan struct{}) {
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-stop:
			return
		default:
		}
		known := p.highest()
		_, last, err := l.Bounds(ctx)
		if err != nil {
			continue // its server is parted from the others
		}
		if last < known {
			t.Errorf("rival %d: the log ends at %d, want not before %d, which was acknowledged", rival, last, known)
			return
		}
		data := fmt.Appendf(nil, "rival %d, message %d", rival, n)
		err = l.Append(last, data).Err()
		if err != nil && !errors.Is(err, eventlog.ErrTaken) && !errors.Is(err, eventlog.ErrUnknown) {
			t.Errorf("rival %d: got %v, want an outcome that partitions have", rival, err)
			return
		}
		if err == nil {
			p.mu.Lock()
			if was := p.acknowledged[last+1]; was != nil {
				t.Errorf("sequence %d was given to %q and to %q", last+1, was, data)
			}
			p.acknowledged[last+1] = data
			p.mu.Unlock()
		}
	}
}

// readTo reads from the start to the sequence that comes from end.
func readTo(ctx context.Context, t *testing.T, l eventlog.Log, reader int, end <-chan uint64) (seen [][]byte) {
	cursor, err := l.Follow(ctx, 0)
	if err != nil {
		t.Errorf("reader %d: %v", reader, err)
		return nil
	}
	defer cursor.Stop()
	last := uint64(1 << 62)
	for uint64(len(seen)) < last {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		m, err := cursor.Next(short)
		cancel()
		switch {
		case err == nil && m.Sequence != uint64(len(seen))+1:
			t.Errorf("reader %d: got sequence %d behind %d", reader, m.Sequence, len(seen))
			return seen
		case err == nil:
			seen = append(seen, m.Data)
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("reader %d behind %d messages: got %v, want to go on", reader, len(seen), err)
			return seen
		}
		select {
		case last = <-end:
		default:
		}
	}
	return seen
}
