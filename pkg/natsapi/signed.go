package natsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/streams"
)

// maxKept is the number of checkpoints that a query may bring along.
const maxKept = 64

// lastSigned is the last checkpoint of a log; nil: there is none yet. One that cannot be read is a problem that names it.
func (a *API) lastSigned(ctx context.Context, log string) (*logtree.Record, *problem.Problem) {
	if a.cfg.LogKey == nil {
		return nil, problem.New(problem.Unavailable, "this process has no key of the log trees")
	}
	value, revision, err := a.cfg.Checkpoints.Get(ctx, streams.CheckpointKey(log))
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the checkpoint of log %s cannot be read: %v", log, err).WithHint("try again in a moment")
	}
	if revision == 0 {
		return nil, nil
	}
	r, err := logtree.DecodeRecord(value, a.cfg.LogKey.VKey(log))
	if err != nil {
		return nil, problem.New(problem.Damaged, "the stored checkpoint of log %s: %v", log, err).WithHint("somebody wrote it who has no log key; keep a copy of the bucket CHECKPOINTS before anything else")
	}
	return r, nil
}

// kept reads the checkpoints that a query brings along, by log: those that somebody kept. Each must be signed by this site's key.
func (a *API) kept(notes []string) (map[string][]verify.Signed, *problem.Problem) {
	out := map[string][]verify.Signed{}
	if len(notes) > maxKept {
		return nil, problem.New(problem.TooLarge, "%d checkpoints, at most %d are compared at once", len(notes), maxKept)
	}
	for _, text := range notes {
		if a.cfg.LogKey == nil {
			return nil, problem.New(problem.Unavailable, "this process has no key of the log trees")
		}
		peeked, err := logtree.Peek([]byte(text))
		if err != nil {
			return nil, problem.New(problem.Malformed, "the checkpoint: %v", err).WithHint("give the file as `eventful log:checkpoint` wrote it")
		}
		_, log, err := logtree.ParseOrigin(peeked.Origin)
		if err != nil {
			return nil, problem.New(problem.Malformed, "the checkpoint: %v", err)
		}
		c, err := logtree.Open([]byte(text), a.cfg.LogKey.VKey(log))
		if err != nil {
			return nil, problem.New(problem.Malformed, "the checkpoint: %v", err).WithHint("it is of another site, or was changed; `eventful log:checkpoint --keys` shows the keys of this one")
		}
		out[log] = append(out[log], verify.Signed{Size: c.Size, Root: c.Root, Witnessed: true})
	}
	return out, nil
}

// signed are the checkpoints that a log is held against: its own last one, and those that somebody kept. A stored one that cannot be read is a finding.
func (a *API) signed(ctx context.Context, log string, kept map[string][]verify.Signed) (all []verify.Signed, found []verify.Result, p *problem.Problem) {
	all = kept[log]
	if a.cfg.LogKey == nil {
		return all, nil, nil
	}
	switch r, p := a.lastSigned(ctx, log); {
	case p != nil && p.Code == problem.Damaged:
		found = append(found, verify.Result{Log: log, Verdict: verify.Unreadable, Detail: p.Detail})
	case p != nil:
		return nil, nil, p
	case r != nil:
		all = append(all[:len(all):len(all)], verify.Signed{Size: r.Tree.Size(), Root: r.Tree.Root()})
	}
	return all, found, nil
}

// hold holds an aggregate, everything of which follows from the stored bytes, against checkpoints of its log: each of its events that one vouches for must lie
// under its root.
func (a *API) hold(ctx context.Context, r verify.Result, signed []verify.Signed) (verify.Result, *problem.Problem) {
	var largest uint64
	for _, s := range signed {
		largest = max(largest, s.Size)
	}
	fewer := false
	err := a.cfg.Projector.Tree(ctx, r.Log, func(_ logtree.Hashes, size uint64) error { fewer = size < largest; return nil })
	if err == nil && fewer {
		err = a.cfg.Projector.WaitForLatest(ctx, r.Log)
	}
	if err == nil {
		err = a.cfg.Projector.Tree(ctx, r.Log, func(hashes logtree.Hashes, size uint64) error {
			for _, s := range signed {
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("prove %s: %w", r.Aggregate, err)
				}
				if s.Size > size {
					r.Verdict, r.Detail = verify.Truncated, fmt.Sprintf("the log has %d events, a signed checkpoint vouches for %d", size, s.Size)
					return nil
				}
				tree, err := hashes.Tree(s.Size)
				if err != nil {
					return err
				}
				if root := tree.Root(); root != s.Root {
					r.Verdict = verify.Forked
					r.Detail = fmt.Sprintf("the first %d events of its log give the root %s, a signed checkpoint states %s: the log held other events when it was signed, of this aggregate or of others", s.Size, root, s.Root)
					return nil
				}
				if err := under(&r, hashes, s); err != nil || !r.Verdict.Good() {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return r, problem.From(err)
	}
	return r, nil
}

// under proves the leaves of an aggregate that a checkpoint vouches for.
func under(r *verify.Result, hashes logtree.Hashes, s verify.Signed) error {
	covered := uint64(0)
	for _, leaf := range r.Leaves {
		if leaf.Index >= s.Size {
			break
		}
		path, err := hashes.Inclusion(leaf.Index, s.Size)
		if err != nil {
			return err
		}
		if err := logtree.CheckInclusion(logtree.Checkpoint{Size: s.Size, Root: s.Root}, leaf.Index, leaf.Hash, path); err != nil {
			r.Verdict, r.Version = verify.Forked, leaf.Version
			r.Detail = fmt.Sprintf("version %d is not under the signed checkpoint of %d events", leaf.Version, s.Size)
			return nil
		}
		covered++
	}
	r.Covered = max(r.Covered, covered)
	r.Witnessed = r.Witnessed || s.Witnessed && covered == uint64(len(r.Leaves))
	return nil
}

// worded gives the last word on an aggregate that holds: who vouches for it, and whether keys of its encrypted fields are gone.
func worded(r verify.Result, signed []verify.Signed, gone string) verify.Result {
	if r.Verdict != verify.OK {
		return r
	}
	all := uint64(len(r.Leaves))
	switch {
	case r.Witnessed:
	case r.Covered == all && all > 0:
		r.Verdict, r.Detail = verify.Unwitnessed, "the site's own checkpoint covers all events; none that others kept does"
	case len(signed) == 0:
		r.Verdict, r.Detail = verify.Unwitnessed, "there is no checkpoint of its log yet"
	default:
		r.Verdict, r.Detail = verify.Unwitnessed, fmt.Sprintf("a checkpoint covers the first %d of its %d events", r.Covered, all)
	}
	if gone != "" {
		r.Verdict, r.Detail = verify.Shredded, gone
	}
	return r
}

// proofPatience bounds how long a proof waits for the checkpoint that covers its event, lookEvery is how often it looks.
const (
	proofPatience = 5 * time.Second
	lookEvery     = 50 * time.Millisecond
)

// covering waits for a checkpoint that covers a leaf, and for the index to hold its tree.
func (a *API) covering(ctx context.Context, log string, index uint64) (*logtree.Record, *problem.Problem) {
	ctx, cancel := context.WithTimeout(ctx, proofPatience)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r, p := a.lastSigned(ctx, log)
		if p != nil && p.Code != problem.Unavailable {
			return nil, p
		}
		if r != nil && r.Tree.Size() > index {
			switch err := a.cfg.Projector.WaitFor(ctx, r.Position); {
			case errors.Is(err, &problem.Problem{Code: problem.NotFound}):
				return nil, problem.New(problem.VerificationFailed, "the log does not hold the block of its last checkpoint, so the event is not under the last checkpoint of log %s", log).
					WithHint("`eventful aggregate:verify --all` says what is wrong with the log")
			case err != nil:
				return nil, problem.From(err)
			}
			return r, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if p != nil {
				return nil, p
			}
			return nil, problem.New(problem.Unavailable, "no checkpoint of log %s covers the event yet%s", log, a.whyNot(log)).WithHint("try again in a moment; `eventful status` says whether checkpoints are signed")
		}
	}
}

// whyNot says why this process signs no checkpoints of a log.
func (a *API) whyNot(log string) string {
	if r := a.refusal(log); r != nil {
		return ": none are signed, as the log contradicts an earlier one: " + r.Detail
	}
	return ""
}

// refusal is what the signer of this process has against a log; nil: nothing.
func (a *API) refusal(log string) *verify.Result {
	if a.cfg.Signer == nil {
		return nil
	}
	for _, s := range a.cfg.Signer.Status() {
		if s.Log == log && s.Refusal != nil {
			return &verify.Result{Log: log, Verdict: s.Refusal.Verdict, Detail: "checkpoints are not signed any more: " + s.Refusal.Detail}
		}
	}
	return nil
}

// leafOf is the index of an event in the tree of its log, as its block states it.
func leafOf(b *event.Block, commit uint32, n int) (uint64, error) {
	index := b.TreeSize
	for _, r := range b.Records[commit:] {
		events, err := event.EventsOf(r.Raw)
		if err != nil || events > index {
			return 0, fmt.Errorf("the block's tree has %d leaves, fewer than events: %w", b.TreeSize, event.ErrDecode)
		}
		index -= events
	}
	return index + uint64(n), nil
}
