package natsapi

import (
	"context"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify"
)

// takeSnapshot stores a snapshot with a comment (docs/spec/commands.md, section 14). Reading is not enough: it keeps a text of the asker's, and another one may give way to it.
func (a *API) takeSnapshot(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Version *event.Version `json:"version"`
		Comment string         `json:"comment"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if !k.claims.AllowsAggregate(token.ActionWrite, k.about) && !k.claims.AllowsAggregate(token.ActionArchive, k.about) {
		return nil, problem.New(problem.Forbidden, "the token of %s may read %s, and a snapshot is kept for who may write or archive it", k.claims.Actor(), k.about).
			WithHint("use a token with the action write or archive besides read")
	}
	var version event.Version // 0: the newest
	if body.Version != nil {
		if version = *body.Version; version == 0 {
			return nil, problem.New(problem.Malformed, "the body: version is 0, and the first one is 1").WithHint("leave version out for the newest")
		}
	}
	if !utf8.ValidString(body.Comment) || len(body.Comment) > snapshot.MaxCommentLen || strings.IndexFunc(body.Comment, unicode.IsControl) >= 0 {
		return nil, problem.New(problem.Malformed, "a comment has at most %d bytes of UTF-8 without control characters", snapshot.MaxCommentLen)
	}
	return answered(a.cfg.Projector.TakeSnapshot(ctx, k.about, version, body.Comment, k.claims.Actor()))
}

func (a *API) snapshots(ctx context.Context, k asked) (any, *problem.Problem) {
	if p := k.body(&struct{}{}); p != nil {
		return nil, p
	}
	all, err := a.cfg.Projector.Snapshots(ctx, k.about)
	return answered(map[string]any{"snapshots": all}, err)
}

// withSnapshots holds the snapshots of an aggregate that was proven against it, and names the first that lies.
func (a *API) withSnapshots(ctx context.Context, about event.AggregateID, r *verify.Result) *problem.Problem {
	lies, err := a.cfg.Projector.CheckSnapshots(ctx, about, r.Version, r.Root)
	if err != nil {
		return problem.From(err)
	}
	if len(lies) == 0 {
		return nil
	}
	lying(r, lies)
	return nil
}

// lying turns the verdict on an aggregate that was proven into one on its snapshots.
func lying(r *verify.Result, lies []projector.Lie) {
	var named []string
	for _, l := range lies {
		what := "the snapshot at version " + strconv.FormatUint(uint64(l.Version), 10)
		if l.Version == 0 {
			what = "the snapshot that was taken by number"
		}
		named = append(named, what+" lies: "+l.Detail)
	}
	r.Verdict, r.Version, r.Snapshots = verify.Tampered, lies[0].Version, true
	r.Detail = strings.Join(named, "; ") + "; the events themselves are proven"
}

// snapshotsOf is how the snapshots of a log stand that is verified as a whole.
type snapshotsOf struct {
	a    *API
	log  string
	seen func()

	checked   uint64 // aggregates
	unchecked string // why not all were; empty: all were
}

// lies is verify.Options.Derived. What keeps it from looking at them does not keep the log from being verified: it is told.
func (s *snapshotsOf) lies(ctx context.Context, proven verify.Proven) (failed []verify.Result) {
	found, err := s.a.cfg.Projector.CheckLogSnapshots(ctx, projector.LogCheck{Log: s.log, Proven: proven, Seen: s.seen})
	s.checked += found.Aggregates
	if err != nil {
		s.unchecked = problem.From(err).Detail
	}
	for _, l := range found.Liars {
		r := verify.Result{Log: s.log, Aggregate: l.Aggregate}
		lying(&r, l.Lies)
		failed = append(failed, r)
	}
	return failed
}
