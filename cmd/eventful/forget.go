package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
)

func newDataForgetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data:forget TYPE/ID",
		Short: "Destroy the key of an aggregate's encrypted fields, for ever",
		Long: "Destroy the key of an aggregate's encrypted fields (schema:alter --pii), for ever: nobody can read their stored values again. Events, actors, times and\n" +
			"proofs stay; what is staged, refused or waiting in the inbox for the aggregate is removed. Of a type without encrypted fields nothing is touched. The certificate names the key, and where both acts stand.\n" +
			"Run again it goes on where it was cut short, or shows the certificate again. Without --yes it says what would be destroyed, and destroys nothing.\n" +
			"It takes an auth key that may administer the aggregate. Copies in other systems, and backups made before, are not touched.",
		Args: cobra.ExactArgs(1),
	}
	yes := cmd.Flags().Bool("yes", false, "do it")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkForgotten(args[0]); err != nil {
			return err
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			id, err := aggregate(cmd, c, args[0])
			if err != nil {
				return err
			}
			if !*yes {
				f, err := c.Forgettable(cmd.Context(), id)
				if err != nil {
					return err
				}
				key := "no key"
				if f.KeyCommitment != "" {
					key = "the key " + short(f.KeyCommitment) + " of its encrypted fields"
				}
				return usageError("--yes does it; nothing brings the values back", "nothing was destroyed; of %s it would be: %s, %s, %s and %s", id, key,
					counted(f.Staged, "staged event"), counted(f.Refused, "refused command"), counted(f.Letters, "waiting command"))
			}
			f, err := c.Forget(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.showCertificate(f)
		})
	}
	return cmd
}

// checkForgotten wants the type too: an id alone, which may be a type by mistake, is too little to destroy something.
func checkForgotten(name string) error {
	if aggregateType, _, both := strings.Cut(name, "/"); !both {
		return usageError(fmt.Sprintf("for example `eventful data:forget %.40s/ID`", printable(aggregateType)), "%.140q is no aggregate: TYPE/ID is wanted", name)
	}
	return nil
}

func (a *app) showCertificate(f *client.Certificate) error {
	when := f.Done.Time.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	if f.Repeated {
		when += " (certified before)"
	}
	removed := fmt.Sprintf("%s, %s, %s", counted(f.Staged, "staged event"), counted(f.Refused, "refused command"), counted(f.Letters, "waiting command"))
	if f.KeyCommitment == "" {
		a.warn("%s has no encrypted value, so there was no key to destroy; only what had been sent and was not stored is gone", f.Aggregate)
		return a.show(f, "removed of", f.Aggregate, "removed", removed, "actor", f.Done.Actor, "done at", when, "recorded in", f.Done.Position, "  hash", f.Done.Hash)
	}
	return a.show(f, "forgotten", f.Aggregate, "key commitment", f.KeyCommitment, "actor", f.Done.Actor, "done at", when,
		"forgotten in", f.Forgotten.Position, "  hash", f.Forgotten.Hash, "certified in", f.Done.Position, "  hash", f.Done.Hash,
		"removed", removed)
}
