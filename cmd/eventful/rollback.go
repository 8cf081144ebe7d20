package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

const rollbackLong = "Nothing is removed: further events bring each aggregate back, framed by rollback-begin and rollback-end, and a rollback can be rolled back. What did not exist then\n" +
	"has ended behind it. Encrypted values whose key was forgotten stay forgotten. Commands about what is being rolled back are refused as `unavailable` until it is done;\n" +
	"it goes on by itself behind a crash. It takes an auth key that may administer what it is about.\n"

func newDataRollbackCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data:rollback --before=TIME|HASH [--type=TYPE [--id=ID]]",
		Short: "Bring aggregates back to the state that they had before a time or an event",
		Long: rollbackLong + "A TIME (RFC 3339, a date, or how long ago) is that of the writer: every commit stored then or later is undone. With the HASH of an event, or a unique beginning of it, the commit or\n" +
			"transaction that holds the event is undone, and all behind it in that log; other logs are cut at its time. --dry-run says what would change.",
		Args: cobra.NoArgs,
	}
	before := cmd.Flags().String("before", "", "`time` (RFC 3339, a date, or how long ago: 24h), or hash of an event")
	aggregateType := cmd.Flags().String("type", "", "only aggregates of this `type`")
	id := cmd.Flags().String("id", "", "only the aggregate with this `id`; with --type")
	dry := cmd.Flags().Bool("dry-run", false, "only list what would change")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case *before == "":
			return usageError("for example --before=2026-01-31T08:00:00Z, or the hash of an event that event:get shows", "--before is missing")
		case *id != "" && *aggregateType == "":
			return usageError("add --type", "--id needs the type too")
		}
		want := client.RollbackWanted{Type: *aggregateType, ID: *id, Before: *before, DryRun: *dry}
		return a.withAdmin(cmd, func(c *client.Client) error {
			if err := a.findEvent(cmd, &want); err != nil {
				return err
			}
			return a.rollBack(cmd, c, want)
		})
	}
	return cmd
}

func newAggregateRollbackCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:rollback TYPE/ID --to=VERSION",
		Short: "Bring an aggregate back to the state of an earlier version",
		Long:  rollbackLong + "--dry-run says what would change.",
		Args:  cobra.ExactArgs(1),
	}
	to := cmd.Flags().String("to", "", "`version` whose state comes back")
	dry := cmd.Flags().Bool("dry-run", false, "only list what would change")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *to == "" {
			return usageError("`eventful aggregate:history TYPE/ID` shows the versions; for example --to=3", "--to is missing: which version comes back?")
		}
		version, err := versionOf(*to, 1)
		if err != nil {
			return err
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			about, err := aggregate(cmd, c, args[0])
			if err != nil {
				return err
			}
			return a.rollBack(cmd, c, client.RollbackWanted{Type: about.Type, ID: about.ID, To: version, DryRun: *dry})
		})
	}
	return cmd
}

// findEvent finds the event that a hash, or the beginning of one, names. Without an access token the whole hash has to be given.
func (a *app) findEvent(cmd *cobra.Command, want *client.RollbackWanted) error {
	if strings.Trim(want.Before, "0123456789abcdef") != "" {
		at, err := momentOf("before", want.Before, time.Now())
		if err != nil {
			return usageError("for example 2026-01-31T08:00:00Z, 2026-01-31 or 24h, or the hash of an event", "--before=%.80s is neither a time nor a hash", want.Before)
		}
		want.Before = at.UTC().Format(time.RFC3339Nano)
		return nil
	}
	if len(want.Before) == 2*len(event.Hash{}) {
		return nil
	}
	c, err := a.connect(cmd)
	if err != nil {
		return usageError("give all 64 digits of the hash, or an access token that may read the event (EVENTFUL_TOKEN)", "the beginning of a hash can be looked up with an access token only: %v", err)
	}
	defer c.Close()
	e, err := c.Event(cmd.Context(), want.Before, client.Latest())
	if err != nil {
		return err
	}
	want.Before, want.Position = e.Hash, e.Position
	return nil
}

func (a *app) rollBack(cmd *cobra.Command, c *client.Client, want client.RollbackWanted) error {
	r, err := c.Rollback(cmd.Context(), want)
	if err != nil {
		if errors.Is(err, cmd.Context().Err()) {
			return withHint(err, "the rollback goes on; `eventful audit:list` shows rollback-done when it is done")
		}
		return err
	}
	if r.DryRun {
		return a.showDryRollback(r)
	}
	if r.ID == "" {
		return a.show(r, "rolled back", "nothing: no aggregate differs from how it was then")
	}
	pairs := []string{"rollback", r.ID, "brought back", counted(r.Aggregates, "aggregate") + " by " + counted(r.Events, "event")}
	for _, l := range r.Logs {
		pairs = append(pairs, "log", l.Log, "  aggregates", fmt.Sprint(l.Aggregates))
		if l.Begin != nil && l.End != nil {
			pairs = append(pairs, "  begin", l.Begin.Position, "    hash", l.Begin.Hash, "  end", l.End.Position, "    hash", l.End.Hash)
		}
	}
	return a.show(r, pairs...)
}

func (a *app) showDryRollback(r *client.Rollback) error {
	if a.form != "table" {
		return a.show(r)
	}
	p := a.printer("AGGREGATE", "VERSION", "BECOMES AS", "FIELDS THAT CHANGE")
	named := uint64(0)
	for _, l := range r.Logs {
		for _, c := range l.Changes {
			named++
			becomes := fmt.Sprintf("version %d", c.Becomes)
			switch {
			case c.Becomes == 0:
				becomes = "ended: it did not exist"
			case c.Ends:
				becomes += ", ended"
			}
			fields := strings.Join(c.Fields, " ")
			if len(c.Lost) > 0 {
				fields += " (forgotten: " + strings.Join(c.Lost, " ") + ")"
			}
			if err := p.add(c, c.Aggregate, fmt.Sprint(c.Version), becomes, fields); err != nil {
				return err
			}
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	fmt.Fprintf(a.errOut, "nothing was stored; it would be %s in %s", counted(r.Events, "event"), counted(r.Aggregates, "aggregate"))
	if named < r.Aggregates {
		fmt.Fprintf(a.errOut, ", of which %d are shown", named)
	}
	fmt.Fprintln(a.errOut)
	return nil
}
