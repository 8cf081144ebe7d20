package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const rebuildHelp = `Build the index of a log anew from the log, or of all logs, beside the one that answers queries meanwhile, and put it in its place. With several projector processes, one of them does
it: the one that answers. An index that is damaged is rebuilt by itself; this is for who doubts one.`

func newProjectorRebuildCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "projector:rebuild [LOG]", Short: "Build indexes anew while queries go on", Long: rebuildHelp, Args: cobra.MaximumNArgs(1)}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		log := ""
		if len(args) == 1 {
			if log = args[0]; log == "" {
				return usageError("`eventful status` lists the logs", "the name of the log is empty")
			}
		}
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		rebuilt, err := c.Rebuild(cmd.Context(), log, nil)
		if err != nil {
			return err
		}
		p := a.printer("LOG", "SECONDS")
		for _, r := range rebuilt {
			if err := p.add(r, r.Log, fmt.Sprintf("%.2f", r.Seconds)); err != nil {
				return err
			}
		}
		return p.close()
	}
	return cmd
}
