package lease

// roomFor is for how many Settles a member must have had room before it leads logs again: a disk about its limit moves nothing to and fro.
const roomFor = 6

// lookForRoom has this member's record say at once that it has no room, and that it has some only after a while.
func (c *core) lookForRoom() {
	switch {
	case !c.cfg.Room():
		c.lacking = c.now.mono
		if !c.full {
			c.full, c.filled, c.renewNow = true, c.now.mono, true
			c.cfg.Log.Warn().Str("member", c.self()).Msg("member has no room: its logs go to members that have, if there are any")
		}
	case c.full && c.now.mono.Sub(c.lacking) >= roomFor*c.cfg.Settle:
		c.full, c.renewNow = false, true
		c.cfg.Log.Info().Str("member", c.self()).Msg("member has room again")
	}
}

// hasRoom tells what a member's record says, this one's too, so that all see alike.
func (c *core) hasRoom(id string) bool {
	p := c.peers[id]
	return p != nil && !p.Full
}

// yields tells whether a log is to be left to others: this member has no room, and one that has may lead it.
func (c *core) yields(log string) bool { return c.full && c.roomier(log) != "" }

// roomier is who may lead a log in the place of this member, which has no room; empty: nobody. Members without room follow no log as far as their records say.
func (c *core) roomier(log string) string { return c.successorOf(c.willing(), log, "") }

// vacate has a member without room hand over what another one may lead, all at once, and give up what it has not come to serve. It waits for Pace, in which
// members on the same disk find out too: then there may be nobody to hand it to.
func (c *core) vacate() {
	if !c.full || c.stopping || c.now.mono.Sub(c.filled) < c.cfg.Pace {
		return
	}
	for _, log := range sortedKeys(c.holds) {
		h := c.holds[log]
		next := ""
		if !h.leave {
			next = c.roomier(log) // it counts those before this one
		}
		switch {
		case next == "":
		case h.phase == leading && h.serve == nil:
			c.end(log, h, false) // claim gives it free
		case h.phase == serving && h.lease.good.Load():
			h.leave, h.successor = true, next
			c.cfg.Log.Info().Str("log", log).Str("successor", next).Msg("log is handed over as there is no room here")
		}
	}
}
