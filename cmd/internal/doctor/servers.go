package doctor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

const (
	// maxSkew is how far clocks may be apart. Block times never go back, but tokens end by the clock.
	maxSkew = time.Second
	// fullShare is the part of a JetStream store, in per cent, above which it is a finding.
	fullShare = 95
)

const clockRemedy = "synchronise the clocks (NTP). Until then tokens live too long or too short, and new blocks have the time of the newest one, plus a nanosecond each"

// servers asks every nats-server and judges its answers; it gives the number of those with JetStream.
func (x *examination) servers(ctx context.Context, nc *nats.Conn) (members int) {
	all, err := jetlog.Servers(ctx, nc, x.Now)
	if errors.Is(err, nats.ErrNoResponders) {
		x.found(checkServers, "start an engine of this version: it brings the accounts up to date", "the accounts of this site are those of an older eventful: the servers cannot be asked in account LOG")
		x.notChecked("the servers cannot be asked")(checkSync, checkEncryption, checkClock)
		return 0
	}
	if err != nil {
		x.found(checkServers, "start the servers that are missing; a cluster works on as long as more than half of it does", "ask the servers: %v", err)
		x.notChecked("not all servers answered")(checkSync, checkEncryption, checkClock)
		return 0
	}
	var versions []string
	full := false // or something else was found
	for _, s := range all {
		if !slices.Contains(versions, s.Version) {
			versions = append(versions, s.Version)
		}
		if s.JetStream {
			members++
		}
		if s.JetStream && !s.Strict {
			full = true
			x.found(checkServers, "take `strict: false` out of the jetstream block of that nats-server, and start it anew",
				"server %s takes any JSON for a request to JetStream: who may ask it in the account LOG can aim an answer so that it purges a log", s.Name)
		}
		if s.MaxStore > 0 && float64(s.Used) > float64(s.MaxStore)*fullShare/100 {
			full = true
			x.found(checkServers, "raise max_file_store in the server's jetstream block, and give it the disk for that",
				"server %s has used %s of the %s that its JetStream store may hold", s.Name, space.Format(s.Used), space.Format(uint64(s.MaxStore)))
		}
	}
	switch {
	case members == 0:
		x.found(checkServers, "give the nats-servers a jetstream block", "no server has JetStream")
	case len(versions) > 1:
		x.found(checkServers, "bring all nats-servers to one version", "the servers have versions %s", list(versions))
	case !full:
		x.ok(checkServers, "with JetStream: %d, nats-server %s", members, versions[0])
	}
	x.sync(all)
	if x.Running != nil {
		x.ok(checkEncryption, "the server encrypts its store with the site's key (AES)")
	} else {
		x.notChecked("nats-server does not tell: `cipher` and `key` must stand in the jetstream block of each")(checkEncryption)
	}
	x.clock(all)
	return members
}

// sync: acknowledged means on disk on servers only that flush every write.
func (x *examination) sync(all []jetlog.Server) {
	remedy := "set `sync_interval: always` in the jetstream block of that nats-server, and start it anew"
	if x.Running != nil && x.Running.UnsafeNoSync {
		remedy = "start it without --unsafe-no-sync: `eventful stop`, `eventful start`"
	}
	lazy := false
	for _, s := range all {
		if s.JetStream && !s.SyncAlways {
			lazy = true
			x.found(checkSync, remedy, "server %s flushes every %s, not with each write: a power cut loses acknowledged events", s.Name, s.SyncInterval)
		}
	}
	if !lazy {
		x.ok(checkSync, "every JetStream server flushes each write before it acknowledges")
	}
}

// clock compares each server's clock with this machine's. The answer was made between question and arrival, so half of the round trip is the error.
func (x *examination) clock(all []jetlog.Server) {
	apart := false
	var worst time.Duration
	for _, s := range all {
		offset, errorBound := offsetOf(s)
		worst = max(worst, offset.Abs())
		if offset.Abs()-errorBound > maxSkew {
			apart = true
			x.found(checkClock, clockRemedy, "the clock of server %s is %s this machine's", s.Name, aheadOrBehind(offset))
		}
	}
	if !apart {
		x.ok(checkClock, "all servers (%d) within %s of this machine", len(all), worst.Round(time.Millisecond))
	}
}

func offsetOf(s jetlog.Server) (offset, errorBound time.Duration) {
	trip := s.Answered.Sub(s.Asked)
	return s.Now.Sub(s.Asked.Add(trip / 2)), trip / 2
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return d.Abs().Round(time.Millisecond).String() + " behind"
	}
	return d.Round(time.Millisecond).String() + " ahead of"
}
