package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newPluginParkedCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin:parked NAME [list | show NUMBER | retry NUMBER|--all | purge NUMBER|--all]",
		Short: "List, show, retry or drop the changes that a target refused for good",
		Long: "List, show, retry or drop the changes that a target refused for good. What such a change held stands in the log; a retry reads it there. With\n" +
			"--on-error=block a retry of one change is one of all that are parked of its aggregate, and dropping the last one lets later changes pass.",
		Args: cobra.RangeArgs(1, 3),
	}
	adminFlags(cmd)
	all := cmd.Flags().Bool("all", false, "every one")
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		verb := "list"
		if len(args) > 1 {
			verb = args[1]
		}
		if verb == "list" {
			return a.listParked(cmd, c, args[0])
		}
		number, err := parkedNumber(verb, args[min(len(args), 2):], *all)
		if err != nil {
			return err
		}
		switch verb {
		case "show":
			return a.showParked(cmd, c, args[0], number)
		case "retry":
			if err := c.RetryParked(cmd.Context(), args[0], number); err != nil {
				return err
			}
			return a.show(map[string]any{"plugin": args[0], "retried": true}, "plugin", args[0], "retry", "is under way")
		case "purge":
			n, err := c.PurgeParked(cmd.Context(), args[0], number)
			if err != nil {
				return err
			}
			return a.show(map[string]uint64{"purged": n}, "purged", fmt.Sprint(n))
		}
		return nil
	})
	return cmd
}

// parkedNumber holds that exactly one of number and all is given, to a verb that there is.
func parkedNumber(verb string, args []string, all bool) (uint64, error) {
	switch one := len(args) == 1; {
	case verb != "show" && verb != "retry" && verb != "purge":
		return 0, usageError("it is list, show, retry or purge", "plugin:parked knows no %.40q", verb)
	case verb == "show" && (all || !one):
		return 0, usageError("give a number as `eventful plugin:parked NAME` lists them", "one NUMBER is wanted")
	case one == all:
		return 0, usageError("give a number as `eventful plugin:parked NAME` lists them, or --all", "one NUMBER or --all is wanted")
	}
	if all {
		return 0, nil
	}
	n, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil || n == 0 {
		return 0, usageError("give a number as `eventful plugin:parked NAME` lists them", "%.80q is no number of a parked change", args[0])
	}
	return n, nil
}

func (a *app) listParked(cmd *cobra.Command, c *client.Client, name string) error {
	p := a.printer("NUMBER", "PARKED AT", "AGGREGATE", "VERSION", "EVENT", "CAUSE")
	for after := uint64(0); ; {
		page, cursor, err := c.ParkedChanges(cmd.Context(), name, after, 500)
		if err != nil {
			return err
		}
		for _, one := range page {
			if err := p.add(one, fmt.Sprint(one.Number), timeText(time.Unix(0, one.Time)), one.Aggregate, fmt.Sprint(one.Version), one.Event, one.Cause); err != nil {
				return err
			}
		}
		if after = cursor; after == 0 {
			return p.close()
		}
	}
}

func (a *app) showParked(cmd *cobra.Command, c *client.Client, name string, number uint64) error {
	one, err := c.ParkedChange(cmd.Context(), name, number)
	if err != nil {
		return err
	}
	return a.show(one, "number", fmt.Sprint(one.Number), "aggregate", one.Aggregate, "version", fmt.Sprint(one.Version), "event", one.Event, "position", one.Position,
		"hash", one.Hash, "parked at", timeText(time.Unix(0, one.Time)), "behind another", strconv.FormatBool(one.Behind), "cause", one.Cause)
}

func newPluginLogsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plugin:logs NAME", Short: "Show what the server logged about a plugin", Args: cobra.ExactArgs(1)}
	follow := cmd.Flags().BoolP("follow", "f", false, "go on as lines are added, until interrupted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tail, about := run.Tail{Path: run.LogPath(a.settings.DataDir), Follow: *follow}, &onlyPlugin{name: args[0], to: a.logOutput()}
		err := tail.Copy(cmd.Context(), about)
		if errors.Is(err, fs.ErrNotExist) {
			return problem.New(problem.NotFound, "there is no log: no server ever ran on %s", a.settings.DataDir).
				WithHint("a plugin-runner of its own logs to its standard error; or name another folder with --data-dir")
		}
		if err == nil && about.lines == 0 {
			a.warn("nothing was logged about a plugin %q; a plugin-runner of its own logs to its standard error", args[0])
		}
		return err
	}
	return cmd
}

// onlyPlugin passes on those lines of a log that are about a plugin.
type onlyPlugin struct {
	name  string
	to    io.Writer
	lines int // that were passed on
}

// Write gets a line in each call (run.Tail).
func (o *onlyPlugin) Write(line []byte) (int, error) {
	var about struct {
		Plugin string `json:"plugin"`
	}
	if !bytes.Contains(line, []byte(o.name)) || json.Unmarshal(line, &about) != nil || about.Plugin != o.name {
		return len(line), nil
	}
	o.lines++
	return o.to.Write(line)
}
