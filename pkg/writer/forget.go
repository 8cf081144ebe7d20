package writer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Certificate says that the key of an aggregate's encrypted fields was destroyed (docs/spec/commands.md, section 12).
type Certificate struct {
	Aggregate     string `json:"aggregate"` // type/id
	KeyCommitment string `json:"key-commitment"`
	Forgotten     Record `json:"forgotten,omitzero"` // from here on nothing is sealed under the key; zero: there was none
	Done          Record `json:"done"`               // the key, and what was waiting, was gone
	Removed
	Repeated bool `json:"repeated"` // it was given before
}

// Record is where an act of forgetting stands in a log, and whose it is.
type Record struct {
	Position string `json:"position"`
	Hash     string `json:"hash"` // leaf hash
	Time     string `json:"time"`
	Actor    string `json:"actor"`

	fields map[string]string
}

// Removed counts what was removed besides the key: staged events, refused commands and waiting commands about the aggregate.
type Removed struct {
	Staged  int `json:"staged"`
	Refused int `json:"refused"`
	Letters int `json:"letters"`
}

// forgetCall asks the log of an aggregate to forget a key. Without a commitment it only asks which key was forgotten last.
type forgetCall struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Commitment string `json:"commitment,omitempty"`
}

// forgottenKeyRecord is the answer.
type forgottenKeyRecord struct {
	Commitment string `json:"commitment"`
	Record     Record `json:"record"`
}

// Encrypts reports whether a type has encrypted fields.
func (w *Writer) Encrypts(aggregateType string) bool {
	sch := w.sys.schemaOf(aggregateType)
	return sch != nil && len(sch.EncryptedFields()) > 0
}

// Forgettable gives the commitment of the key that Forget would destroy; empty: the aggregate has none that can be read. Of a lost one Forget finds it in the log.
func (w *Writer) Forgettable(ctx context.Context, a event.AggregateID) (string, *problem.Problem) {
	if w.sys.schemaOf(a.Type) == nil || event.IsReserved(a.Type) {
		return "", w.unknownType(a.Type)
	}
	if w.cfg.Keys == nil {
		return "", problem.New(problem.Unavailable, "this process holds no keys of encrypted fields")
	}
	w.cfg.Keys.Drop(a)
	key, err := w.cfg.Keys.Get(ctx, a)
	if err != nil && !fieldkey.Unreadable(err) {
		return "", problem.New(problem.Unavailable, "the key of %s cannot be reached: %v", a, err)
	}
	if key == nil {
		return "", nil
	}
	return key.Commitment().String(), nil
}

// askForgotten has the log of an aggregate forget a key, or, without a commitment, say which one was forgotten last; nil: none was.
func (w *Writer) askForgotten(ctx context.Context, c *token.Claims, a event.AggregateID, commitment string) (*forgottenKeyRecord, *problem.Problem) {
	log := logOf(w.sys.schemaOf(a.Type))
	r, p := w.ask(ctx, log, verbForget, call{Token: c, Sequence: w.sys.now.Load().position.Sequence, Forget: &forgetCall{Type: a.Type, ID: a.ID, Commitment: commitment}})
	if p != nil {
		return nil, p
	}
	return r.Forgotten, nil
}

// NothingToForget is the refusal to forget what was never encrypted.
func (w *Writer) NothingToForget(a event.AggregateID) *problem.Problem {
	if w.Encrypts(a.Type) {
		return problem.New(problem.NotFound, "%s has no encrypted value that could be forgotten", a).
			WithHint("nothing was touched; values that were stored before a field was encrypted stay as they are")
	}
	return problem.New(problem.NotFound, "the type %s has no encrypted field, so there is nothing to forget of %s", a.Type, a).
		WithHint("nothing was touched; `eventful schema:alter %s --field=NAME --pii` encrypts new values, and `eventful aggregate:discard` drops what is staged", a.Type)
}

// Forget destroys the key of an aggregate's encrypted fields, and gives the certificate. remove removes what is staged, refused or waiting for the aggregate, and
// may be called again. The caller has checked that c may administer the aggregate.
//
// Side effects in order; a crash behind each leaves what the next call, of whomever, goes on with: (1) the log of the aggregate records that the key is
// forgotten: nothing is sealed under it any more, readers do not ask for it, and the next command makes another one. (2) The key is erased. (3) remove. (4) The
// system log records that it is done, which is the certificate. Behind that a call changes nothing and gives the certificate again. not_found, and nothing was touched: the
// aggregate has no key, and never had one.
func (w *Writer) Forget(ctx context.Context, c *token.Claims, a event.AggregateID, remove func(context.Context) (Removed, *problem.Problem)) (*Certificate, *problem.Problem) {
	commitment, p := w.Forgettable(ctx, a)
	if p != nil {
		return nil, p
	}
	r, p := w.askForgotten(ctx, c, a, commitment)
	if p == nil && r == nil {
		p = w.NothingToForget(a)
	}
	if p != nil {
		return nil, p
	}
	hash, err := event.ParseHash(r.Commitment)
	if err != nil {
		return nil, problem.New(problem.Internal, "the record of forgetting %s cannot be read: %v", a, err)
	}
	if err := w.cfg.Keys.Destroy(ctx, a, hash); err != nil {
		return nil, problem.New(problem.Unavailable, "the key of %s could not be destroyed: %v", a, err).WithHint("run the same command again: it goes on where it was")
	}
	removed, p := remove(ctx)
	if p != nil {
		return nil, p
	}
	return w.certify(ctx, c, a, r, removed)
}

// RemoveUnstored removes what is staged, refused or waiting for an aggregate that has no key, of a type with encrypted fields; n is how much that is. The caller has checked
// that c may administer the aggregate.
//
// Side effects in order, and what a crash behind each leaves: (1) the system log records it. (2) remove: the next call records what it still finds, and goes on.
func (w *Writer) RemoveUnstored(ctx context.Context, c *token.Claims, a event.AggregateID, n Removed, remove func(context.Context) (Removed, *problem.Problem)) (*Certificate, *problem.Problem) {
	about := event.AggregateID{Type: typeCertificate, ID: schema.ForgottenID(a)}
	answer, p := w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(typeCertificate, about.ID, eventUnstored, map[string]string{
			"type": a.Type, "id": a.ID, "staged": decimal(uint64(n.Staged)), "refused": decimal(uint64(n.Refused)), "letters": decimal(uint64(n.Letters)),
		}), nil
	})
	if p != nil {
		return nil, p
	}
	link, p := linkOf(answer, event.Link{})
	if p != nil {
		return nil, p
	}
	r, p := w.system.recordOf(ctx, link, func(*Record) bool { return true })
	if p != nil {
		return nil, p
	}
	removed, p := remove(ctx)
	if p != nil {
		return nil, p
	}
	return &Certificate{Aggregate: a.String(), Done: *r, Removed: removed}, nil
}

// forgetHere records in a log that a key is forgotten, and with it every key that sealed values of the aggregate, was not forgotten and is not there any more;
// repeating it changes nothing.
func (w *Writer) forgetHere(ctx context.Context, e *engine, c *token.Claims, f forgetCall) (*forgottenKeyRecord, *problem.Problem) {
	a := event.AggregateID{Type: f.Type, ID: f.ID}
	if err := a.Check(); err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	lost, p := w.lostKeys(ctx, e, c, a, f.Commitment)
	if p != nil {
		return nil, p
	}
	for _, commitment := range lost {
		if _, p := w.forgetOne(ctx, e, c, forgetCall{Type: f.Type, ID: f.ID, Commitment: commitment.String()}); p != nil {
			return nil, p
		}
	}
	return w.forgetOne(ctx, e, c, f)
}

// lostKeys are the commitments that stand in commits of an aggregate besides the present one, and were not forgotten. It reads all its commits, or, where there is a present key, those that it can.
func (w *Writer) lostKeys(ctx context.Context, e *engine, c *token.Claims, a event.AggregateID, present string) (lost []event.Hash, p *problem.Problem) {
	link, known := event.Link{}, map[event.Hash]bool{}
	ask := func(found []event.Hash) *problem.Problem {
		_, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
			h, err := e.head(a)
			link = h.link
			for _, commitment := range found {
				forgotten, err2 := e.isForgotten(a, commitment)
				known[commitment], err = forgotten, errors.Join(err, err2)
			}
			if err != nil {
				return nil, problem.New(problem.Unavailable, "log %s: what it forgot cannot be read", e.name)
			}
			return nil, nil
		})
		return p
	}
	if p := ask(nil); p != nil {
		return nil, p
	}
	var found []event.Hash
	for link.Sequence > 0 {
		b, commits, err := e.readBlock(ctx, link.Sequence, link.Block)
		if err != nil && present != "" {
			break // what is in the archive may be out of reach: the present key is forgotten all the same
		}
		if err != nil || int(link.Index) >= len(commits) {
			return nil, problem.New(problem.Unavailable, "log %s: the commits of %s cannot be read: %v", e.name, a, err)
		}
		var h event.Hash
		if n := copy(h[:], commits[link.Index].KeyCommitment); n == len(h) && h.String() != present && !slices.Contains(found, h) {
			found = append(found, h)
		}
		link = b.Records[link.Index].Prev
	}
	if found, p = w.notThere(ctx, a, found); p != nil || len(found) == 0 {
		return nil, p
	}
	if p := ask(found); p != nil {
		return nil, p
	}
	return slices.DeleteFunc(found, func(h event.Hash) bool { return known[h] }), nil
}

// notThere are those of some commitments whose key is not the aggregate's present one: another forgetting may be under way, behind which a new key was made.
func (w *Writer) notThere(ctx context.Context, a event.AggregateID, of []event.Hash) ([]event.Hash, *problem.Problem) {
	if w.cfg.Keys == nil || len(of) == 0 {
		return nil, nil
	}
	w.cfg.Keys.Drop(a)
	key, err := w.cfg.Keys.Get(ctx, a)
	if err != nil && !fieldkey.Unreadable(err) {
		return nil, problem.New(problem.Unavailable, "the key of %s cannot be reached: %v", a, err)
	}
	return slices.DeleteFunc(of, func(h event.Hash) bool { return key != nil && key.Commitment() == h }), nil
}

// forgetOne records that one key is forgotten; without a commitment it gives what was forgotten last.
func (w *Writer) forgetOne(ctx context.Context, e *engine, c *token.Claims, f forgetCall) (*forgottenKeyRecord, *problem.Problem) {
	a := event.AggregateID{Type: f.Type, ID: f.ID}
	var commitment event.Hash
	var err error
	if f.Commitment != "" {
		if commitment, err = event.ParseHash(f.Commitment); err != nil {
			return nil, problem.New(problem.Malformed, "%v", err)
		}
	}
	about := event.AggregateID{Type: typeForgotten, ID: schema.ForgottenID(a)}
	var newest event.Link
	answer, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		known, err := e.isForgotten(a, commitment)
		if err == nil && !known && f.Commitment != "" {
			return oneEvent(typeForgotten, about.ID, eventForgotten, map[string]string{"type": a.Type, "id": a.ID, "commitment": f.Commitment}), nil
		}
		h, err2 := e.head(about)
		if err != nil || err2 != nil {
			return nil, problem.New(problem.Unavailable, "log %s: what it forgot cannot be read", e.name)
		}
		newest = h.link
		return nil, nil
	})
	if p != nil {
		return nil, p
	}
	if newest, p = linkOf(answer, newest); p != nil || newest.Sequence == 0 {
		return nil, p
	}
	r, p := e.recordOf(ctx, newest, func(r *Record) bool { return f.Commitment == "" || r.fields["commitment"] == f.Commitment })
	if p != nil || r == nil {
		return nil, p
	}
	return &forgottenKeyRecord{Commitment: r.fields["commitment"], Record: *r}, nil
}

// linkOf is where an act of one commit stands: the one that the answer tells, else the one that was found.
func linkOf(answer *Answer, found event.Link) (event.Link, *problem.Problem) {
	if answer == nil || len(answer.Commits) == 0 {
		return found, nil
	}
	at, err := event.ParsePosition(answer.Commits[0].Position)
	if err != nil {
		return event.Link{}, problem.New(problem.Internal, "where an act stands cannot be read: %v", err)
	}
	return event.Link{Sequence: at.Sequence, Index: at.Index, Block: at.Block}, nil
}

// headInSystem is what the system log holds of an aggregate, read by an act that stores nothing.
func (w *Writer) headInSystem(ctx context.Context, c *token.Claims, about event.AggregateID) (head, *problem.Problem) {
	var h head
	_, p := w.act(ctx, w.system, c, func(*submission) (_ []aggregate.Change, p *problem.Problem) {
		var err error
		if h, err = w.system.head(about); err != nil {
			p = problem.New(problem.Unavailable, "the system log cannot be read: %v", err)
		}
		return nil, p
	})
	if p != nil {
		return head{}, p // the act may still be decided: what it writes is not ours to read
	}
	return h, nil
}

// recordOf goes back by the links from a commit to the first record that is wanted; nil: none is.
func (e *engine) recordOf(ctx context.Context, link event.Link, wanted func(*Record) bool) (*Record, *problem.Problem) {
	for link.Sequence > 0 {
		b, commits, err := e.readBlock(ctx, link.Sequence, link.Block)
		if err != nil || int(link.Index) >= len(commits) {
			return nil, problem.New(problem.Unavailable, "log %s: a record of forgetting cannot be read: %v", e.name, err)
		}
		c := commits[link.Index]
		i := len(c.Events) - 1
		fields, err := fieldsOf(&c.Events[i])
		if err != nil {
			return nil, problem.New(problem.Internal, "a record of forgetting cannot be read: %v", err)
		}
		r := &Record{
			Position: event.Position{Log: e.name, Sequence: link.Sequence, Index: link.Index, Block: link.Block}.String(), Hash: c.Leaf(i).String(),
			Time: time.Unix(0, int64(c.Time)).UTC().Format(time.RFC3339Nano), Actor: c.Actor, fields: fields,
		}
		if wanted(r) {
			return r, nil
		}
		link = b.Records[link.Index].Prev
	}
	return nil, nil
}

// certify records in the system log that forgetting is done, once, and words the certificate.
func (w *Writer) certify(ctx context.Context, c *token.Claims, a event.AggregateID, f *forgottenKeyRecord, removed Removed) (*Certificate, *problem.Problem) {
	about := event.AggregateID{Type: typeCertificate, ID: schema.ForgottenID(a)}
	for repeated := true; ; repeated = false {
		h, p := w.headInSystem(ctx, c, about)
		if p != nil {
			return nil, p
		}
		r, p := w.system.recordOf(ctx, h.link, func(r *Record) bool { return r.fields["commitment"] == f.Commitment })
		if p != nil {
			return nil, p
		}
		if r != nil {
			return certificate(a, f, r, repeated), nil
		}
		_, p = w.act(ctx, w.system, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
			changes := oneEvent(typeCertificate, about.ID, eventForgetDone, map[string]string{
				"type": a.Type, "id": a.ID, "commitment": f.Commitment, "position": f.Record.Position, "hash": f.Record.Hash,
				"staged": decimal(uint64(removed.Staged)), "refused": decimal(uint64(removed.Refused)), "letters": decimal(uint64(removed.Letters)),
			})
			changes[0].Expected = aggregate.Exactly(h.version)
			return changes, nil
		})
		if p != nil && p.Code != problem.Conflict { // somebody else did the same: look what there is
			return nil, p
		}
	}
}

func certificate(a event.AggregateID, f *forgottenKeyRecord, done *Record, repeated bool) *Certificate {
	count := func(name string) int {
		n, _ := parseUnits(done.fields[name]) // the schema holds that it is a number
		return int(n)
	}
	return &Certificate{
		Aggregate: a.String(), KeyCommitment: f.Commitment, Forgotten: f.Record, Done: *done, Repeated: repeated,
		Removed: Removed{Staged: count("staged"), Refused: count("refused"), Letters: count("letters")},
	}
}
