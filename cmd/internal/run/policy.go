package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Policies say what is archived without being asked: of logs by name, and of all others.
type Policies struct {
	logs map[string]archive.Policy
	rest archive.Policy
}

// ParsePolicies reads `VALUE` for every log, `LOG=VALUE` for one, or several with commas between: of how long ago, of how many bytes, and of how long nothing was stored.
func ParsePolicies(olderThan, largerThan, idleFor string) (Policies, error) {
	p := Policies{logs: make(map[string]archive.Policy)}
	ago := func(to *time.Duration, value string) (err error) {
		if *to, err = time.ParseDuration(value); err == nil && *to <= 0 {
			err = fmt.Errorf("%q is no time ago", value)
		}
		return err
	}
	err := p.each("archive-older-than", olderThan, func(to *archive.Policy, value string) error { return ago(&to.OlderThan, value) })
	if err == nil {
		err = p.each("archive-idle-for", idleFor, func(to *archive.Policy, value string) error { return ago(&to.IdleFor, value) })
	}
	if err != nil {
		return p, err
	}
	return p, p.each("archive-larger-than", largerThan, func(to *archive.Policy, value string) error {
		n, err := space.Parse(value)
		to.LargerThan = n
		if err == nil && n == 0 {
			err = fmt.Errorf("%q is no size", value)
		}
		return err
	})
}

// each reads one setting.
func (p *Policies) each(name, text string, set func(to *archive.Policy, value string) error) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		log, value, named := strings.Cut(part, "=")
		to := p.rest
		if named {
			to = p.logs[log]
		} else {
			value = part
		}
		err := set(&to, value)
		if named {
			err = firstOf(event.CheckLog(log), err)
			p.logs[log] = to
		} else {
			p.rest = to
		}
		if err != nil {
			return problem.New(problem.Malformed, "%s: %.80q: %v", name, part, err).WithHint("for example 720h, or patient=720h,ward=24h; sizes as 10GiB")
		}
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// empty reports whether no events are ever archived.
func (p Policies) empty() bool {
	for _, own := range p.logs {
		if !own.Empty() {
			return false
		}
	}
	return p.rest.Empty()
}

// of is the policy of a log: what is said of it by name goes before what is said of all.
func (p Policies) of(log string) archive.Policy {
	own := p.logs[log]
	if own.OlderThan == 0 {
		own.OlderThan = p.rest.OlderThan
	}
	if own.LargerThan == 0 {
		own.LargerThan = p.rest.LargerThan
	}
	if own.IdleFor == 0 {
		own.IdleFor = p.rest.IdleFor
	}
	return own
}

// keepPolicies archives what is due, now and then, in one of the projector processes. What fails is logged, and tried again.
func (e Engines) keepPolicies(ctx context.Context, a archiver, store *jetlog.Store) error {
	tick := time.NewTicker(e.ArchiveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if foremost, err := store.Foremost(ctx, e.instance); err != nil || !foremost {
			continue // another process does it; without an answer nobody does
		}
		names, err := store.List(ctx)
		if err != nil {
			e.Log.Warn().Err(err).Msg("logs to archive could not be listed")
		}
		for _, log := range names {
			if err := e.archiveDue(ctx, a, log); err != nil && ctx.Err() == nil {
				e.Log.Warn().Err(err).Str("log", log).Msg("log could not be archived, it is tried again")
			}
		}
	}
}

// archiveDue archives what is due of one log.
func (e Engines) archiveDue(ctx context.Context, a archiver, log string) error {
	upTo, err := a.Due(ctx, log, e.Policies.of(log), time.Now())
	if err != nil || upTo == 0 {
		return err
	}
	for {
		out, p := a.Archive(ctx, "", log, upTo)
		if p != nil {
			return p
		}
		if out.Done {
			e.Log.Info().Str("log", log).Uint64("sequence", out.Archived).Uint64("first", out.First).Str("waiting", out.Waiting).Msg("log was archived by its policy")
			return nil
		}
	}
}
