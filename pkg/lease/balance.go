package lease

import (
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// balance hands one log over if this member has at least two more than another live one. One at a time, not while members come and go.
func (c *core) balance() {
	if c.stopping || c.now.mono.Sub(c.steady) < c.cfg.Settle || c.now.mono.Before(c.quiet) {
		return
	}
	if c.moving() {
		return
	}
	counts := c.willing()
	mine := counts[c.self()]
	least := fewest(counts, func(id string) bool { return id != c.self() })
	if least == "" || mine-counts[least] < 2 {
		return
	}
	for _, log := range c.toGive() {
		if next := c.successorOf(counts, log, c.holds[log].from); next != "" && mine-counts[next] >= 2 {
			c.holds[log].leave, c.holds[log].successor = true, next
			c.cfg.Log.Info().Str("log", log).Str("successor", next).Int("have", mine).Int("has", counts[next]).Msg("log is handed over for balance")
			return
		}
	}
}

// moving tells whether a log is on its way from or to this member.
func (c *core) moving() bool {
	for _, h := range c.holds {
		if h.leave || h.phase == leading {
			return true
		}
	}
	for _, p := range c.places {
		if p.State == Leaving && p.Successor == c.self() {
			return true
		}
	}
	return false
}

// rest has balance wait: for long when a person moved a log, so that nothing moves back at once.
func (c *core) rest(asked bool) {
	pause := c.cfg.Pace
	if asked {
		pause = c.cfg.Settle
	}
	c.quiet = later(c.quiet, c.now.mono.Add(pause))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// toGive are the logs that this member serves, the longest led first, so that one that was just handed here stays; the system log last.
func (c *core) toGive() []string {
	var logs []string
	for log, h := range c.holds {
		if h.phase == serving && h.lease.good.Load() {
			logs = append(logs, log)
		}
	}
	slices.SortFunc(logs, func(a, b string) int {
		if (a == event.Reserved) != (b == event.Reserved) {
			if a == event.Reserved {
				return 1
			}
			return -1
		}
		if by := c.holds[a].since.Compare(c.holds[b].since); by != 0 {
			return by
		}
		return strings.Compare(a, b)
	})
	return logs
}

func (c *core) resign(log string, done func(error)) {
	h := c.holds[log]
	switch {
	case h == nil || h.phase == leading:
		done(ErrNotLeading)
	case h.leave:
		h.resigned = append(h.resigned, done)
	default:
		if h.successor = c.successorOf(c.counts(), log, ""); h.successor == "" {
			done(ErrNoSuccessor)
			return
		}
		h.leave, h.asked, h.resigned = true, true, append(h.resigned, done)
	}
}

// startLeaving records that a log is to be handed over. Without a successor it stays, unless this member ends.
func (c *core) startLeaving(log string, h *hold, p *place) {
	if !c.chooseSuccessor(log, h) && !c.stopping {
		h.leave = false
		c.endResign(h, ErrNoSuccessor)
		return
	}
	c.put(log, c.recordOf(h, Leaving), p.revision)
}

// chooseSuccessor keeps the one that was chosen while it lives.
func (c *core) chooseSuccessor(log string, h *hold) bool {
	if h.successor == "" || !c.isLive(h.successor) || !c.followed(h.successor, log) {
		h.successor = ""
		h.successor = c.successorOf(c.counts(), log, "")
	}
	return h.successor != ""
}

// give writes the record over to the successor. Without one the log comes back, or is nobody's if this member ends.
func (c *core) give(log string, h *hold, p *place) {
	switch {
	case c.chooseSuccessor(log, h):
		r := p.logRecord
		r.Owner, r.Incarnation, r.State, r.Successor, r.Resigned = h.successor, c.peers[h.successor].Incarnation, Taking, "", ""
		if h.asked {
			r.Resigned = c.incarnation
		}
		c.put(log, r, p.revision)
	case c.stopping:
		c.put(log, logRecord{V: recordVersion, Generation: p.Generation}, p.revision)
	default:
		c.claimBack(log, h, p)
	}
}

// mayClaimBack: the successor had its time, or gave the log up. It is not Held by anybody in state taking. A free log that is to be left to others is left to them: what waits here is
// published again when one of them serves it.
func (c *core) mayClaimBack(log string, h *hold, p *place) bool {
	if c.stopping {
		return false
	}
	return p.State == Free && !c.yields(log) || p.State == Taking && p.Generation == h.generation && c.now.mono.Sub(h.handedAt) >= c.cfg.Back
}

func (c *core) claimBack(log string, h *hold, p *place) {
	c.put(log, logRecord{
		V: recordVersion, Owner: c.self(), Incarnation: c.incarnation, Generation: p.Generation + 1, Group: h.lease.group, State: Taking, Epoch: p.Epoch,
	}, p.revision)
}

// stop begins the end: logs go to others, the rest is left free.
func (c *core) stop() {
	c.stopping, c.stopAt, c.dirty = true, c.now.mono.Add(c.cfg.Back), true
	c.renewNow = c.renewNow || len(c.holds) > 0
	for _, log := range sortedKeys(c.holds) {
		if h := c.holds[log]; h.phase == leading {
			c.end(log, h, false)
		} else {
			h.leave = true
		}
	}
}

// finished tells whether the end is over. The member's record goes last.
func (c *core) finished() bool {
	if !c.stopping || !c.leaving && !c.leftAll() {
		return false
	}
	c.leaving = true
	key, p := memberKey(c.cfg.Site, c.self()), c.peers[c.self()]
	if !c.joined || p == nil || c.now.mono.Sub(c.stopAt) >= time.Second {
		return true
	}
	if c.idle(key) {
		c.write(key, nil, p.revision)
	}
	return false
}

// leftAll tells whether nothing in the table is this member's any more. When the time is over, what is left is given up.
func (c *core) leftAll() bool {
	if !c.now.mono.Before(c.stopAt) || !c.joined {
		for _, log := range sortedKeys(c.holds) {
			c.end(log, c.holds[log], c.holds[log].phase == handed)
		}
		return true
	}
	for _, p := range c.places {
		if p.kind == readable && p.Owner == c.self() && p.Incarnation == c.incarnation {
			return false
		}
	}
	return len(c.holds) == 0
}
