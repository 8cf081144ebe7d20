package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newWriterListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "writer:list",
		Short: "Show which writer process writes which log, and how far the others follow it",
		Args:  cobra.NoArgs,
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		w, err := c.Writers(cmd.Context())
		if err != nil {
			return err
		}
		if a.form != "table" {
			return a.show(w)
		}
		p := a.printer("LOG", "STATE", "WRITER", "EPOCH", "SEQUENCE", "STANDBYS")
		for _, l := range w.Logs {
			if err := p.add(l, l.Log, stateOf(w, l), nameOf(w, l.Member), fmt.Sprint(l.Epoch), fmt.Sprint(l.Sequence), standbys(w, l)); err != nil {
				return err
			}
		}
		return p.close()
	}
	return cmd
}

// stateOf is what a log's writer does, and that it takes no commands where its disk is nearly full.
func stateOf(w *client.Writers, l client.WriterLog) string {
	if refuses(w, l.Member) {
		return l.State + ", refusing writes"
	}
	return l.State
}

func refuses(w *client.Writers, id string) bool {
	return slices.ContainsFunc(w.Members, func(m client.WriterMember) bool { return m.ID == id && m.Refusing != "" })
}

// nameOf is a writer process for people: its host and process id, and its own id, which survives a restart.
func nameOf(w *client.Writers, id string) string {
	for _, m := range w.Members {
		if m.ID == id {
			return fmt.Sprintf("%s (%s:%d)", id, m.Host, m.PID)
		}
	}
	if id == "" {
		return "-"
	}
	return id + " (gone)"
}

func standbys(w *client.Writers, l client.WriterLog) string {
	if len(l.Standbys) == 0 {
		return "none"
	}
	var all []string
	for _, s := range l.Standbys {
		text := fmt.Sprintf("%s %d behind", nameOf(w, s.Member), s.Lag)
		if refuses(w, s.Member) {
			text += ", no room"
		}
		if s.Error != "" {
			text = nameOf(w, s.Member) + ": " + s.Error
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func newWriterResignCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "writer:resign <log>",
		Short: "Have the writer of a log hand it over to another writer process",
		Long:  "Have the writer of a log hand it over to another writer process; it returns when that one serves it. No command fails meanwhile. The log `eventful` has the schemas and keys.",
		Args:  cobra.ExactArgs(1),
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usageError("`eventful writer:list` shows the logs", "the name of the log is empty")
		}
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Resign(cmd.Context(), args[0]); err != nil {
			return resignFailure(args[0], err)
		}
		w, err := c.Writers(cmd.Context())
		if err != nil {
			return err
		}
		for _, l := range w.Logs {
			if l.Log == args[0] {
				return a.show(l, "log", l.Log, "writer", nameOf(w, l.Member), "epoch", fmt.Sprint(l.Epoch))
			}
		}
		return nil
	}
	return cmd
}

// resignFailure says what a hand-over is that nobody waits for any more.
func resignFailure(log string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return problem.New(problem.UnknownOutcome, "there was no answer in time: log %s was not handed over yet, or it was, or it still will be", log).
		WithHint("`eventful writer:list` shows who writes it; a longer --timeout waits for the end")
}
