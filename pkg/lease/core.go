package lease

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"
)

// core is what a Keeper knows and decides: a function of the table as seen, the clock, and what the process asked for. It does no I/O and starts
// nothing: step leaves what to write in ops and whom to call in calls. It looks at the state of things, not at what happened, so an answer that was
// lost or a step that failed needs no case of its own. The Keeper's loop guards it.
type core struct {
	cfg    Config
	window *window
	make   func(log, group string) *Lease
	random func() string
	now    deadline // set before each call

	era     int              // counts resets of the watch
	whole   bool             // the table was seen whole since the last reset
	since   time.Time        // when
	birth   uint64           // revision of what is not in the table
	entries map[string]entry // by key: what was seen last
	peers   map[string]*peer // by member id, this member included
	places  map[string]*place
	busy    map[string]bool      // keys with a write under way: one at a time
	retry   map[string]time.Time // keys whose last write failed: not before

	incarnation string
	first       string              // group of the leases that are taken until another member is seen
	crowded     bool                // one was seen
	former      map[string]bool     // incarnations before this one
	joined      bool                // the table held this incarnation of the member
	rival       *rival              // who had this member's id when it came; nil: nobody, or it is gone
	beat        uint64              // of the last renewal sent
	sent        map[uint64]deadline // when the renewals were sent that may still be seen
	renewedAt   time.Time           // when the last one was sent
	seenAt      time.Time           // when the last one was seen to be stored
	renewNow    bool                // the record's content changed
	failing     time.Time           // when the first renewal failed since one was seen to be stored; zero: none
	told        bool                // that the watch starts over, since a renewal was seen to be stored
	again       bool                // the watch is to start over
	chain       deadline            // until when the last renewal seen would hold, also behind a reset
	open        bool                // the window, as the leases were told last

	follows map[string]bool
	holds   map[string]*hold
	free    map[string]time.Time // logs that may be claimed, since when
	shunned map[string]time.Time // logs not to be claimed before
	failed  map[string]time.Time // members that did not serve as successor, until when balance leaves them alone

	live   string    // the live members, as text
	steady time.Time // when that changed last
	quiet  time.Time // no balance before

	full    bool      // this member has no room, or has not had some for long enough
	filled  time.Time // since when
	lacking time.Time // when it was last seen to have none

	stopping bool
	stopAt   time.Time
	leaving  bool // nothing is this member's any more: its record goes
	fatal    error

	ops   []op
	calls []func(Handler)
	dirty bool // Owners, Members or Alone may give another answer
}

// entry is a key of the table as it was seen last.
type entry struct {
	value    []byte // nil: gone
	revision uint64
	stale    bool // seen before the last reset
}

// op is one write to the table.
type op struct {
	key      string
	value    []byte // nil: delete
	revision uint64
	era      int
}

// kind says whether a record can be read.
type kind int

const (
	readable kind = iota
	newer         // of an unknown version: left alone
	garbage       // not a record: after TTL taken for none
)

// peer is a member as seen from here.
type peer struct {
	memberRecord
	kind     kind
	revision uint64
	changed  time.Time // when it was last seen to change
}

// place is the lease of a log as seen from here.
type place struct {
	logRecord
	kind     kind
	revision uint64
	changed  time.Time
}

func newCore(cfg Config, w *window, lease func(log, group string) *Lease, random func() string) *core {
	return &core{
		cfg: cfg, window: w, make: lease, random: random, incarnation: random(), first: random(),
		entries: map[string]entry{}, peers: map[string]*peer{}, places: map[string]*place{}, busy: map[string]bool{}, retry: map[string]time.Time{},
		former: map[string]bool{}, sent: map[uint64]deadline{}, follows: map[string]bool{}, holds: map[string]*hold{},
		free: map[string]time.Time{}, shunned: map[string]time.Time{}, failed: map[string]time.Time{},
	}
}

// change takes what the watch tells.
func (c *core) change(ch Change) {
	switch {
	case ch.Reset:
		c.reset()
	case ch.Key == "":
		c.seenWhole(ch.Revision)
	default:
		c.apply(ch)
	}
}

// reset: the table may be another one by now. No lease is Held until a renewal is seen in what comes.
func (c *core) reset() {
	c.era++
	c.whole, c.dirty = false, true
	c.window.until.Store(nil)
	c.failing = time.Time{}
	clear(c.busy)
	clear(c.retry)
	for key, e := range c.entries {
		e.stale = true
		c.entries[key] = e
	}
}

func (c *core) seenWhole(birth uint64) {
	if c.whole {
		return
	}
	c.whole, c.birth, c.since, c.dirty = true, birth, c.now.mono, true
	for key, e := range c.entries {
		if e.stale {
			delete(c.entries, key)
			c.read(key, nil, 0)
		}
	}
}

// apply takes one record as stored, from the watch or from this member's own write.
func (c *core) apply(ch Change) {
	old, known := c.entries[ch.Key]
	if known && !old.stale && ch.Revision <= old.revision {
		return
	}
	c.entries[ch.Key] = entry{value: ch.Value, revision: ch.Revision}
	if known && ch.Revision == old.revision && bytes.Equal(ch.Value, old.value) {
		return // seen again behind a reset
	}
	c.read(ch.Key, ch.Value, ch.Revision)
}

func (c *core) read(key string, value []byte, revision uint64) {
	member, log := parseKey(c.cfg.Site, key)
	switch {
	case member != "":
		c.readMember(member, value, revision)
	case log != "":
		c.readLog(log, value, revision)
	}
}

func (c *core) readMember(id string, value []byte, revision uint64) {
	c.crowded = c.crowded || id != c.self()
	if value == nil {
		delete(c.peers, id)
	} else {
		record, err := decodeMember(value)
		c.peers[id] = &peer{memberRecord: record, kind: c.judge(memberKey(c.cfg.Site, id), err), revision: revision, changed: c.now.mono}
	}
	if id == c.cfg.Member.ID {
		c.readSelf(c.peers[id])
	}
}

func (c *core) readLog(log string, value []byte, revision uint64) {
	c.dirty = true
	if value == nil {
		delete(c.places, log)
		return
	}
	record, err := decodeLog(value)
	c.places[log] = &place{logRecord: record, kind: c.judge(logKey(c.cfg.Site, log), err), revision: revision, changed: c.now.mono}
}

func (c *core) judge(key string, err error) kind {
	switch {
	case err == nil:
		return readable
	case errors.Is(err, ErrNewer):
		c.cfg.Log.Error().Err(err).Str("key", key).Msg("lease record left alone")
		return newer
	}
	c.cfg.Log.Error().Err(err).Str("key", key).Msg("lease record cannot be read")
	return garbage
}

// done takes the outcome of a write. What is not known to be stored shows in the watch, if it is.
func (c *core) done(o op, revision uint64, err error) {
	if o.era != c.era {
		return
	}
	delete(c.busy, o.key)
	if err != nil {
		c.retry[o.key] = c.now.mono.Add(c.pause())
		if o.value != nil && o.key == memberKey(c.cfg.Site, c.self()) {
			c.notRenewed(err)
		}
		return
	}
	delete(c.retry, o.key)
	switch {
	case o.value != nil:
		c.apply(Change{Key: o.key, Value: o.value, Revision: revision})
	case o.key == memberKey(c.cfg.Site, c.self()):
		c.joined = false
	} // what else ended shows in the watch, with its revision
}

// pause is how long a write that failed is left alone, and how often the loop looks at the clock.
func (c *core) pause() time.Duration { return c.cfg.TTL / 30 }

func (c *core) write(key string, value []byte, revision uint64) {
	c.busy[key] = true
	c.ops = append(c.ops, op{key: key, value: value, revision: revision, era: c.era})
}

func (c *core) idle(key string) bool { return !c.busy[key] && !c.now.mono.Before(c.retry[key]) }

func (c *core) call(f func(Handler)) { c.calls = append(c.calls, f) }

// step decides everything that is to be done now.
func (c *core) step() {
	if c.fatal != nil {
		return
	}
	c.lookForRoom()
	c.renew()
	if c.whole {
		c.look()
	}
	if open := c.mayHold(); open != c.open {
		c.open = open
		for _, h := range c.holds {
			h.lease.wake()
		}
	}
}

func (c *core) look() {
	c.countMembers()
	for _, log := range sortedKeys(c.holds) {
		c.observe(log, c.holds[log])
	}
	if !c.joined || !c.mayHold() {
		return
	}
	c.endSilent()
	c.vacate()
	for _, log := range sortedKeys(c.holds) {
		c.act(log, c.holds[log])
	}
	c.claim()
	c.balance()
}

// mayHold: the last renewal holds.
func (c *core) mayHold() bool { return c.window.openAt(c.now) }

func (c *core) self() string { return c.cfg.Member.ID }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
