package node_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/node"
)

const rate = 20 // failures a second

var began = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func from(n uint32) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))), 32)
}

// fails makes so many failures at once, and gives how many of them began a refusal.
func fails(s node.Sources, who netip.Prefix, number int, now time.Time) (begun int) {
	for range number {
		if s.Fail(who, now) {
			begun++
		}
	}
	return begun
}

func TestSourceOf(t *testing.T) {
	for _, c := range []struct{ address, want string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"127.0.0.2", "127.0.0.2/32"},
		{"127.0.0.1", ""},
		{"::ffff:127.0.0.1", ""},
		{"::1", ""},
	} {
		got, counts := node.SourceOf(netip.MustParseAddr(c.address))
		if counts != (c.want != "") || counts && got.String() != c.want {
			t.Errorf("%s: got %s, %v, want %q", c.address, got, counts, c.want)
		}
	}
}

// TestRefusingBeginsAndEnds: two hundred failures at once are let pass, the next connection is refused until half of them came back; both is told once.
func TestRefusingBeginsAndEnds(t *testing.T) {
	s := node.NewSources(rate)
	if begun := fails(s, from(1), 10*rate-1, began); begun != 0 || !s.Admit(from(1)) {
		t.Errorf("got refused %d times behind %d failures, want not", begun, 10*rate-1)
	}
	if begun := fails(s, from(1), 5, began); begun != 1 { // the last four were under way
		t.Errorf("got %d beginnings, want 1", begun)
	}
	if !s.Admit(from(2)) {
		t.Error("got another source refused")
	}
	end := began.Add((10*rate/2 + 4) * time.Second / rate)
	for now := began; now.Before(end); now = now.Add(100 * time.Millisecond) {
		if over := s.Settle(now); len(over) != 0 || s.Admit(from(1)) {
			t.Fatalf("got %v and admitted after %s, want refused for %s", over, now.Sub(began), end.Sub(began))
		}
	}
	refused := int((end.Sub(began) + 99*time.Millisecond) / (100 * time.Millisecond))
	if over := s.Settle(end); !slices.Equal(over, []node.Pardon{{Source: from(1), Refused: refused}}) || !s.Admit(from(1)) {
		t.Errorf("got %v after %s, want the end, and %d refused", over, end.Sub(began), refused)
	}
	if over := s.Settle(end.Add(time.Second)); len(over) != 0 {
		t.Errorf("got the end told again: %v", over)
	}
}

// TestAFloodIsLimited: whatever is thrown at it, a source gets no more failures than its bucket holds and what comes back, and those that were under way.
func TestAFloodIsLimited(t *testing.T) {
	const parallel, seconds = 64, 600
	s := node.NewSources(rate)
	failed := 0
	for tick := range seconds * 10 {
		now := began.Add(time.Duration(tick) * 100 * time.Millisecond)
		s.Settle(now)
		admitted := 0
		for range 10 * parallel {
			if admitted%parallel == 0 { // each of the clients has begun a connection before the first failure is known
				failed += admitted
				fails(s, from(1), admitted, now)
				admitted = 0
			}
			if s.Admit(from(1)) {
				admitted++
			}
		}
		failed += admitted
		fails(s, from(1), admitted, now)
	}
	if most := 10*rate + seconds*rate + parallel; failed > most || failed < seconds*rate/2 {
		t.Errorf("got %d failures in %d s, want at most %d, and not none", failed, seconds, most)
	}
}

// TestADebtIsBounded: who made any number of failures before the first was seen waits for a bucket and a half, no longer.
func TestADebtIsBounded(t *testing.T) {
	s := node.NewSources(rate)
	fails(s, from(1), 100_000, began)
	if s.Settle(began.Add(15*time.Second - time.Millisecond)); s.Admit(from(1)) {
		t.Error("got admitted before 15 s, want what was made at once held against it")
	}
	if over := s.Settle(began.Add(15 * time.Second)); len(over) != 1 {
		t.Errorf("got %v after 15 s, want the end", over)
	}
}

// TestGoodNeighboursWithAnOldToken: stock clients whose token has ended, all behind one address, each trying again every two seconds for ever, keep nobody out.
func TestGoodNeighboursWithAnOldToken(t *testing.T) {
	const clients = 2*rate - 1
	s := node.NewSources(rate)
	for second := range 3600 {
		now := began.Add(time.Duration(second) * time.Second)
		s.Settle(now)
		if begun := fails(s, from(1), clients/2, now); begun != 0 || !s.Admit(from(1)) {
			t.Fatalf("got refused in second %d", second)
		}
	}
}

func TestClockThatGoesBack(t *testing.T) {
	s := node.NewSources(rate)
	fails(s, from(1), 10*rate, began)
	s.Settle(began.Add(-time.Hour))
	if s.Admit(from(1)) {
		t.Error("got admitted by a clock that went back")
	}
	if over := s.Settle(began.Add(-time.Hour + 5*time.Second)); len(over) != 1 {
		t.Errorf("got %v, want the end 5 s of the clock later", over)
	}
}

// TestSourcesAreForgotten: only so many are remembered; those that were refused stay so when more come, and those whose bucket is full make room.
func TestSourcesAreForgotten(t *testing.T) {
	s := node.NewSources(rate)
	fails(s, from(0), 10*rate, began)
	for n := range uint32(2 * node.MaxSources) {
		s.Fail(from(1+n), began)
	}
	if s.Known() != node.MaxSources || s.Admit(from(0)) {
		t.Errorf("got %d sources, and the refused one admitted: %v", s.Known(), s.Admit(from(0)))
	}
	if fails(s, from(1<<31), 100*rate, began); !s.Admit(from(1 << 31)) {
		t.Error("got a source refused that is not remembered")
	}
	s.Settle(began.Add(time.Second))
	if s.Known() != 1 || s.Admit(from(0)) {
		t.Errorf("got %d sources a second later, want the refused one alone", s.Known())
	}
	if s.Settle(began.Add(time.Minute)); s.Known() != 0 {
		t.Errorf("got %d sources a minute later, want none", s.Known())
	}
}
