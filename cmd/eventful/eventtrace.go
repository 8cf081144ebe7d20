package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
)

const eventTraceHelp = `Show what caused an event, and what it and its causes caused: from the first cause down. Causes are what commands named with --causation-id: the hash of an event, or a
command id. What the token may not read is as if it were not there.`

func newEventTraceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "event:trace HASH", Short: "Show the tree of causes that an event is part of", Long: eventTraceHelp, Args: cobra.ExactArgs(1)}
	waitFlag(cmd)
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !isHashPrefix(args[0]) {
			return usageError("give 4 to 64 of 0-9 a-f, as aggregate:history prints them", "%.80q is no hash", args[0])
		}
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		t, err := c.Trace(cmd.Context(), args[0], wait)
		if err != nil {
			return err
		}
		if a.form != "table" {
			return a.show(t)
		}
		a.showTrace(t)
		return nil
	}
	return cmd
}

func (a *app) showTrace(t *client.Trace) {
	if root := t.Root; root != nil {
		switch {
		case root.Missing:
			fmt.Fprintf(a.out, "(caused by %s, which is not there)\n", printable(root.Cause))
		case root.Cycle:
			fmt.Fprintf(a.out, "(caused by %s, which lies below: the causes go round)\n", printable(root.Cause))
		}
		a.showTraced(t, root, 0)
	}
	if t.Truncated {
		fmt.Fprintln(a.errOut, "there is more, which is not shown: the tree is too large")
	}
}

// deepest is how far a tree is indented.
const deepest = 40

func (a *app) showTraced(t *client.Trace, node *client.Traced, depth int) {
	indent := strings.Repeat("  ", min(depth, deepest))
	for i := range node.Events {
		e := &node.Events[i]
		mark := ""
		if e.Hash == t.Hash {
			mark = "  <- asked about"
		}
		fmt.Fprintf(a.out, "%s%s %s v%d  %s  %s  %s%s\n", indent, e.Event, printable(e.Type+"/"+e.ID), e.Version, printable(e.Actor), timeText(e.Time), short(e.Hash), mark)
	}
	for _, c := range node.Caused {
		a.showTraced(t, c, depth+1)
	}
}
