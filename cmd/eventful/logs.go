package main

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newLogsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show what the server logged",
		Args:  cobra.NoArgs,
	}
	follow := cmd.Flags().BoolP("follow", "f", false, "go on as lines are added, until interrupted")
	lines := cmd.Flags().IntP("lines", "n", 100, "show the last `N` lines; 0: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *lines < 0 {
			return usageError("0 shows all", "--lines %d is negative", *lines)
		}
		tail := run.Tail{Path: run.LogPath(a.settings.DataDir), Lines: *lines, Follow: *follow}
		err := tail.Copy(cmd.Context(), a.logOutput())
		if errors.Is(err, fs.ErrNotExist) {
			return problem.New(problem.NotFound, "there is no log: no server ever ran on %s", a.settings.DataDir).
				WithHint("start one with `eventful start`, or name another folder with --data-dir")
		}
		return err
	}
	return cmd
}

// logOutput shows lines for people, or with -o json|ndjson the JSON lines as they are.
func (a *app) logOutput() io.Writer {
	if a.form != "table" {
		return a.out
	}
	colour := a.colour && a.out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd()))
	return run.Console(a.out, colour)
}
