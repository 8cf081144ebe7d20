package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// stopPatience is how long `stop` waits for a server that ends in peace.
const stopPatience = 30 * time.Second

func newStopCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the server on the data folder",
		Long: "Stop the server on the data folder: it takes no more commands, answers those it has stored, and ends.\n" +
			"An acknowledged event is safe however the server ends.",
		Args: cobra.NoArgs,
	}
	cmd.Flags().Bool("all", false, "every service of the server (today there is no other way)")
	force := cmd.Flags().Bool("force", false, "kill the server if it has not ended within --timeout")
	patience := cmd.Flags().Duration("timeout", stopPatience, "how long to wait for the server's end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info, err := run.Find(a.settings.DataDir)
		if err != nil {
			return err
		}
		if info == nil { // as it is wanted
			if err := a.mustBeConfigured(); err != nil {
				return err
			}
			fmt.Fprintf(a.errOut, "no server runs on %s\n", printable(a.settings.DataDir))
			return nil
		}
		if err := run.End(cmd.Context(), a.settings.DataDir, *patience, *force); err != nil {
			return err
		}
		fmt.Fprintf(a.errOut, "stopped the server with process id %d\n", info.PID)
		return nil
	}
	return cmd
}

func notRunning(dir string) error {
	if !run.Configured(dir) {
		return problem.New(problem.Unavailable, "no server runs on %s: the folder is not configured", dir).
			WithHint("name the right folder with --data-dir, or a server with --server; `eventful config` makes a new folder")
	}
	return problem.New(problem.Unavailable, "no server runs on %s", dir).WithHint("start one with `eventful start`, or name another folder with --data-dir")
}
