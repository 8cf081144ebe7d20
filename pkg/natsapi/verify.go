package natsapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/streams"
)

// verified is the answer about whole logs (docs/spec/commands.md, section 7).
type verified struct {
	Aggregates uint64          `json:"aggregates"`
	Events     uint64          `json:"events"`
	Blocks     uint64          `json:"blocks"`
	Logs       []verifiedLog   `json:"logs"`
	Failed     []verify.Result `json:"failed"`
}

type verifiedLog struct {
	Log        string `json:"log"`
	Aggregates uint64 `json:"aggregates"`
	Events     uint64 `json:"events"`
	Blocks     uint64 `json:"blocks"`
	Void       int    `json:"void"` // stretches of blocks that never counted

	Verdict verify.Verdict `json:"verdict,omitempty"`
	Covered uint64         `json:"covered,omitempty"` // events under the largest checkpoint that it extends

	Snapshots uint64 `json:"snapshots,omitempty"`           // aggregates whose snapshots were held against the log
	Unchecked string `json:"snapshots-unchecked,omitempty"` // why those of others were not
}

// keptNotes are the checkpoints that somebody kept, in the body of a query that verifies.
func (a *API) keptNotes(k asked) (map[string][]verify.Signed, *problem.Problem) {
	var body struct {
		Checkpoints []string `json:"checkpoints"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	return a.kept(body.Checkpoints)
}

func (a *API) verifyOne(ctx context.Context, k asked) (any, *problem.Problem) {
	kept, p := a.keptNotes(k)
	if p != nil {
		return nil, p
	}
	log, err := a.cfg.Projector.LogHolding(k.about)
	if err != nil {
		return nil, problem.From(err)
	}
	signed, found, p := a.signed(ctx, log, kept)
	if p != nil {
		return nil, p
	}
	r, p := a.verifyWith(ctx, k, signed)
	if p == nil && r.Verdict.Good() && len(found) > 0 {
		r.Verdict, r.Detail = found[0].Verdict, found[0].Detail
	}
	return r, p
}

// verifyWith proves one aggregate, and holds it against checkpoints of its log.
func (a *API) verifyWith(ctx context.Context, k asked, signed []verify.Signed) (none verify.Result, p *problem.Problem) {
	newest, _, _, err := a.cfg.Projector.Newest(ctx, k.about)
	if err != nil {
		return unread(k.about, problem.From(err))
	}
	log, err := a.cfg.Store.Open(ctx, newest.Log)
	if gone := a.gone(newest.Log, err); gone != nil {
		gone.Aggregate = k.about
		return *gone, nil
	}
	if err != nil {
		return none, logProblem(newest.Log, err)
	}
	result, err := verify.Aggregate(ctx, log, newest, k.about)
	if err != nil {
		return none, logProblem(newest.Log, err)
	}
	gone := ""
	if len(result.Keys) > 0 && result.Verdict == verify.OK {
		forgotten, err := a.cfg.Projector.Forgotten(ctx, k.about)
		if err != nil {
			return none, problem.From(err)
		}
		gone = shredded(result.Keys, forgotten)
	}
	if result.Verdict == verify.OK && len(signed) > 0 {
		if result, p = a.hold(ctx, result, signed); p != nil {
			return none, p
		}
	}
	if result.Verdict == verify.OK {
		if p := a.withSnapshots(ctx, k.about, &result); p != nil {
			return none, p
		}
	}
	return worded(result, signed, gone), nil
}

// unread is the verdict about an aggregate that left the hot tier, and lies in what cannot be read; other problems stay what they are.
func unread(about event.AggregateID, p *problem.Problem) (verify.Result, *problem.Problem) {
	if p.Code != problem.Damaged {
		return verify.Result{}, p
	}
	return verify.Result{Aggregate: about, Verdict: verify.Unreadable, Detail: p.Detail}, nil
}

// shredded says which keys of an aggregate's encrypted fields are gone; nothing if none is.
func shredded(keys []event.Hash, forgotten map[event.Hash]bool) string {
	gone := 0
	for _, k := range keys {
		if forgotten[k] {
			gone++
		}
	}
	switch {
	case gone == 0:
		return ""
	case gone == len(keys):
		return "the key of its encrypted fields was destroyed; the proof holds without it"
	}
	return fmt.Sprintf("%d of the %d keys of its encrypted fields were destroyed; the proof holds without them", gone, len(keys))
}

func logProblem(log string, err error) *problem.Problem {
	if errors.Is(err, eventlog.ErrNotFound) {
		return problem.New(problem.NotFound, "there is no log %s", log)
	}
	p := problem.New(problem.Unavailable, "log %s cannot be read: %v", log, err)
	if errors.Is(err, eventlog.ErrAway) {
		return p.WithHint("nothing is damaged by that, and commands are taken: mount the archive, or put back what is missing (docs/archive.md), and try again; `eventful doctor` looks at it")
	}
	return p.WithHint("try again; `eventful status` says how the log is")
}

// verifyLogs proves a type, or the whole site, EventfulDB's own logs included. A type that shares its log is walked aggregate by aggregate, so that it costs
// nothing for the others, and so is each of EventfulDB's own types, which may lie in every log; one that has a log to itself is read in one pass, which costs
// less and checks the log tree too.
func (a *API) verifyLogs(ctx context.Context, k asked) (any, *problem.Problem) {
	names, p := a.logsOf(ctx, k)
	if p != nil {
		return nil, p
	}
	kept, p := a.keptNotes(k)
	if p != nil {
		return nil, p
	}
	if t := k.about.Type; t != "" && (event.IsReserved(t) || !a.cfg.Projector.Alone(t)) {
		return a.verifyShared(ctx, k, names, kept)
	}
	streaming, p := k.headers.flag(streams.HeaderStream, "1")
	if p != nil {
		return nil, p
	}
	out := verified{Failed: []verify.Result{}, Logs: []verifiedLog{}}
	var before uint64
	for _, name := range names {
		log, err := a.cfg.Store.Open(ctx, name)
		if gone := a.gone(name, err); gone != nil {
			out.Failed, out.Logs = append(out.Failed, *gone), append(out.Logs, verifiedLog{Log: name, Verdict: gone.Verdict})
			continue
		}
		if err != nil {
			return nil, logProblem(name, err)
		}
		signed, found, p := a.signed(ctx, name, kept)
		if p != nil {
			return nil, p
		}
		var total uint64
		progress := func(n, of uint64) {
			if total = of; streaming {
				k.more(map[string]uint64{"done": before + n, "total": before + of})
			}
		}
		snapshots := snapshotsOf{a: a, log: name, seen: nowAndThen(func() { progress(total, total) })}
		report, err := verify.Against(ctx, log, verify.Options{Signed: signed, Progress: progress, Derived: snapshots.lies})
		if err != nil {
			return nil, logProblem(name, err)
		}
		before += total
		out.add(report, snapshots)
		out.Failed = append(append(out.Failed, found...), a.known(name)...)
		a.condemn(ctx, name, report)
	}
	return out, nil
}

// nowAndThen calls fn at every thousandth call.
func nowAndThen(fn func()) func() {
	calls := 0
	return func() {
		if calls++; calls%1000 == 0 {
			fn()
		}
	}
}

// verifyShared proves all aggregates of a type in the logs where they lie, by the index and the links. Blocks are not counted: most hold other types too.
func (a *API) verifyShared(ctx context.Context, k asked, names []string, kept map[string][]verify.Signed) (any, *problem.Problem) {
	out := verified{Failed: []verify.Result{}, Logs: []verifiedLog{}}
	signed := map[string][]verify.Signed{}
	for _, name := range names {
		if err := a.cfg.Projector.WaitForLatest(ctx, name); err != nil {
			return nil, problem.From(err)
		}
		of, found, p := a.signed(ctx, name, kept)
		if p != nil {
			return nil, p
		}
		signed[name] = of
		out.Failed = append(append(out.Failed, found...), a.known(name)...)
	}
	for cursor := ""; ; {
		page, err := a.cfg.Projector.List(ctx, projector.Wanted{Types: []string{k.about.Type}, Cursor: cursor, Take: 100})
		if err != nil {
			return nil, problem.From(err)
		}
		for _, one := range page.Aggregates {
			each := k
			each.about.ID = one.ID
			newest, _, _, err := a.cfg.Projector.Newest(ctx, each.about)
			if err != nil {
				return nil, problem.From(err)
			}
			r, p := a.verifyWith(ctx, each, signed[newest.Log])
			if p != nil {
				return nil, p
			}
			out.addOne(r)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
		if streaming, _ := k.headers.flag(streams.HeaderStream, "1"); streaming {
			k.more(map[string]uint64{"done": out.Aggregates, "total": out.Aggregates + 1})
		}
	}
	if len(out.Logs) == 0 && len(names) == 1 {
		out.Logs = append(out.Logs, verifiedLog{Log: names[0], Verdict: verify.OK})
	}
	return out, nil
}

// condemn stops the writing of a log in which messages are missing or cannot be read. What lies in the archive can be put back, and stops no writer.
func (a *API) condemn(ctx context.Context, log string, r verify.Report) {
	i := slices.IndexFunc(r.Damage, func(f verify.Finding) bool { return f.Verdict == verify.Unreadable && !f.Elsewhere })
	if a.cfg.Writer != nil && i >= 0 {
		a.cfg.Writer.Condemn(ctx, log, r.Damage[i].Detail)
	}
}

// known is what the writer of this process knows against a log: that its end is gone is nothing that the log itself could show.
func (a *API) known(log string) []verify.Result {
	if a.cfg.Writer == nil {
		return nil
	}
	var known []verify.Result
	for _, s := range a.cfg.Writer.Status() {
		if s.Log == log && s.Shortened {
			known = append(known, verify.Result{Log: log, Verdict: verify.Truncated, Detail: s.Error})
		}
	}
	if r := a.refusal(log); r != nil {
		known = append(known, *r)
	}
	return known
}

func (a *API) logsOf(ctx context.Context, k asked) ([]string, *problem.Problem) {
	t := k.about.Type
	if t != "" && schema.System(t) == nil {
		log, known := a.cfg.Projector.LogOf(t)
		if !known || event.IsReserved(t) {
			return nil, problem.New(problem.NotFound, "there is no aggregate type %q", t)
		}
		return []string{log}, nil
	}
	if t == "" && !k.claims.AllowsAll(token.ActionVerify) {
		p := problem.New(problem.Forbidden, "the token of %s does not allow verifying everything", k.claims.Actor()).WithHint("verify a type that it allows: --type=…")
		if len(k.claims.AggregateIDs) > 0 {
			p = p.WithHint("it is confined to single aggregates: verify them one by one, `eventful aggregate:verify TYPE/ID`")
		}
		return nil, p
	}
	names, err := a.cfg.Store.List(ctx)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the logs cannot be listed: %v", err)
	}
	for _, s := range a.cfg.Projector.Status() {
		if s.Indexed > 0 && !slices.Contains(names, s.Log) {
			names = append(names, s.Log)
		}
	}
	return names, nil
}

// gone is what is said of a log that the store does not have, and the index has events of; nil where the index has none. What an index holds was acknowledged.
func (a *API) gone(log string, err error) *verify.Result {
	if !errors.Is(err, eventlog.ErrNotFound) {
		return nil
	}
	for _, s := range a.cfg.Projector.Status() {
		if s.Log == log && s.Indexed > 0 {
			return &verify.Result{Log: log, Verdict: verify.Truncated, Detail: fmt.Sprintf("the log is gone: there is no stream of it, and its index was built from %d blocks", s.Indexed)}
		}
	}
	return nil
}

func (v *verified) add(r verify.Report, s snapshotsOf) {
	v.Aggregates += r.Aggregates
	v.Events += r.Events
	v.Blocks += r.Blocks
	v.Logs = append(v.Logs, verifiedLog{Log: r.Log, Aggregates: r.Aggregates, Events: r.Events, Blocks: r.Blocks, Void: len(r.Void), Verdict: r.Verdict(), Covered: r.Covered,
		Snapshots: s.checked, Unchecked: s.unchecked})
	v.Failed = append(v.Failed, r.Failures()...)
}

// addOne counts an aggregate that was proved by itself.
func (v *verified) addOne(r verify.Result) {
	v.Aggregates++
	i := slices.IndexFunc(v.Logs, func(l verifiedLog) bool { return l.Log == r.Log })
	if i < 0 {
		i = len(v.Logs)
		v.Logs = append(v.Logs, verifiedLog{Log: r.Log, Verdict: verify.OK})
	}
	l := &v.Logs[i]
	l.Aggregates++
	switch {
	case !r.Verdict.Good():
		v.Failed = append(v.Failed, r)
		if l.Verdict.Good() {
			l.Verdict = r.Verdict
		}
		return
	case !r.Witnessed && l.Verdict == verify.OK:
		l.Verdict = verify.Unwitnessed
	}
	v.Events += uint64(r.Version)
	l.Events += uint64(r.Version)
}
