package lease

import "time"

// phase is how far this member is with a log.
type phase int

const (
	leading phase = iota // Lead was called
	serving              // the record says so: the lease may be Held
	leaving              // Leave was called
	handed               // the record names the successor, which does not serve yet
)

// hold is a Lease from Lead to Gone.
type hold struct {
	lease      *Lease
	generation uint64
	phase      phase
	since      time.Time // of Lead
	chain      deadline  // until when the lease holds even if the table is lost

	epoch uint64
	serve func(error) // Serving waits

	from      string // incarnation of the member that resigned it to this one: balance does not give it back
	leave     bool   // hand it over
	asked     bool   // … because a person wants it
	successor string // chosen; empty: none, or not yet
	left      bool   // Left was called
	leftDone  func(error)
	handedAt  time.Time
	resigned  []func(error) // Resign waits
}

// tooLong is how long a former owner waits for whoever took its log from the successor.
const tooLong = 10 * time.Second

func (c *core) lead(log string, p *place) {
	h := &hold{lease: c.make(log, p.Group), generation: p.Generation, since: c.now.mono, from: p.Resigned}
	c.holds[log] = h
	if h.from != "" {
		c.rest(true)
	}
	c.cfg.Log.Info().Str("log", log).Uint64("generation", p.Generation).Msg("lease was taken")
	c.call(func(x Handler) { x.Lead(h.lease) })
}

// end ends a hold; the answers to who waits depend on whether somebody else got the log in order.
func (c *core) end(log string, h *hold, republish bool) {
	h.lease.good.Store(false)
	delete(c.holds, log)
	reply(&h.serve, ErrLost)
	reply(&h.leftDone, ErrLost)
	resigned := ErrLost
	if h.phase == handed && republish {
		resigned = nil
		c.rest(h.asked)
	}
	c.endResign(h, resigned)
	c.cfg.Log.Info().Str("log", log).Uint64("generation", h.generation).Bool("handedOver", h.phase == handed && republish).Msg("lease ended")
	c.call(func(x Handler) { x.Gone(h.lease, republish) })
	h.lease.wake()
}

func (c *core) endResign(h *hold, err error) {
	for _, done := range h.resigned {
		done(err)
	}
	h.resigned = nil
}

func reply(done *func(error), err error) {
	if *done != nil {
		(*done)(err)
		*done = nil
	}
}

// observe compares a hold with the record.
func (c *core) observe(log string, h *hold) {
	p := c.places[log]
	switch {
	case p == nil:
		c.observeLost(log, h)
	case p.kind != readable:
		c.end(log, h, false)
	case c.isMine(p, h):
		c.observeMine(log, h, p)
	case p.Owner == c.self() && p.Generation == h.generation && p.Group == h.lease.group: // of the incarnation before: act confirms it
	case p.Owner == c.self() && p.Incarnation == c.incarnation && p.State == Taking && p.Group == h.lease.group && h.left:
		c.back(log, h, p)
	case h.left:
		c.observeSuccessor(log, h, p)
	default:
		c.end(log, h, p.Group == h.lease.group)
	}
}

func (c *core) isMine(p *place, h *hold) bool {
	return p.Owner == c.self() && p.Incarnation == c.incarnation && p.Generation == h.generation && p.Group == h.lease.group
}

// observeLost: the table was lost, as records of logs are never deleted. Nobody claims a log without a record before TTL is over, so who
// still held the lease may write it again.
func (c *core) observeLost(log string, h *hold) {
	if h.left || h.phase == leading || !c.now.before(h.chain) {
		c.end(log, h, false)
	}
}

func (c *core) observeMine(log string, h *hold, p *place) {
	switch {
	case p.State == Taking && h.left: // it went to a successor and came back
		c.back(log, h, p)
		return
	case p.State == Taking:
		return
	case h.phase == leading:
		h.phase = serving
	case p.State == Leaving && h.phase == serving:
		h.phase = leaving
		c.call(func(x Handler) { x.Leave(h.lease) })
	}
	if !h.lease.good.Swap(true) {
		h.chain = c.chain
		h.lease.wake()
	}
	reply(&h.serve, nil)
}

// observeSuccessor waits for another member to serve a log that was left.
func (c *core) observeSuccessor(log string, h *hold, p *place) {
	if h.phase != handed {
		h.phase, h.handedAt = handed, c.now.mono
		reply(&h.leftDone, nil)
	}
	switch waited := c.now.mono.Sub(h.handedAt); {
	case p.State == Serving, p.State == Leaving, waited >= tooLong:
		c.end(log, h, true)
	case p.State == Free && c.stopping:
		c.end(log, h, false)
	}
}

// back: this member has the lease again, as the successor did not serve, or has given it back already.
func (c *core) back(log string, h *hold, p *place) {
	var err error
	if p.Generation != h.generation {
		err = ErrNotServed
		c.failed[h.successor] = c.now.mono.Add(10 * c.cfg.Settle)
		c.cfg.Log.Warn().Str("log", log).Str("successor", h.successor).Msg("successor did not serve")
	}
	c.rest(h.asked)
	reply(&h.leftDone, nil)
	c.endResign(h, err)
	h.lease.wake()
	c.lead(log, p)
}

// act writes the next record of a hold.
func (c *core) act(log string, h *hold) {
	p, key := c.places[log], logKey(c.cfg.Site, log)
	if !c.idle(key) {
		return
	}
	switch {
	case p == nil:
		c.put(log, c.recordOf(h, h.state()), c.birth)
	case h.phase == handed:
		if c.mayClaimBack(log, h, p) {
			c.claimBack(log, h, p)
		}
	case !c.isMine(p, h): // of the incarnation before
		r := p.logRecord
		r.Incarnation = c.incarnation
		c.put(log, r, p.revision)
	case h.phase == leading && h.serve != nil:
		c.put(log, c.recordOf(h, Serving), p.revision)
	case h.phase == serving && h.leave:
		c.startLeaving(log, h, p)
	case h.phase == leaving && h.left:
		c.give(log, h, p)
	}
}

func (h *hold) state() State {
	if h.phase == leaving {
		return Leaving
	}
	return Serving
}

func (c *core) recordOf(h *hold, s State) logRecord {
	r := logRecord{V: recordVersion, Owner: c.self(), Incarnation: c.incarnation, Generation: h.generation, Group: h.lease.group, State: s, Epoch: h.epoch, Resigned: h.from}
	if s == Leaving {
		r.Successor = h.successor
	}
	return r
}

func (c *core) put(log string, r logRecord, revision uint64) {
	c.write(logKey(c.cfg.Site, log), encode(r), revision)
}

// Requests of the process.

func (c *core) follow(log string) { c.follows[log], c.renewNow = true, true }

func (c *core) serving(l *Lease, epoch uint64, done func(error)) {
	h := c.holds[l.log]
	switch {
	case h == nil || h.lease != l:
		done(ErrLost)
	case h.phase != leading:
		done(nil)
	default:
		h.epoch, h.serve = epoch, done
	}
}

func (c *core) left(l *Lease, done func(error)) {
	h := c.holds[l.log]
	switch {
	case h == nil || h.lease != l || h.phase == leading:
		done(ErrLost)
	case h.phase == handed:
		done(nil)
	default:
		h.left, h.leftDone = true, done
	}
}

func (c *core) fenced(l *Lease) {
	if h := c.holds[l.log]; h != nil && h.lease == l {
		c.shunned[l.log] = c.now.mono.Add(shunFor)
		c.end(l.log, h, false)
	}
}
