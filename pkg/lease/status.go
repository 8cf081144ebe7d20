package lease

import "time"

func (c *core) owners(now time.Time) []Owner {
	c.now.mono = now
	var all []Owner
	for _, log := range sortedKeys(c.places) {
		p := c.places[log]
		o := Owner{
			Log: log, Member: p.Owner, State: p.State, Successor: p.Successor, Group: p.Group, Epoch: p.Epoch, Generation: p.Generation,
		}
		if p.kind != readable {
			o.State = Unknown
		}
		if m := c.peers[p.Owner]; m != nil && m.Incarnation == p.Incarnation {
			o.Name, o.Host, o.PID, o.Live = m.Name, m.Host, m.PID, c.isLive(p.Owner)
		}
		all = append(all, o)
	}
	return all
}

func (c *core) members(now time.Time) []Member {
	c.now.mono = now
	var all []Member
	for _, id := range c.liveMembers() {
		p := c.peers[id]
		all = append(all, Member{ID: id, Name: p.Name, Host: p.Host, Version: p.Version, PID: p.PID})
	}
	return all
}

// alone counts silent members too: they may still live.
func (c *core) alone() bool { return c.whole && c.joined && len(c.peers) == 1 }

// endAll ends what is left when the Keeper ends. Nothing is Held any more.
func (c *core) endAll() {
	c.window.until.Store(nil)
	for _, log := range sortedKeys(c.holds) {
		c.end(log, c.holds[log], false)
	}
}
