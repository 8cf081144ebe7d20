package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

func newAggregateSnapshotCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:snapshot [TYPE/]ID [VERSION]",
		Short: "Keep the state of an aggregate, now or at a version, under a comment",
		Long: "Keep the state of an aggregate, now or at a version, under a comment. Reads of long aggregates begin at a snapshot; the events stay what counts, and aggregate:verify names a\n" +
			"snapshot that says something else. Sixteen of an aggregate are kept; the lowest version gives way. Types with --snapshot-threshold have one taken by itself.",
		Args: cobra.RangeArgs(1, 2),
	}
	comment := cmd.Flags().String("comment", "", "why it was taken")
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, rest []string) error {
		options := []client.ReadOption{client.Latest()}
		if len(rest) == 1 {
			version, err := versionOf(rest[0], 1)
			if err != nil {
				return err
			}
			options = append(options, client.AtVersion(version))
		}
		s, err := c.TakeSnapshot(cmd.Context(), id, *comment, options...)
		if err != nil {
			return err
		}
		return a.show(s, "aggregate", id.String(), "snapshot at version", fmt.Sprint(s.Version), "comment", s.Comment, "taken at", s.Taken, "hash", s.Hash)
	})
}

func newAggregateSnapshotsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:snapshots [TYPE/]ID",
		Short: "List the snapshots of an aggregate",
		Args:  cobra.ExactArgs(1),
	}
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, _ []string) error {
		all, err := c.Snapshots(cmd.Context(), id, client.Latest())
		if err != nil {
			return err
		}
		p := a.printer("VERSION", "TAKEN AT", "BY", "COMMENT", "HASH")
		for _, s := range all {
			by := "number"
			if s.Requested {
				by = s.Actor
			}
			if s.Error != "" {
				by = s.Error
			}
			if err := p.add(s, fmt.Sprint(s.Version), s.Taken, by, s.Comment, short(s.Hash)); err != nil {
				return err
			}
		}
		return p.close()
	})
}
