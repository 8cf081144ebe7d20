package lease

import (
	"fmt"
	"strings"
	"time"
)

// renew keeps this member's record. A write goes out when a quarter of TTL is over, when the record is to say something new, and when no lease can be Held.
func (c *core) renew() {
	key, revision := memberKey(c.cfg.Site, c.self()), c.birth
	if p := c.peers[c.self()]; p != nil {
		revision = p.revision
	}
	if c.contested() {
		return
	}
	due := c.renewNow || !c.mayHold() || c.now.mono.Sub(c.renewedAt) >= c.cfg.TTL/4
	if !due || !c.idle(key) || c.leaving || c.stopping && !c.joined || !c.joined && !c.whole {
		return
	}
	for b, at := range c.sent {
		if c.now.mono.Sub(at.mono) >= c.cfg.TTL {
			delete(c.sent, b)
		}
	}
	c.beat++
	c.sent[c.beat] = c.now
	c.renewedAt, c.renewNow = c.now.mono, false
	m, logs := c.cfg.Member, sortedKeys(c.follows)
	if c.stopping || c.full {
		logs = []string{} // nobody hands a log to a member that ends, or has no room
	}
	c.write(key, encode(memberRecord{
		V: recordVersion, Incarnation: c.incarnation, Beat: c.beat, Name: m.Name, Host: m.Host, PID: m.PID, Version: m.Version, Logs: logs, Full: c.full,
	}), revision)
}

// readSelf takes what the table says of this member: a renewal that was stored, or that the record is gone.
func (c *core) readSelf(p *peer) {
	switch {
	case p != nil && p.kind == readable && p.Incarnation == c.incarnation:
		c.renewed(p.Beat)
	case p != nil && p.kind == newer:
		c.fail(fmt.Errorf("member %s: %w", c.self(), ErrNewer))
	case !c.joined:
		c.meet(p)
	case p != nil && p.kind == readable && !c.former[p.Incarnation]:
		c.fail(fmt.Errorf("member %s: %w", c.self(), ErrSameMember))
	default:
		c.expelled()
	}
}

// rival is another process under this member's id, from when this one came.
type rival struct {
	incarnation string
	beat        uint64
	since       time.Time
}

// meet looks at a record that another process wrote under this member's id, before this one has joined: one that goes on renewing it lives.
func (c *core) meet(p *peer) {
	switch {
	case p == nil || p.kind != readable || c.former[p.Incarnation]:
		c.rival = nil
	case c.rival == nil || c.rival.incarnation != p.Incarnation:
		if !c.cfg.Gone(Member{ID: c.self(), Name: p.Name, Host: p.Host, PID: p.PID, Version: p.Version}) {
			c.rival = &rival{incarnation: p.Incarnation, beat: p.Beat, since: c.now.mono}
		}
	case p.Beat > c.rival.beat+1: // one may have been on its way when its process ended
		c.fail(fmt.Errorf("member %s, of process %d on host %s: %w", c.self(), p.PID, p.Host, ErrSameMember))
	}
}

// contested: the other process may still live. Once it was silent for TTL its record is replaced.
func (c *core) contested() bool {
	if c.rival != nil && (c.joined || c.whole && c.now.mono.Sub(later(c.rival.since, c.since)) >= c.cfg.TTL) {
		c.rival = nil
	}
	return c.rival != nil
}

func (c *core) fail(err error) {
	c.fatal = err
	c.window.until.Store(nil)
}

// renewed: the renewal was stored, and nobody had deleted the record before. So until TTL from when it was sent nobody else takes a lease of this member.
func (c *core) renewed(beat uint64) {
	c.joined, c.failing, c.told = true, time.Time{}, false
	if at, ok := c.sent[beat]; ok {
		c.chain = at.add(c.cfg.TTL)
		until := c.chain
		c.window.until.Store(&until)
		for _, h := range c.holds {
			if h.lease.good.Load() {
				h.chain = c.chain
			}
		}
	}
	for b := range c.sent {
		if b <= beat {
			delete(c.sent, b)
		}
	}
	if c.now.mono.Sub(c.seenAt) > c.cfg.TTL/2 { // the table was away: others could not renew either
		for _, p := range c.peers {
			p.changed = c.now.mono
		}
	}
	c.seenAt = c.now.mono
}

// notRenewed: when no renewal was stored for TTL although the table is seen, what is seen may be over without a word, as when an administrator purged
// the bucket. So the watch starts over; by then nothing is Held that counts on what was there before.
func (c *core) notRenewed(err error) {
	if c.failing.IsZero() {
		c.failing = c.now.mono
	}
	if !c.whole || c.now.mono.Sub(c.failing) < c.cfg.TTL {
		return
	}
	c.again, c.failing = true, time.Time{}
	if !c.told {
		c.cfg.Log.Warn().Err(err).Str("member", c.self()).Dur("for", c.cfg.TTL).Msg("member record could not be renewed; the leases are read again")
		c.told = true
	}
}

// expelled: somebody found this member silent and deleted its record, or the table was lost. It joins again as another incarnation; what it led and
// nobody took is confirmed under that one.
func (c *core) expelled() {
	if !c.leaving {
		c.cfg.Log.Warn().Str("member", c.self()).Msg("member record was gone")
	}
	c.window.until.Store(nil)
	c.former[c.incarnation] = true
	c.joined, c.incarnation, c.renewNow = false, c.random(), true
	clear(c.sent)
	for _, h := range c.holds {
		h.lease.good.Store(false)
		h.lease.wake()
	}
}

// isLive: the member was seen to renew its record within TTL.
func (c *core) isLive(id string) bool {
	p := c.peers[id]
	if p == nil || p.kind != readable {
		return false
	}
	if id == c.self() {
		return c.joined && !c.stopping
	}
	return c.now.mono.Sub(p.changed) < c.cfg.TTL
}

func (c *core) liveMembers() []string {
	var ids []string
	for _, id := range sortedKeys(c.peers) {
		if c.isLive(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *core) countMembers() {
	var b strings.Builder
	for _, id := range c.liveMembers() {
		b.WriteString(id + " " + c.peers[id].Incarnation + "\n")
	}
	if live := b.String(); live != c.live {
		c.live, c.steady, c.dirty = live, c.now.mono, true
	}
}

// endSilent deletes the records of members that were silent for TTL. Only then are their leases anybody's: a member whose record was not changed
// in between has not renewed, so nothing of its is Held any more.
func (c *core) endSilent() {
	for _, id := range sortedKeys(c.peers) {
		p, key := c.peers[id], memberKey(c.cfg.Site, id)
		if id == c.self() || p.kind == newer || c.now.mono.Sub(p.changed) < c.cfg.TTL || !c.idle(key) {
			continue
		}
		c.cfg.Log.Info().Str("member", id).Str("name", p.Name).Dur("silent", c.now.mono.Sub(p.changed).Round(time.Millisecond)).Msg("member was silent")
		c.write(key, nil, p.revision)
	}
}

// followed tells whether a live member may lead a log.
func (c *core) followed(id, log string) bool {
	if id == c.self() {
		return c.follows[log]
	}
	p := c.peers[id]
	if p == nil {
		return false
	}
	for _, l := range p.Logs {
		if l == log {
			return true
		}
	}
	return false
}
