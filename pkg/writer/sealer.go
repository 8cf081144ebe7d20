package writer

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// errUnsealed says that a command cannot be decided as it is sealed: its schema changed meanwhile, or its key was forgotten.
var errUnsealed = errors.New("command has to be sealed again")

// maxAtOnce is up to how many bytes of values are sealed on the goroutine that brings a command: more are compressed and sealed aside, so that others need not wait.
const maxAtOnce = 16 << 10

// maxSealings is how often one command is sealed before it is given up.
const maxSealings = 4

// seals is what a submission has of a command that may set encrypted fields.
type seals struct {
	changes []sealing                        // by change; nil: not sealed yet
	stale   map[event.AggregateID]event.Hash // keys that it was sealed under and that were forgotten
	count   int                              // how often it was sent back
}

// sealing is how one change of a command was sealed.
type sealing struct {
	schema *schema.Schema // under which
	key    *fieldkey.Key  // nil: it sets no encrypted field
}

// sealer seals encrypted fields of commands on their way to an engine. Keys that are not in memory are fetched, or made, on goroutines of its own; commands about
// the same aggregate stay in the order in which they came. Commands of types without encrypted fields never come here.
type sealer struct {
	keys   *fieldkey.Keys // nil: there are none here
	site   string
	sys    *system
	queue  int // at most so many commands wait
	beside func(func(context.Context)) bool

	mu      sync.Mutex // guards what follows
	lanes   map[event.AggregateID][]*unsealed
	waiting int
	of      map[*engine]int // of these, those of each engine
	moved   chan struct{}   // closed at the next one that leaves
}

// unsealed is a command that waits for keys, or for another one about the same aggregate.
type unsealed struct {
	s      *submission
	e      *engine
	about  []event.AggregateID // of types with encrypted fields
	before int                 // lanes in which another one is first; guarded by the sealer's mu
}

func newSealer(w *Writer) *sealer {
	return &sealer{keys: w.cfg.Keys, site: w.cfg.Site, sys: w.sys, queue: w.cfg.Queue, beside: w.beside, lanes: make(map[event.AggregateID][]*unsealed), of: make(map[*engine]int), moved: make(chan struct{})}
}

// enter takes a command that may set encrypted fields. It does not wait.
func (x *sealer) enter(u *unsealed) {
	if x.keys == nil {
		u.refuse(problem.New(problem.Unavailable, "this process holds no keys of encrypted fields"))
		return
	}
	v := x.sys.now.Load()
	u.about = u.about[:0]
	ready, size := len(u.s.seals.stale) == 0, 0
	for i := range u.s.command.Changes {
		c := &u.s.command.Changes[i]
		sch := v.schemaOf(c.Aggregate.Type)
		if sch == nil || len(sch.EncryptedFields()) == 0 {
			continue
		}
		u.about = append(u.about, c.Aggregate)
		n := encryptedBytes(sch, c)
		size += max(n, 0)
		ready = ready && size <= maxAtOnce && (n < 0 || x.keys.Cached(c.Aggregate) != nil)
	}
	start, full := x.line(u, ready)
	switch {
	case full:
		u.refuse(problem.New(problem.Unavailable, "%d commands wait for keys of encrypted fields", x.queue).WithHint("send it again in a moment, with the same command id"))
	case start && ready:
		x.finish(u, x.cached)
	case start:
		x.start(u)
	}
}

// line puts a command into the lanes of its aggregates, unless it is ready and nothing is in its way. start: nothing is.
func (x *sealer) line(u *unsealed, ready bool) (start, full bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	u.before = 0
	for _, a := range u.about {
		if len(x.lanes[a]) > 0 {
			u.before++
		}
	}
	if u.before == 0 && ready {
		return true, false
	}
	if x.waiting >= x.queue {
		return false, true
	}
	x.waiting++
	x.of[u.e]++
	for _, a := range u.about {
		x.lanes[a] = append(x.lanes[a], u)
	}
	return u.before == 0, false
}

// start fetches keys aside, then has the command decided.
func (x *sealer) start(u *unsealed) {
	runs := x.beside(func(ctx context.Context) {
		defer x.leave(u)
		if u.e.refusesRoom(u.s) { // before a key is made
			return
		}
		x.finish(u, func(sch *schema.Schema, c *aggregate.Change) (*fieldkey.Key, error) { return x.fetch(ctx, u, sch, c) })
	})
	if !runs {
		u.refuse(problem.New(problem.Unavailable, "the writer does not run"))
		x.leave(u)
	}
}

// leave lets those behind a command go on.
func (x *sealer) leave(u *unsealed) {
	var next []*unsealed
	x.mu.Lock()
	x.waiting--
	if x.of[u.e]--; x.of[u.e] == 0 {
		delete(x.of, u.e)
	}
	close(x.moved)
	x.moved = make(chan struct{})
	for _, a := range u.about {
		behind := x.lanes[a][1:]
		if len(behind) == 0 {
			delete(x.lanes, a)
			continue
		}
		x.lanes[a] = behind
		if behind[0].before--; behind[0].before == 0 {
			next = append(next, behind[0])
		}
	}
	x.mu.Unlock()
	for _, one := range next {
		x.start(one)
	}
}

// settled waits until no command of an engine waits here any more, or ctx ends.
func (x *sealer) settled(ctx context.Context, e *engine) {
	for {
		x.mu.Lock()
		left, moved := x.of[e], x.moved
		x.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

func (x *sealer) cached(_ *schema.Schema, c *aggregate.Change) (*fieldkey.Key, error) {
	return x.keys.Cached(c.Aggregate), nil // nil if it has just left the memory: the engine sends the command back
}

// fetch gives the key for a change, and makes it if need be: not for what is only checked, nor for what the schema refuses.
func (x *sealer) fetch(ctx context.Context, u *unsealed, sch *schema.Schema, c *aggregate.Change) (*fieldkey.Key, error) {
	if commitment, stale := u.s.seals.stale[c.Aggregate]; stale { // it would be destroyed a moment later; what comes now comes behind it
		if err := x.keys.Destroy(ctx, c.Aggregate, commitment); err != nil {
			return nil, err
		}
	}
	for i := range c.Events {
		if u.s.command.DryRun || len(sch.CheckEvent(c.Events[i].Type, c.Events[i].Fields)) > 0 {
			key, err := x.keys.Get(ctx, c.Aggregate)
			if key == nil && (err == nil || errors.Is(err, fieldkey.ErrForeign)) {
				key, err = x.keys.Temporary()
			}
			return key, err
		}
	}
	return x.keys.Make(ctx, c.Aggregate)
}

// finish seals a command and hands it to its engine, or refuses it.
func (x *sealer) finish(u *unsealed, keyOf func(*schema.Schema, *aggregate.Change) (*fieldkey.Key, error)) {
	v, s := x.sys.now.Load(), u.s
	s.seals.changes = make([]sealing, len(s.command.Changes))
	for i := range s.command.Changes {
		c, done := &s.command.Changes[i], &s.seals.changes[i]
		sch := v.schemaOf(c.Aggregate.Type)
		done.schema = sch
		if sch == nil || encryptedBytes(sch, c) < 0 {
			continue
		}
		key, err := keyOf(sch, c)
		if fieldkey.Unreadable(err) {
			u.refuse(lostKey(c.Aggregate, err))
			return
		}
		if err != nil {
			u.refuse(problem.New(problem.Unavailable, "the key of %s cannot be reached: %v", c.Aggregate, err).WithHint("send it again in a moment, with the same command id"))
			return
		}
		if key == nil {
			done.schema = nil
			continue
		}
		done.key = key
		if p := x.seal(sch, key, c); p != nil {
			u.refuse(p)
			return
		}
	}
	s.seals.stale = nil
	s.digest = s.command.Digest(s.actor)
	u.e.submit(s)
}

// lostKey says that the key of an aggregate is there and can never be opened.
func lostKey(a event.AggregateID, err error) *problem.Problem {
	return problem.New(problem.Invalid, "the key of %s is lost: %v", a, err).
		WithHint("bring back the key file, or the bucket of field keys, from a backup, or give the encrypted values up: `eventful data:forget %s --yes`", a)
}

// seal seals the encrypted fields of a change.
func (x *sealer) seal(sch *schema.Schema, key *fieldkey.Key, c *aggregate.Change) *problem.Problem {
	for i := range c.Events {
		stored, digested := slices.Clone(c.Events[i].Fields), slices.Clone(c.Events[i].Fields)
		for j, f := range c.Events[i].Fields {
			rules := sch.Fields[f.Name]
			if !f.Set || !rules.PII {
				continue
			}
			var unique *event.Hash
			if rules.Unique {
				unique = new(x.keys.UniqueHash(c.Aggregate.Type, f.Name, f.Value))
			}
			stored[j].Value, stored[j].Sealed = key.Seal(fieldkey.Place{Site: x.site, Aggregate: c.Aggregate, Field: f.Name}, f.Value, unique), true
			if n := len(stored[j].Value); n > event.MaxValueLen {
				return aboutField(problem.TooLarge, f.Name, "%s: the encrypted field %q has %d bytes when it is sealed, at most %d are allowed", c.Aggregate, f.Name, n, event.MaxValueLen)
			}
			digested[j].Value = key.Digest(f.Name, f.Value)
		}
		if err := c.Events[i].Seal(stored, digested); err != nil {
			return problem.New(problem.Internal, "an event cannot be sealed: %v", err)
		}
	}
	return nil
}

// encryptedBytes is how many bytes of values a change gives to encrypted fields; less than 0: it sets none.
func encryptedBytes(sch *schema.Schema, c *aggregate.Change) int {
	encrypted, n := sch.EncryptedFields(), -1
	for i := range c.Events {
		for _, f := range c.Events[i].Fields {
			if _, is := slices.BinarySearch(encrypted, f.Name); is && f.Set {
				n = max(n, 0) + len(f.Value)
			}
		}
	}
	return n
}

// refuse answers a command that cannot be sealed, if this process is the one to answer it.
func (u *unsealed) refuse(p *problem.Problem) {
	u.e.metrics.refused.WithLabelValues(string(p.Code)).Inc()
	u.e.turnAway(u.s, p)
}

// checkSealed says whether a change may be decided as it is sealed; errUnsealed: not so.
func (e *engine) checkSealed(s *submission, i int, sch *schema.Schema) error {
	if s.seals == nil || s.seals.changes[i].schema != sch {
		return errUnsealed
	}
	key := s.seals.changes[i].key
	if key == nil {
		return nil
	}
	a := s.command.Changes[i].Aggregate
	forgotten, err := e.isForgotten(a, key.Commitment())
	if err == nil && forgotten {
		if s.seals.stale == nil {
			s.seals.stale = make(map[event.AggregateID]event.Hash)
		}
		s.seals.stale[a] = key.Commitment()
		return errUnsealed
	}
	return err
}

// sealAgain sends a command back to be sealed. It comes again behind those that wait for the engine.
func (e *engine) sealAgain(s *submission) {
	if s.seals == nil {
		s.seals = &seals{}
	}
	if s.seals.count++; s.seals.count >= maxSealings {
		s.reply(nil, problem.New(problem.Unavailable, "the schema or the keys of the command change while it is decided").WithHint("send it again in a moment, with the same command id"))
		return
	}
	s.seals.changes = nil
	for i := range s.command.Changes {
		for j := range s.command.Changes[i].Events {
			s.command.Changes[i].Events[j].Unseal()
		}
	}
	e.sealer.enter(&unsealed{s: s, e: e})
}
