package writer

import (
	"context"
	"errors"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// planned is a change that passed every check, not yet placed.
type planned struct {
	change aggregate.Change
	events []event.Event
	before head
	key    *fieldkey.Key     // that encrypted fields of the events are sealed under; nil: there are none
	back   *restoring        // the change is a rollback's; nil: it is not
	held   map[string]string // values of unique fields behind the change
	claims []claim
	broken bool // the schema refuses it
}

// decide takes a submission as far as it goes now: refused, answered, placed in the open block, parked for units, or held for the next block.
func (e *engine) decide(s *submission) {
	if v := e.sys.now.Load(); v != e.under {
		if v.uniqueIn(e.name).key(v) != e.uniqueKey {
			e.held, e.broken = s, errOtherUnique
			return
		}
		e.under = v
	}
	if !e.mayDecide(s) {
		return
	}
	if s.refusal != nil {
		s.reply(nil, s.refusal)
		return
	}
	if s.barrier != nil {
		e.pass(s)
		return
	}
	if p := e.stillAllowed(s); p != nil {
		e.refuse(s, p)
		return
	}
	if s.act != nil {
		if e.open != nil || len(e.inFlight) > 0 {
			e.held = s // an act is decided on what is on disk, alone
			return
		}
		if !decideAct(s) {
			return
		}
	}
	if e.open != nil && e.open.System != e.under.position {
		e.held = s // a block is decided under one position of the system log
		return
	}
	if e.repeated(s) {
		return
	}
	if r := e.under.rolling(s); r != nil && s.act == nil {
		e.refuse(s, underRollback(r))
		return
	}
	if list := e.parked[s.claims.ID]; len(list) > 0 && s.act == nil {
		e.parked[s.claims.ID] = append(list, s) // what it expects may be what one of those leads to
		return
	}
	plan, p, err := e.plan(s)
	switch {
	case errors.Is(err, errUnsealed):
		e.sealAgain(s)
	case err != nil:
		e.doubt(s, err)
	case p != nil:
		e.refuse(s, p)
	default:
		e.admit(s, plan)
	}
}

// stillAllowed checks a command again that waited: for a lease, or since there was room; or that was authorised before an auth key changed or a token was ended.
func (e *engine) stillAllowed(s *submission) *problem.Problem {
	if p := e.cfg.Room(); p != nil {
		return p
	}
	if s.act != nil || s.rights == e.under.rights {
		return nil
	}
	p := s.claims.Recheck(e.sys)
	s.rights = e.under.rights
	return p
}

// decideAct has an act say what it changes; false: it was answered, as it changes nothing.
func decideAct(s *submission) bool {
	changes, p := s.act(s)
	if p != nil || len(changes) == 0 && s.restores == nil {
		s.reply(nil, p)
		return false
	}
	s.actor = s.claims.Actor()
	if s.command.Changes = changes; s.restores != nil {
		s.digest = restoredDigest(s)
		return true
	}
	if problems := s.command.Check(); len(problems) > 0 {
		s.reply(nil, problem.Join(problems))
		return false
	}
	s.digest = s.command.Digest(s.actor)
	return true
}

// doubt answers a command that the stored state failed; the engine then leaves for recovery.
func (e *engine) doubt(s *submission, err error) {
	e.logger.Error().Err(err).Msg("state could not be read")
	s.reply(nil, problem.New(problem.Unavailable, "log %s: its state cannot be read", e.name).WithHint("send it again in a moment"))
	e.broken = err
}

// plan runs every check of every change, so that all failing ones are told at once. What it gives is valid until it is called again.
func (e *engine) plan(s *submission) ([]planned, *problem.Problem, error) {
	if s.restores != nil {
		return e.planRestores(s)
	}
	s.conflicts = nil
	clear(e.plans) // holds nothing longer than it has to
	plan := e.plans[:0]
	defer func() { e.plans = plan }()
	var problems []*problem.Problem
	for i, c := range s.command.Changes {
		sch := e.under.schemaOf(c.Aggregate.Type)
		if sch == nil || s.act == nil && logOf(sch) != e.name {
			return nil, problem.New(problem.NotFound, "aggregate type %q is not written in log %s", c.Aggregate.Type, e.name), nil
		}
		one := planned{change: c}
		if s.seals != nil || len(sch.EncryptedFields()) > 0 {
			if err := e.checkSealed(s, i, sch); err != nil {
				return nil, nil, err
			}
			one.key = s.seals.changes[i].key
		}
		h, err := e.head(c.Aggregate)
		if err != nil {
			return nil, nil, err
		}
		if h.cold {
			problems = append(problems, coldProblem(c.Aggregate))
			continue
		}
		events, found := aggregate.Decide(sch, h.rules(), c)
		problems = append(problems, s.refusals(found, i, &one, h)...)
		one.events, one.before = events, h
		plan = append(plan, one)
	}
	if len(e.unique) > 0 {
		found, err := e.claims(s, plan)
		if err != nil {
			return nil, nil, err
		}
		problems = append(problems, found...)
	}
	return plan, joined(problems), nil
}

// refusals notes what Decide found about a change, which each problem names where there are several.
func (s *submission) refusals(found []*problem.Problem, change int, one *planned, h head) []*problem.Problem {
	if len(found) == 0 {
		return nil
	}
	about := s.command.Changes[change].Aggregate.String() + ": "
	for _, p := range found {
		if p.Code == problem.Conflict {
			s.conflicts = append(s.conflicts, conflict{problem: p, newest: h.link})
			continue
		}
		one.broken = true
		if len(s.command.Changes) > 1 && !strings.HasPrefix(p.Detail, about) {
			p.Detail = about + p.Detail
		}
	}
	return found
}

// joined puts conflicts last, which reading again may cure: the first problem gives the answer its code.
func joined(problems []*problem.Problem) *problem.Problem {
	var first, conflicts []*problem.Problem
	for _, p := range problems {
		if p.Code == problem.Conflict {
			conflicts = append(conflicts, p)
		} else {
			first = append(first, p)
		}
	}
	return problem.Join(append(first, conflicts...))
}

func (e *engine) head(a event.AggregateID) (head, error) {
	if h, ok := e.over.heads.get(a); ok {
		return h, nil
	}
	h, err := e.st.head(a)
	if err == nil && h.version > 0 {
		e.over.heads.put(a, h, 0)
	}
	return h, err
}

// admit holds size and budget, then places the plan.
func (e *engine) admit(s *submission, plan []planned) {
	size, events := sizeOf(s, plan)
	if size > e.cfg.MaxBlock {
		s.reply(nil, problem.New(problem.TooLarge, "the command needs about %d bytes in the log, at most %d are allowed", size, e.cfg.MaxBlock).WithHint("send fewer or smaller events at once"))
		return
	}
	if e.open != nil && !e.open.takes(len(plan), size) {
		e.held = s
		return
	}
	spent, err := e.spent(s.claims.ID)
	if err != nil {
		e.doubt(s, err)
		return
	}
	if s.act == nil && !e.withinBudget(s, spent, uint64(events)) {
		return
	}
	if s.command.DryRun {
		e.answerDry(s, dryAnswer(s, plan))
		return
	}
	if s.act == nil {
		spent += uint64(events)
	}
	e.place(s, plan, spent+s.handsBack)
}

// answerDry answers when all that the dry run was decided on is on disk.
func (e *engine) answerDry(s *submission, a *Answer) {
	if b := e.newest(); b != nil {
		b.waiting = append(b.waiting, waiter{then: func() { s.reply(a, nil) }, reply: s.reply})
		return
	}
	s.reply(a, nil)
}

func dryAnswer(s *submission, plan []planned) *Answer {
	a := &Answer{Command: s.command.ID, DryRun: true}
	for _, p := range plan {
		c := CommitAnswer{Type: p.change.Aggregate.Type, ID: p.change.Aggregate.ID, FirstVersion: p.before.version + 1}
		c.Version = p.before.version + event.Version(len(p.events))
		a.Commits = append(a.Commits, c)
	}
	return a
}

// sizeOf is an upper bound of what the plan takes in a block, and the number of its events.
func sizeOf(s *submission, plan []planned) (size, events int) {
	context := len(s.command.ID) + event.MaxActorLen + 2*event.MaxTokenIDLen + len(s.command.Correlation) + len(s.command.Causation) + len(s.command.Traceparent)
	for _, p := range plan {
		size += 352 + context + len(p.change.Aggregate.Type) + len(p.change.Aggregate.ID)
		for i := range p.events {
			size += 96 + len(p.events[i].Type) + len(p.events[i].Payload)
		}
		events += len(p.events)
	}
	return size, events
}

// place puts the plan into the open block; its answer leaves with the block.
func (e *engine) place(s *submission, plan []planned, spent uint64) {
	if e.open == nil {
		e.begin()
	}
	b := e.open
	from := len(b.items)
	tx := event.Transaction{ID: e.random.next(), Count: uint64(len(plan))}
	for i := range plan {
		tx.Index = uint64(i)
		if err := e.placeCommit(b, s, &plan[i], tx); err != nil {
			// Decide let something pass that the format does not allow. Nothing of this block was sent; only this command may fall.
			e.logger.Error().Err(err).Str("command", s.command.ID).Msg("planned commit could not be encoded")
			e.unplace(b, from)
			s.reply(nil, problem.New(problem.Internal, "the command cannot be stored: %v", err))
			return
		}
	}
	for i := from; i < len(b.items); i++ {
		it := b.items[i]
		e.over.claim(it, b.sequence)
		e.over.heads.put(it.commit.Aggregate, it.after, b.sequence)
		if it.forgets != nil {
			e.over.forget(it.forgets, b.sequence)
		}
		if it.moves != nil {
			e.over.heads.put(it.moves.aggregate, it.moves.after, b.sequence)
		}
	}
	e.ordinal++
	e.over.commands[s.command.ID] = place{block: b, digest: s.digest, from: from, to: len(b.items)}
	if !e.isSystem() {
		e.over.spent.put(s.claims.ID, spent, b.sequence)
		if s.handsBack > 0 {
			e.over.back.put(s.claims.ID, s.handedBack, b.sequence)
		}
	}
	b.waiting = append(b.waiting, waiter{from: from, to: len(b.items), reply: s.reply})
}

func (e *engine) begin() {
	e.open = newBlock(e.chain.Sequence+1, e.tree, e.usual)
	e.open.encoded, e.records = e.records, nil
	e.open.Header = event.Header{
		ID: e.random.next(), Previous: e.chain.Block, Epoch: e.chain.Epoch, System: e.under.position, Time: e.blockTime(e.chain),
	}
}

func (e *engine) placeCommit(b *openBlock, s *submission, p *planned, tx event.Transaction) error {
	c := &event.Commit{
		ID: tx.ID, Site: e.cfg.Site, CommandID: s.command.ID, CommandDigest: s.digest, Aggregate: p.change.Aggregate, First: p.before.version + 1,
		Actor: s.actor, TokenID: s.claims.ID, Issuer: s.claims.Issuer,
		Correlation: s.command.Correlation, Causation: s.command.Causation, Traceparent: s.command.Traceparent,
		Transaction: tx, Time: b.Time, Events: p.events,
	}
	if tx.Count > 1 {
		c.ID = e.random.next()
	}
	if p.key != nil {
		commitment := p.key.Commitment()
		c.KeyCommitment = commitment[:]
	}
	if p.back != nil {
		c.Causation, c.KeyCommitment = p.back.causation, p.back.commitment
	}
	for i := range c.Events {
		c.Events[i].Salt = e.random.next()
	}
	leaves := b.hash(c)
	tree := p.before.tree.Append(leaves...)
	c.Root = tree.Root()
	raw, err := b.encode(c)
	if err != nil {
		return err
	}
	after := head{version: c.Last(), cold: p.before.cold, tree: tree, held: p.held, deleted: e.sys.deletes(c.Aggregate.Type, &c.Events[len(c.Events)-1])}
	after.link = event.Link{Sequence: b.sequence, Index: uint32(len(b.items)), Block: b.ID}
	it := item{commit: c, after: after, claims: p.claims, hash: s.hash}
	if err := it.about(e.head); err != nil {
		return err
	}
	b.place(raw, leaves, p.before.link, it)
	return nil
}

// unplace takes back the commits from index from on, and what a commit left that was not placed.
func (e *engine) unplace(b *openBlock, from int) {
	b.Records, b.items, b.leaves, b.hashes, b.bytes = b.Records[:from], b.items[:from], b.leaves[:from], b.hashes[:0], 0
	for i := range b.leaves {
		b.hashes = append(b.hashes, b.leaves[i]...)
		b.bytes += b.Records[i].Size()
	}
	if from == 0 {
		e.open = nil
	}
}

// blockTime is the later of the clock and one nanosecond behind the block before.
func (e *engine) blockTime(before event.Chain) event.Time {
	now := event.Time(e.cfg.Now().UnixNano())
	if before.At > 0 && now <= before.Time {
		return before.Time + 1
	}
	return now
}

// aside runs fn beside the engine, which waits for it when it stops.
func (e *engine) aside(fn func(context.Context)) {
	e.asides.Add(1)
	go func() {
		defer e.asides.Done()
		fn(e.ctx)
	}()
}
