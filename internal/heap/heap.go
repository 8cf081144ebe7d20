// Package heap sets how often the garbage collector of a server process runs.
//
// Go's default lets the heap double. A writer whose window of command ids and caches are full would so hold as much garbage as data, and one that has just started
// would collect many times a second, as little lives and much is allocated. Here the heap may grow by Headroom, whatever lives, within bounds.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Headroom is by how much the heap may grow between two collections, in bytes: of a process with one engine, and of one that has everything in it, NATS server and index too. The more it is the less the
// processor is taken by the collector, 8 % of a server that is at its limit with the first.
const (
	Headroom      = 24 << 20
	WholeHeadroom = 64 << 20
)

const (
	least  = 50  // percent of what lives, below which collecting would take too much of the processor
	most   = 400 // percent
	usual  = 100 // percent, Go's default
	period = 250 * time.Millisecond
	lives  = "/gc/heap/live:bytes" // found by the last collection
)

// Pace adjusts the collector, so that the heap grows by headroom bytes, until ctx ends, and then puts Go's default back. It does nothing but wait where GOGC or GOMEMLIMIT is set: a person has decided. One call a process.
func Pace(ctx context.Context, headroom uint64) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return
	}
	defer debug.SetGCPercent(usual)
	tick := time.NewTicker(period)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: lives}}
	set := 0
	for {
		metrics.Read(sample)
		if now := Percent(sample[0].Value.Uint64(), headroom); now > set+set/8 || now < set-set/8 { // setting it stops the program for a moment
			debug.SetGCPercent(now)
			set = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Percent is how much garbage, in percent of live bytes, may be there before it is collected.
func Percent(live, headroom uint64) int {
	if live < headroom*100/most {
		return most
	}
	return max(least, int(headroom*100/live))
}
