package lease

import "time"

// claimDelay is how long a member that is not the next in order waits before it claims a free log too.
const claimDelay = 300 * time.Millisecond

// shunFor is how long a member leaves a log alone that it was fenced out of.
const shunFor = time.Second

// claim takes the logs that are nobody's. All members that see the same table choose alike: the logs go by name, each to the live member with the fewest
// by then, ties by id; a log of a member that has just restarted goes to that one. The chosen one claims at once, others only if it does not.
// Whether it follows the log does not count here: news of a new log reach the members one after the other.
func (c *core) claim() {
	counts, known := c.counts(), c.knownLogs()
	for _, log := range known {
		if c.taking(log) {
			counts[c.self()]++ // under way: else the order would turn round while answers come
		}
	}
	for _, log := range known {
		p := c.places[log]
		switch {
		case c.holds[log] != nil, c.taking(log):
		case p != nil && p.kind == readable && p.Owner == c.self():
			c.own(log, p)
		case !c.claimable(p):
			delete(c.free, log)
		default:
			if _, ok := c.free[log]; !ok {
				c.free[log] = c.now.mono
			}
			next := c.next(counts, p)
			counts[next]++
			if next == c.self() || c.now.mono.Sub(c.free[log]) >= claimDelay {
				c.take(log, p)
			}
		}
	}
}

// taking: a claim is under way.
func (c *core) taking(log string) bool {
	_, free := c.free[log]
	return free && c.busy[logKey(c.cfg.Site, log)]
}

// next is the former owner, if it lives, or the member with the fewest logs; one with room before one without.
func (c *core) next(counts map[string]int, p *place) string {
	for _, fits := range []func(string) bool{c.hasRoom, func(string) bool { return true }} {
		if p != nil && c.isLive(p.Owner) && fits(p.Owner) {
			return p.Owner
		}
		if next := fewest(counts, fits); next != "" {
			return next
		}
	}
	return ""
}

// own deals with a record of this member for which it has no Lease: handed over by another, claimed, of a former process, or given up.
func (c *core) own(log string, p *place) {
	delete(c.free, log)
	current := p.Incarnation == c.incarnation
	switch {
	case current && (c.stopping || c.isShunned(log) || !c.follows[log] || c.yields(log)):
		c.release(log, p)
	case current && p.State == Taking:
		c.lead(log, p)
	default:
		c.take(log, p)
	}
}

// claimable: nobody has the log, and nobody can still answer for it.
func (c *core) claimable(p *place) bool {
	switch {
	case p == nil:
		return c.cfg.Grace < 0 || c.now.mono.Sub(c.since) >= c.cfg.Grace
	case p.kind == newer:
		return false
	case p.kind == garbage:
		return c.now.mono.Sub(p.changed) >= c.cfg.TTL
	case p.State == Free:
		return true
	}
	owner := c.peers[p.Owner]
	return owner == nil || owner.kind == readable && owner.Incarnation != p.Incarnation
}

// take writes a lease of this member's over one that is nobody's.
func (c *core) take(log string, p *place) {
	key := logKey(c.cfg.Site, log)
	if c.stopping || !c.follows[log] || c.isShunned(log) || c.yields(log) || !c.idle(key) {
		return
	}
	record := logRecord{V: recordVersion, Owner: c.self(), Incarnation: c.incarnation, Generation: 1, Group: c.group(), State: Taking}
	revision := c.birth
	if p != nil {
		record.Generation, revision = p.Generation+1, p.revision
	}
	c.write(key, encode(record), revision)
}

// group names the queue group of a lease that is taken. Until another member was seen it is the same for all logs: who is alone takes the commands of all in one
// subscription, and can change over to one for each type in the same group, so that each request still comes once. Nobody else was ever in that group.
func (c *core) group() string {
	if c.crowded {
		return c.random()
	}
	return c.first
}

func (c *core) release(log string, p *place) {
	if key := logKey(c.cfg.Site, log); c.idle(key) {
		c.write(key, encode(logRecord{V: recordVersion, Generation: p.Generation}), p.revision)
	}
}

func (c *core) isShunned(log string) bool { return c.now.mono.Before(c.shunned[log]) }

// knownLogs are the logs that this member follows or the table names, by name.
func (c *core) knownLogs() []string {
	all := make(map[string]bool, len(c.places)+len(c.follows))
	for log := range c.places {
		all[log] = true
	}
	for log := range c.follows {
		all[log] = true
	}
	return sortedKeys(all)
}

// counts says how many logs each live member has, or is about to get.
func (c *core) counts() map[string]int {
	counts := make(map[string]int)
	for _, id := range c.liveMembers() {
		counts[id] = 0
	}
	for log, p := range c.places {
		who := p.Owner
		if h := c.holds[log]; h != nil && h.leave && h.successor != "" {
			who = h.successor
		} else if p.State == Leaving && p.Successor != "" {
			who = p.Successor
		}
		if _, live := counts[who]; live && (who != p.Owner || c.peers[who].Incarnation == p.Incarnation) {
			counts[who]++
		}
	}
	return counts
}

// willing are counts without the members that did not serve as successor a while ago.
func (c *core) willing() map[string]int {
	counts := c.counts()
	for id, until := range c.failed {
		if c.now.mono.Before(until) {
			delete(counts, id)
		}
	}
	return counts
}

// successorOf is the live member with the fewest logs that may lead this one, other than one incarnation; empty: there is none but this.
func (c *core) successorOf(counts map[string]int, log, except string) string {
	return fewest(counts, func(id string) bool {
		return id != c.self() && c.followed(id, log) && c.peers[id].Incarnation != except
	})
}

// fewest is the member of those counted that has the fewest logs, ties by id.
func fewest(counts map[string]int, fits func(id string) bool) string {
	best := ""
	for _, id := range sortedKeys(counts) {
		if fits(id) && (best == "" || counts[id] < counts[best]) {
			best = id
		}
	}
	return best
}
