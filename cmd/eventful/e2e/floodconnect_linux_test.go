package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/token"
)

// wrongConnects opens connections one after the other on many goroutines, each with another wrong credential, until ctx ends, and counts how many were refused.
func wrongConnects(ctx context.Context, t *testing.T, address string, texts []string) (refused *atomic.Int64, wait func()) {
	clients := 16
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		clients = 64
	}
	refused = &atomic.Int64{}
	var running sync.WaitGroup
	for part := range clients {
		running.Go(func() {
			for n := part; ctx.Err() == nil; n += clients {
				answer, err := wrongConnect(address, texts[n%len(texts)])
				if err != nil {
					continue // the port range is used up for a moment
				}
				if !strings.Contains(answer, "-ERR") {
					t.Errorf("a wrong CONNECT got %.100q", answer)
					return
				}
				refused.Add(1)
			}
		})
	}
	return refused, running.Wait
}

// wrongConnect gives what the server says last before it hangs up.
func wrongConnect(address, text string) (string, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	_ = c.(*net.TCPConn).SetLinger(0) // leaves no port behind
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil { // INFO
		return "", err
	}
	body, err := json.Marshal(map[string]any{"jwt": text, "verbose": false, "pedantic": false, "lang": "go", "version": "1"})
	if err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s\r\nPING\r\n", body); err != nil {
		return "", err
	}
	return r.ReadString('\n')
}

// latencies writes with a good token, one command after the other, until ctx ends, and gives how long each took.
func (s *site) latencies(ctx context.Context) (all []time.Duration) {
	c := s.client()
	for n := 0; ctx.Err() == nil; n++ {
		within, cancel := context.WithTimeout(context.Background(), patience)
		began := time.Now()
		_, err := c.Command(within, client.Command{Aggregate: target(0), Event: "note", Fields: client.Fields{"text": "x"}})
		cancel()
		if err != nil {
			s.t.Errorf("a good token: %v", err)
			return all
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all
}

// TestWrongConnects: connections with wrong credentials, as fast as they come, are refused by nats-server each and are not limited (docs/guarantees.md, not promised). Who is
// connected is served all the while, new good connections get in, and the log does not grow by a line for each.
func TestWrongConnects(t *testing.T) {
	t.Parallel()
	lasts := 1500 * time.Millisecond
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		lasts = 20 * time.Second
	}
	s := newSite(t)
	good := s.mint(token.Claims{Limit: 1})
	head := good[:strings.LastIndex(good, ".")+1]
	var texts []string
	for n := range 1000 {
		texts = append(texts, head+fmt.Sprintf("%085dA", n), fmt.Sprintf("wrong-%d", n))
	}
	quiet, end := context.WithTimeout(context.Background(), lasts)
	before := s.latencies(quiet)
	end()
	path := filepath.Join(s.dir, "eventful.log")
	grown := size(t, path)
	cost := processorTime(t, s.info().PID)
	flood, end := context.WithTimeout(context.Background(), lasts)
	defer end()
	refused, wait := wrongConnects(flood, t, strings.TrimPrefix(s.info().NATS, "nats://"), texts)
	during := s.latencies(flood)
	wait()
	cost = processorTime(t, s.info().PID) - cost
	grown = size(t, path) - grown
	nc, err := connect(t, s.info().NATS, s.token)
	if err != nil {
		t.Fatalf("a good token behind the flood: %v", err)
	}
	nc.Close()
	if refused.Load() < 100 || len(during) < 10 {
		t.Fatalf("got %d wrong connections refused and %d commands served", refused.Load(), len(during))
	}
	t.Logf("%.0f wrong connections a second; a command took %s at the median, %s at p99, %s at most (%d of them), before %s, %s, %s (%d); the server took %s of processor time for %d; the log grew by %d bytes",
		float64(refused.Load())/lasts.Seconds(), at(during, 50), at(during, 99), at(during, 100), len(during), at(before, 50), at(before, 99), at(before, 100), len(before), cost, refused.Load(), grown)
	if most := int64(lasts.Seconds()+2) * 21 * 400; grown > most {
		t.Errorf("the log grew by %d bytes, want at most %d", grown, most)
	}
}

func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
