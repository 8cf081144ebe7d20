package natsapi

import (
	"context"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
)

// checkpointed is one log in the answer about checkpoints (docs/spec/proofs.md, section 7).
type checkpointed struct {
	Log     string     `json:"log"`
	Size    uint64     `json:"size"`
	Note    string     `json:"note,omitempty"`
	Key     string     `json:"key"`
	Time    *time.Time `json:"time,omitempty"`
	Refused string     `json:"refused,omitempty"`

	Consistency [][]byte `json:"consistency,omitempty"`
}

func (a *API) checkpoint(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Log   string  `json:"log"`
		Since *uint64 `json:"since"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if body.Since != nil && (*body.Since == 0 || body.Log == "") {
		return nil, problem.New(problem.Malformed, "the body: since is the size of an older checkpoint of one log, from 1").WithHint("name the log, and leave since out for its checkpoint alone")
	}
	logs, p := a.verifiable(ctx, k.claims)
	if p != nil {
		return nil, p
	}
	if body.Log != "" {
		if !slices.Contains(logs, body.Log) {
			return nil, problem.New(problem.NotFound, "there is no log %.80q that the token of %s may verify", body.Log, k.claims.Actor()).WithHint("`eventful log:checkpoint` lists those that it may")
		}
		logs = []string{body.Log}
	}
	if body.Since != nil {
		one, p := a.since(ctx, body.Log, *body.Since)
		return map[string]any{"checkpoints": []checkpointed{one}}, p
	}
	out := []checkpointed{}
	for _, log := range logs {
		r, p := a.lastSigned(ctx, log)
		if p != nil && (p.Code != problem.Damaged || body.Log != "") {
			return nil, p
		}
		c := a.checkpointed(log, r)
		if p != nil {
			c.Refused = p.Detail
		}
		out = append(out, c)
	}
	return map[string]any{"checkpoints": out}, nil
}

// checkpointed is what is told of a log's last checkpoint; r nil: there is none.
func (a *API) checkpointed(log string, r *logtree.Record) checkpointed {
	c := checkpointed{Log: log, Key: a.cfg.LogKey.VKey(log)}
	if r != nil {
		at := time.Unix(0, int64(r.Time)).UTC()
		c.Size, c.Note, c.Time = r.Tree.Size(), string(r.Note), &at
	}
	if refusal := a.refusal(log); refusal != nil {
		c.Refused = string(refusal.Verdict) + ": " + refusal.Detail
	}
	return c
}

// sincePatience bounds how long since waits for a checkpoint of that size: one is signed a second, and replicas of the bucket may lag.
const sincePatience = 2 * time.Second

// since is the last checkpoint of a log with the proof that it extends an older one of a size. One that is smaller, still behind some seconds, comes without.
func (a *API) since(ctx context.Context, log string, size uint64) (none checkpointed, p *problem.Problem) {
	waiting, cancel := context.WithTimeout(ctx, sincePatience)
	defer cancel()
	r, p := a.covering(waiting, log, size-1)
	if p != nil && p.Code == problem.Unavailable {
		if r, p = a.lastSigned(ctx, log); p == nil && r != nil && r.Tree.Size() >= size {
			p = problem.New(problem.Unavailable, "the index of log %s has not come to its checkpoint yet", log).WithHint("try again in a moment; `eventful status` says how far it is")
		}
	}
	if p != nil && p.Code == problem.VerificationFailed {
		p = problem.New(p.Code, "log %s does not hold the block of its last checkpoint, so nothing shows that it extends older ones", log).WithHint("`eventful aggregate:verify --all` says what is wrong with the log")
	}
	if p != nil {
		return none, p
	}
	c := a.checkpointed(log, r)
	if r == nil || r.Tree.Size() < size {
		return c, nil
	}
	err := a.cfg.Projector.Tree(ctx, log, func(hashes logtree.Hashes, _ uint64) error {
		found, err := hashes.Consistency(size, r.Tree.Size())
		for i := range found {
			c.Consistency = append(c.Consistency, found[i][:])
		}
		return err
	})
	if err != nil {
		return none, problem.From(err)
	}
	return c, nil
}

// verifiable are the logs of which a token may have checkpoints: all, or those of the types that it names.
func (a *API) verifiable(ctx context.Context, c *token.Claims) ([]string, *problem.Problem) {
	if c.AllowsAll(token.ActionVerify) {
		names, err := a.cfg.Store.List(ctx)
		if err != nil {
			return nil, problem.New(problem.Unavailable, "the logs cannot be listed: %v", err)
		}
		return names, nil
	}
	types := slices.Clone(c.Aggregates)
	for _, id := range c.AggregateIDs {
		types = append(types, id.Type)
	}
	var logs []string
	may := false
	for _, t := range types {
		if t == token.All || !c.Allows(token.ActionVerify, t) {
			continue
		}
		may = true
		if log, known := a.cfg.Projector.LogOf(t); known && !slices.Contains(logs, log) {
			logs = append(logs, log)
		}
	}
	if !may {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow verifying", c.Actor()).WithHint("use a token whose actions hold verify or read")
	}
	slices.Sort(logs)
	return logs, nil
}

// proved is the answer to a query for a proof.
type proved struct {
	Proof   string        `json:"proof"`
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Version event.Version `json:"version"`
	Hash    string        `json:"hash"`
	Log     string        `json:"log"`
	Index   uint64        `json:"index"`
	Size    uint64        `json:"size"`
}

func (a *API) prove(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Hash    string `json:"hash"`
		Content bool   `json:"content"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if p := k.mayProve(); p != nil {
		return nil, p
	}
	e, err := a.cfg.Projector.Find(ctx, body.Hash, func(id event.AggregateID) bool { return k.claims.AllowsAggregate(token.ActionVerify, id) })
	if err != nil {
		return nil, problem.From(err)
	}
	if body.Content && !k.claims.AllowsAggregate(token.ActionRead, e.Aggregate) {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow reading %s", k.claims.Actor(), e.Aggregate).WithHint("ask for the proof without the content")
	}
	proof, size, p := a.proofOf(ctx, e)
	if p != nil {
		return nil, p
	}
	if ev := &e.Commit.Events[e.Event]; body.Content {
		proof.Salt, proof.Payload = ev.Salt, ev.Payload
	}
	return proved{Proof: string(proof.Encode()), Type: e.Aggregate.Type, ID: e.Aggregate.ID, Version: e.Version, Hash: e.Hash.String(), Log: e.At.Log, Index: proof.Index, Size: size}, nil
}

// mayProve refuses tokens that may verify nothing at all, before anything is looked up.
func (k asked) mayProve() *problem.Problem {
	for _, t := range k.claims.Aggregates {
		if k.claims.Allows(token.ActionVerify, t) || t == token.All && k.claims.AllowsAll(token.ActionVerify) {
			return nil
		}
	}
	for _, id := range k.claims.AggregateIDs {
		if k.claims.AllowsAggregate(token.ActionVerify, id) {
			return nil
		}
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow verifying", k.claims.Actor()).WithHint("use a token whose actions hold verify or read")
}

// proofOf builds the proof of an event under the newest checkpoint that covers it, and holds it against the root itself: what the index says is not believed.
func (a *API) proofOf(ctx context.Context, e projector.Proved) (*logtree.Proof, uint64, *problem.Problem) {
	log, err := a.cfg.Store.Open(ctx, e.At.Log)
	if err != nil {
		return nil, 0, logProblem(e.At.Log, err)
	}
	m, err := log.Get(ctx, e.At.Sequence)
	if err != nil {
		return nil, 0, logProblem(e.At.Log, err)
	}
	block, err := event.DecodeHeader(m.Data)
	if err != nil || int(e.At.Index) >= len(block.Records) || block.ID != e.At.Block {
		return nil, 0, problem.New(problem.Damaged, "log %s: message %d does not hold the event any more", e.At.Log, e.At.Sequence).WithHint("`eventful aggregate:verify %s` says what is wrong", e.Aggregate)
	}
	index, err := leafOf(block, e.At.Index, e.Event)
	if err != nil {
		return nil, 0, problem.New(problem.Damaged, "log %s: message %d: %v", e.At.Log, e.At.Sequence, err)
	}
	record, p := a.covering(ctx, e.At.Log, index)
	if p != nil {
		return nil, 0, p
	}
	proof := &logtree.Proof{Index: index, Note: record.Note, Entry: e.Commit.AppendEntry(nil, e.Event)}
	err = a.cfg.Projector.Tree(ctx, e.At.Log, func(hashes logtree.Hashes, _ uint64) (err error) {
		proof.Hashes, err = hashes.Inclusion(index, record.Tree.Size())
		return err
	})
	if err != nil {
		return nil, 0, problem.From(err)
	}
	if _, _, err := proof.Check(a.cfg.LogKey.VKey(e.At.Log)); err != nil {
		return nil, 0, problem.New(problem.VerificationFailed, "the event is not under the last checkpoint of log %s: %v", e.At.Log, err).WithHint("`eventful aggregate:verify --all` says what is wrong with the log")
	}
	return proof, record.Tree.Size(), nil
}

// entryBytes is how much one answer with entries holds, about.
const entryBytes = 256 << 10

func (a *API) entries(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Log  string `json:"log"`
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if !k.claims.AllowsAll(token.ActionVerify) {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow verifying everything, and entries name every aggregate of a log", k.claims.Actor()).WithHint("`eventful log:prove` proves single events")
	}
	var first event.Hash
	err := a.cfg.Projector.Tree(ctx, body.Log, func(hashes logtree.Hashes, size uint64) error {
		if body.From >= body.To || body.To > size {
			return problem.New(problem.Malformed, "entries %d to %d of log %.80q, which has %d", body.From, body.To, body.Log, size).WithHint("from is below to, and to at most the size of a checkpoint")
		}
		leaf, err := hashes(0, body.From, body.From+1)
		if err == nil {
			first = leaf[0]
		}
		return err
	})
	if err != nil {
		return nil, problem.From(err)
	}
	at, err := a.cfg.Projector.Find(ctx, first.String(), func(event.AggregateID) bool { return true })
	if err != nil {
		return nil, problem.From(err)
	}
	page := entryPage{next: body.From, to: body.To}
	if err := page.read(ctx, a.cfg.Store, at.At); err != nil {
		return nil, logProblem(body.Log, err)
	}
	return map[string]any{"from": body.From, "entries": page.entries}, nil
}

// entryPage collects entries of a log in the order of its tree.
type entryPage struct {
	next, to uint64
	entries  [][]byte
	bytes    int
}

func (p *entryPage) read(ctx context.Context, store eventlog.Store, at event.Position) error {
	log, err := store.Open(ctx, at.Log)
	if err != nil {
		return err
	}
	m, err := log.Get(ctx, at.Sequence)
	if err != nil {
		return err
	}
	b, commits, err := event.DecodeBlock(m.Data, at.Sequence)
	if err != nil {
		return err
	}
	if p.take(b, commits); p.full() {
		return nil
	}
	reader, err := eventlog.Read(ctx, log, event.ChainAt(at.Sequence, b.Header))
	if err != nil {
		return err
	}
	defer reader.Stop()
	for !p.full() {
		found, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if found.Standing == event.Counts {
			p.take(found.Block, found.Commits)
		}
	}
	return nil
}

func (p *entryPage) full() bool { return p.next >= p.to || p.bytes >= entryBytes }

// take adds the entries of a block that are due.
func (p *entryPage) take(b *event.Block, commits []*event.Commit) {
	index := b.TreeSize
	for _, c := range commits {
		index -= uint64(len(c.Events))
	}
	for _, c := range commits {
		for i := range c.Events {
			if index == p.next && !p.full() {
				entry := c.AppendEntry(nil, i)
				p.entries, p.bytes = append(p.entries, entry), p.bytes+len(entry)
				p.next++
			}
			index++
		}
	}
}
