package node

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// burstSeconds is how many seconds' worth of failures a source may make at once; and as many more, made before the first was seen, are held against it.
	burstSeconds = 10
	// maxSources bounds what is remembered: some 2 MiB. A source is forgotten when its bucket is full again, so to fill it takes more than 10,000 failures a second, each
	// from another source; then further ones are not counted.
	maxSources = 1 << 14
)

// sources says who made too many connections that came to nothing. Each source has a bucket: a failure takes one out, `rate` a second come back. From an empty bucket on
// the source is refused, until it is half full, so that refusing neither begins nor ends more often than every burstSeconds/2. Time is told. Safe for concurrent use.
type sources struct {
	rate float64 // failures a second

	mu  sync.Mutex // guards what follows
	all map[netip.Prefix]*source
}

// source is what is left for one at a time; below zero: what it has to wait for.
type source struct {
	left     float64
	at       time.Time
	refusing bool
	refused  int // since refusing began
}

// pardon is a source that is not refused any more.
type pardon struct {
	source  netip.Prefix
	refused int
}

func newSources(rate int) *sources {
	return &sources{rate: float64(rate), all: make(map[netip.Prefix]*source)}
}

// sourceOf is what an address counts as: itself, and in IPv6 the network of 64 bits, of which whoever has one address mostly has all. The usual addresses of loopback
// count as nothing: all users and tunnels of the machine share them, and a process there can take processor time without us.
func sourceOf(address netip.Addr) (source netip.Prefix, counts bool) {
	address = address.Unmap()
	if !address.IsValid() || address == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || address == netip.IPv6Loopback() {
		return netip.Prefix{}, false
	}
	bits := 64
	if address.Is4() {
		bits = 32
	}
	source, err := address.Prefix(bits)
	return source, err == nil
}

func (s *sources) burst() float64 { return burstSeconds * s.rate }

// fail counts a failure, and says whether the source is refused from now on.
func (s *sources) fail(from netip.Prefix, now time.Time) (begins bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[from]
	if one == nil {
		if len(s.all) >= maxSources {
			return false
		}
		one = &source{left: s.burst(), at: now}
		s.all[from] = one
	}
	s.fill(one, now)
	one.left = max(one.left-1, -s.burst())
	if one.refusing || one.left >= 1 {
		return false
	}
	one.refusing, one.refused = true, 0
	return true
}

// admit says whether a source may connect, and counts it if not.
func (s *sources) admit(from netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[from]
	if one == nil || !one.refusing {
		return true
	}
	one.refused++
	return false
}

// settle ends what is over: it gives those that are not refused any more, and forgets those whose bucket is full.
func (s *sources) settle(now time.Time) (over []pardon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, one := range s.all {
		s.fill(one, now)
		if one.refusing && one.left >= s.burst()/2 {
			one.refusing = false
			over = append(over, pardon{from, one.refused})
		}
		if one.left >= s.burst() {
			delete(s.all, from)
		}
	}
	return over
}

// fill adds what came since; a clock that went back adds nothing.
func (s *sources) fill(one *source, now time.Time) {
	if since := now.Sub(one.at); since > 0 {
		one.left = min(s.burst(), one.left+since.Seconds()*s.rate)
	}
	one.at = now
}
