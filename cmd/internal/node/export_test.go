package node

import (
	"net/netip"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// NewBridge carries the server's log into ours.
func NewBridge(log zerolog.Logger, broken func(string)) server.Logger {
	return newBridge(log, broken, nil)
}

// Sources says who made too many connections that came to nothing.
type Sources struct{ *sources }

// Pardon is a source that is not refused any more.
type Pardon struct {
	Source  netip.Prefix
	Refused int
}

// MaxSources is how many sources are remembered.
const MaxSources = maxSources

// NewSources lets each make so many failures a second.
func NewSources(rate int) Sources { return Sources{newSources(rate)} }

// SourceOf is what an address counts as.
func SourceOf(a netip.Addr) (netip.Prefix, bool) { return sourceOf(a) }

// Fail counts a failure.
func (s Sources) Fail(from netip.Prefix, now time.Time) (begins bool) { return s.fail(from, now) }

// Admit says whether a source may connect.
func (s Sources) Admit(from netip.Prefix) bool { return s.admit(from) }

// Settle ends what is over.
func (s Sources) Settle(now time.Time) (over []Pardon) {
	for _, p := range s.settle(now) {
		over = append(over, Pardon{p.source, p.refused})
	}
	return over
}

// Known is how many sources are remembered.
func (s Sources) Known() int { return len(s.all) }

// Fail notes a fault of a node's store, as the server's log does.
func Fail(n *Node) { n.keeper.report("a fault of a test") }
