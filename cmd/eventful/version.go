package main

import (
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of this program",
		Args:        cobra.NoArgs,
		Annotations: withoutSettings(),
		RunE: func(*cobra.Command, []string) error {
			b := run.Built()
			commit := b.Commit
			if commit == "" {
				commit = "not known"
			}
			return a.show(b, "version", b.Version, "commit", commit, "go", b.Go, "platform", b.Platform)
		},
	}
}
