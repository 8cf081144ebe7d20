package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const replayHelp = `Fold an aggregate anew from its events, one after the other, and show the state behind each. Nothing that was folded before is used; where the newest version is reached the result is held
against what aggregate:get gives and against the snapshots, and exit status 7 says that they differ.

  eventful aggregate:replay patient/A            all events
  eventful aggregate:replay patient/A 3          the first three
  eventful aggregate:replay patient/A --skip=10 --take=5`

func newAggregateReplayCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "aggregate:replay [TYPE/]ID [N]", Short: "Fold an aggregate from its events, step by step", Long: replayHelp, Args: cobra.RangeArgs(1, 2)}
	skip := cmd.Flags().Uint64("skip", 0, "`number` of events at the beginning that are folded and not shown")
	take := cmd.Flags().Uint64("take", 0, "`number` of steps to show; 0: all")
	waitFlag(cmd)
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, rest []string) error {
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		from, left := event.Version(*skip)+1, *take
		if len(rest) == 1 {
			if cmd.Flags().Changed("skip") || cmd.Flags().Changed("take") {
				return usageError("leave one of them out", "both a number of events and --skip or --take are given")
			}
			n, err := versionOf(rest[0], 1)
			if err != nil {
				return err
			}
			left = uint64(n)
		}
		return a.replay(cmd, c, id, from, left, wait)
	})
}

// replay shows steps from a version on, left of them, or all for 0.
func (a *app) replay(cmd *cobra.Command, c *client.Client, id event.AggregateID, from event.Version, left uint64, wait client.ReadOption) error {
	p := a.printer("VERSION", "EVENT", "STATE", "ACTOR", "WRITTEN AT", "HASH")
	for bounded := left > 0; ; {
		size := uint64(1000)
		if bounded {
			size = min(size, left)
		}
		page, err := c.ReplayPage(cmd.Context(), id, client.From(from), client.PageSize(int(size)), wait)
		if err != nil {
			return err
		}
		for _, s := range page.Steps {
			if err := p.add(s, fmt.Sprint(s.Version), s.Event, stateText(&s.State), s.Actor, timeText(s.Time), short(s.Hash)); err != nil {
				return err
			}
			from = s.Version + 1
		}
		if left -= min(left, uint64(len(page.Steps))); page.Cursor != "" && len(page.Steps) > 0 && (!bounded || left > 0) {
			continue
		}
		if err := p.close(); err != nil || page.Agrees == nil {
			return err
		}
		if *page.Agrees && len(page.Lies) == 0 {
			_, err := fmt.Fprintf(a.errOut, "it comes to the state that aggregate:get gives; no snapshot says anything else\n")
			return err
		}
		if len(page.Lies) > 0 {
			return problem.New(problem.VerificationFailed, "snapshots of %s say something else than its events: %s", id, strings.Join(page.Lies, "; ")).
				WithHint("`eventful aggregate:verify %s` names them too; states at older versions may have been read from them", id)
		}
		return problem.New(problem.VerificationFailed, "the events of %s come to another state than aggregate:get gives: the index is wrong", id).
			WithHint("rebuild it with `eventful projector:rebuild`; `eventful aggregate:verify %s` proves the events themselves", id)
	}
}

// stateText shows a state on one line.
func stateText(s *client.State) string {
	values := make(map[string]*string, len(s.Fields))
	for name, value := range s.Fields {
		values[name] = &value
	}
	text := fieldList(values)
	for _, name := range s.Shredded {
		text += " " + name + "=" + shreddedText
	}
	if s.Deleted {
		text += " (deleted)"
	}
	return text
}
