package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

func newEventArchiveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "event:archive {--all | --log=LOG | TYPE/ID}",
		Short: "Move the oldest events of logs to the archive",
		Long: "Copy events into compressed, encrypted segments in the archive (setting archive: a folder or a bucket), hold each against the log byte by byte, and remove them\n" +
			"from the log's stream. Everything stays readable and provable, from the archive slower. A log goes as a whole up to now; with TYPE/ID up to the newest event of\n" +
			"that aggregate, whose events leave the hot tier too: indexes give them up and read them from the log, until it is written again. It is not locked\n" +
			"(aggregate:archive does that). Cut short, or on an error, nothing is lost: run it again. It takes an auth key that may administer every type.",
		Args: cobra.MaximumNArgs(1),
	}
	all := cmd.Flags().Bool("all", false, "every log")
	log := cmd.Flags().String("log", "", "this `log`")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given := len(args)
		for _, one := range []bool{*all, *log != ""} {
			if one {
				given++
			}
		}
		if given != 1 {
			return usageError("for example `eventful event:archive --log=patient`", "give one of --all, --log and TYPE/ID")
		}
		if len(args) == 1 && !strings.Contains(args[0], "/") {
			return usageError("for example `eventful event:archive patient/4711`, or `eventful event:archive --log=patient`", "%.80q is no TYPE/ID: give that, --log=LOG or --all", args[0])
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			what, err := toArchive(cmd, c, *log, args)
			if err != nil {
				return err
			}
			return a.archive(cmd, c, what)
		})
	}
	return cmd
}

// toArchive lists what is to be archived.
func toArchive(cmd *cobra.Command, c *client.Client, log string, args []string) ([]client.ToArchive, error) {
	switch {
	case len(args) == 1:
		id, err := aggregate(cmd, c, args[0])
		return []client.ToArchive{{Type: id.Type, ID: id.ID}}, err
	case log != "":
		if err := event.CheckLog(log); err != nil {
			return nil, usageError("`eventful status` names the logs", "--log: %v", err)
		}
		return []client.ToArchive{{Log: log}}, nil
	}
	logs, err := c.ArchiveLogs(cmd.Context())
	var what []client.ToArchive
	for _, one := range logs {
		what = append(what, client.ToArchive{Log: one})
	}
	return what, err
}

func (a *app) archive(cmd *cobra.Command, c *client.Client, what []client.ToArchive) error {
	p := a.printer("LOG", "BLOCKS", "ARCHIVED", "PURGED", "LEFT THE HOT TIER", "WAITING")
	for i, one := range what {
		out, err := c.Archive(cmd.Context(), one, func(now client.Archived) {
			fmt.Fprintf(a.errOut, "log %s: %d of %d blocks archived, %d purged\n", now.Log, min(now.Archived, now.UpTo), now.UpTo, now.First-1)
		})
		if err != nil && i == 0 {
			return err // nothing to show
		}
		if err != nil {
			return errors.Join(err, p.close())
		}
		left := ""
		if out.Cooled != nil {
			left = fmt.Sprintf("%s up to %d", out.Cooled.Aggregate, out.Cooled.Version)
		}
		if err := p.add(out, out.Log, fmt.Sprint(out.Last), fmt.Sprint(out.Archived), fmt.Sprint(out.First-1), orDash(left), orDash(out.Waiting)); err != nil {
			return err
		}
	}
	return p.close()
}

// newTierCommand is aggregate:archive or aggregate:restore.
func newTierCommand(a *app, verb, short, long string, move func(*client.Client, context.Context, event.AggregateID, string) (*client.TierRecord, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "aggregate:" + verb + " TYPE/ID --comment=TEXT", Short: short, Long: long, Args: cobra.ExactArgs(1)}
	comment := cmd.Flags().String("comment", "", "why; it stands in the record for ever")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *comment == "" {
			return usageError("say why: it stands in the record for ever", "--comment is missing")
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			id, err := aggregate(cmd, c, args[0])
			if err != nil {
				return err
			}
			r, err := move(c, cmd.Context(), id, *comment)
			if err != nil {
				return err
			}
			when := timeText(r.Time)
			if r.Repeated {
				when += " (it was so before)"
			}
			return a.show(r, "aggregate", r.Aggregate, "archived", fmt.Sprint(r.Archived), "actor", r.Actor, "at", when, "hash", r.Hash, "position", r.Position)
		})
	}
	return cmd
}

func newAggregateArchiveCommand(a *app) *cobra.Command {
	return newTierCommand(a, "archive", "Lock an aggregate and put it aside",
		"Lock an aggregate and put it aside: commands on it are refused until aggregate:restore. It can be read and proved as before; unique values stay taken.\n"+
			"It takes an auth key that may administer the aggregate. The act stands in the aggregate's log and in audit:list.", (*client.Client).ArchiveAggregate)
}

func newAggregateRestoreCommand(a *app) *cobra.Command {
	return newTierCommand(a, "restore", "Bring an archived aggregate back", "Bring an archived aggregate back: it is as it was, and takes commands again.", (*client.Client).RestoreAggregate)
}
