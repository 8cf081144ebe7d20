package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const applyHelp = `Stage one event. Nothing is stored yet: aggregate:commit stores everything that is staged, together or not at all.

  eventful aggregate:apply patient/admitted --id=A --ward=3
  eventful aggregate:apply bed/taken --id=12 --by=A --expected-version=none
  eventful aggregate:staged
  eventful aggregate:commit

What is staged lies on the server, sealed, and belongs to whom the token names: other sessions of the same person see it, nobody else does, and it outlives a
restart. Staging checks the event together with everything that is staged already, as a dry run does, and spends no budget. An expected version is that of the
stored aggregate, before everything that is staged. All types must share a log.
Fields are given as to event:add.`

func newAggregateApplyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:         "aggregate:apply [TYPE/]EVENT [--id=ID] [--FIELD=VALUE …] [-]",
		Short:       "Stage one event for a later commit",
		Long:        applyHelp,
		Annotations: withoutSettings(),
	}
	eventFlags(cmd)
	return a.withFields(cmd, a.applyEvent)
}

func (a *app) applyEvent(cmd *cobra.Command, args eventArguments) error {
	command, err := a.eventCommand(cmd, args)
	if err != nil {
		return err
	}
	c, err := a.connectFor(cmd, &command)
	if err != nil {
		return err
	}
	defer c.Close()
	staged, err := c.Apply(cmd.Context(), client.Transaction{
		Commits: []client.Commit{{Aggregate: command.Aggregate, Expected: command.Expected,
			Events: []client.Event{{Type: command.Event, Fields: command.Fields, Data: command.Data, OccurredAt: command.OccurredAt}}}},
		Context: client.Context{DryRun: command.DryRun},
	})
	if err != nil {
		return unfit(hinted(err, command.Aggregate.Type), problem.Conflict)
	}
	answer := struct {
		Aggregate string `json:"aggregate"`
		*client.Staging
	}{command.Aggregate.String(), staged}
	what := fmt.Sprintf("%s of %s", counted(staged.Events, "event"), counted(staged.Aggregates, "aggregate"))
	if command.DryRun {
		return a.show(answer, "aggregate", answer.Aggregate, "staged", "no: a dry run, everything fits; it would be "+what)
	}
	return a.show(answer, "aggregate", answer.Aggregate, "staged", what+"; `eventful aggregate:commit` stores them", "command", staged.Command)
}

func newAggregateStagedCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:staged",
		Short: "List what is staged",
		Args:  cobra.NoArgs,
	}
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		events, hidden, err := c.Staged(cmd.Context())
		if err != nil {
			return err
		}
		p := a.printer("AGGREGATE", "EXPECTED", "EVENT", "FIELDS", "OCCURRED AT", "STAGED AT")
		for _, e := range events {
			expected := string(e.Expected)
			if expected == "" {
				expected = string(client.Any)
			}
			if err := p.add(e, e.Type+"/"+e.ID, expected, e.Event, fieldList(e.Fields), timeOrDash(e.OccurredAt), timeText(e.Staged)); err != nil {
				return err
			}
		}
		if hidden > 0 {
			a.warn("%s of aggregates that this token may not write are staged too", counted(hidden, "event"))
		}
		return p.close()
	}
	return cmd
}

func newAggregateCommitCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:commit",
		Short: "Store everything that is staged, together or not at all",
		Long: "Store everything that is staged by whom the token names as one transaction. It is on disk when the command returns, and it is stored once, however\n" +
			"often the command is run. If it is refused, everything stays staged.",
		Args: cobra.NoArgs,
	}
	contextFlags(cmd)
	cmd.Flags().Bool("dry-run", false, "check everything, store nothing")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkContext(cmd); err != nil {
			return err
		}
		var x client.Context
		x.CorrelationID, _ = cmd.Flags().GetString("correlation-id")
		x.CausationID, _ = cmd.Flags().GetString("causation-id")
		x.Traceparent, _ = cmd.Flags().GetString("traceparent")
		x.DryRun, _ = cmd.Flags().GetBool("dry-run")
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := c.Commit(cmd.Context(), x)
		if err != nil {
			return unfit(err, problem.Conflict, problem.Invalid) // the schema may have changed since it was staged
		}
		if answer.Left > 0 {
			a.warn("%s staged meanwhile and not part of this commit: run `eventful aggregate:commit` again", counted(answer.Left, "event"))
		}
		return a.show(answer, answerPairs(&answer.Answer, x.DryRun)...)
	}
	return cmd
}

// unfit gives a refusal of what is staged, with one of these codes, the hint that leads out of it.
func unfit(err error, codes ...problem.Code) error {
	if p, ok := asProblem(err); ok && slices.Contains(codes, p.Code) && !strings.Contains(p.Hint, "aggregate:discard") {
		p.Hint = "`eventful aggregate:staged` shows what is staged; drop what does not fit any more with `eventful aggregate:discard TYPE/ID`, and stage it anew"
	}
	return err
}

func newAggregateDiscardCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:discard [[TYPE/]ID]",
		Short: "Drop what is staged, of one aggregate or everything",
		Args:  cobra.MaximumNArgs(1),
	}
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		var only *event.AggregateID
		if len(args) == 1 {
			id, err := stagedAggregate(cmd, c, args[0])
			if err != nil {
				return err
			}
			only = &id
		}
		d, err := c.Discard(cmd.Context(), only)
		if err != nil {
			return err
		}
		dropped := "nothing"
		if len(d.Aggregates) > 0 {
			dropped = strings.Join(d.Aggregates, " ")
		}
		return a.show(d, "discarded", dropped, "events", fmt.Sprint(d.Events), "left", fmt.Sprint(d.Left))
	}
	return cmd
}

// stagedAggregate reads TYPE/ID; a bare id means the one staged aggregate that has it.
func stagedAggregate(cmd *cobra.Command, c *client.Client, text string) (event.AggregateID, error) {
	if aggregateType, _, ok := strings.Cut(text, "/"); ok && event.CheckType(aggregateType) == nil {
		return aggregate(cmd, c, text)
	}
	events, _, err := c.Staged(cmd.Context())
	if err != nil {
		return event.AggregateID{}, err
	}
	found := map[event.AggregateID]bool{}
	var names []string
	for _, e := range events {
		if a := (event.AggregateID{Type: e.Type, ID: e.ID}); e.ID == text && !found[a] {
			found[a] = true
			names = append(names, a.String())
		}
	}
	if len(names) > 1 {
		return event.AggregateID{}, usageError("name one of them: "+strings.Join(names, ", "), "%d staged aggregates have the id %.140q", len(names), text)
	}
	for a := range found {
		return a, nil
	}
	return event.AggregateID{}, notStaged(text)
}
