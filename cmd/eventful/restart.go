package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
)

func newRestartCommand(a *app) *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Stop the server, if it runs, and start it",
		Long: "Stop the server, if it runs, and start it: with the ports and options that it ran with, save those that are given now.\n" +
			"Keys, certificate and address are checked first: where it could not start again, the server goes on running.",
		Args: cobra.NoArgs,
	}
	serverFlags(cmd)
	secretFlags(cmd, settings.DEK)
	cmd.Flags().BoolVar(&f.foreground, "foreground", false, "stay in the foreground; the log goes to standard error too")
	force := cmd.Flags().Bool("force", false, "kill the server if it has not ended within --timeout")
	patience := cmd.Flags().Duration("timeout", stopPatience, "how long to wait for the server's end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dek, err := a.dek()
		if err != nil {
			return err
		}
		info, err := run.Find(a.settings.DataDir)
		if err != nil {
			return err
		}
		if info != nil {
			if err := a.keepFlags(cmd, info); err != nil {
				return err
			}
			f.noEngines, f.unsafeNoSync = info.NoEngines, info.UnsafeNoSync
			if err := a.canStart(f, dek); err != nil {
				return fmt.Errorf("the server goes on running: %w", err)
			}
			if err := run.End(cmd.Context(), a.settings.DataDir, *patience, *force); err != nil {
				return err
			}
			fmt.Fprintf(a.errOut, "stopped the server with process id %d\n", info.PID)
		}
		return a.start(cmd, f)
	}
	return cmd
}

// canStart says why a server could not be started, before the one that runs is stopped.
func (a *app) canStart(f startFlags, dek []byte) error {
	s, err := a.server(f, dek, io.Discard)
	if err != nil {
		return err
	}
	return s.Check()
}

// keepFlags takes over the flags that the running server was started with, where nothing else is given now.
func (a *app) keepFlags(cmd *cobra.Command, info *run.Info) error {
	for name, value := range info.Given {
		if a.settings.Given(name) {
			continue
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			return fmt.Errorf("keep --%s: %w", name, err)
		}
	}
	var err error
	a.settings, err = settings.Load(cmd.Flags())
	return err
}
