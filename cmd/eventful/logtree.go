package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newLogCheckpointCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log:checkpoint [LOG]",
		Short: "Show what is signed of the logs",
		Long: "Show the last checkpoint of a log: its size and the root of its tree, signed by the site (C2SP tlog-checkpoint). With a LOG\n" +
			"the signed note itself is printed; keep it somewhere else, and `aggregate:verify --checkpoint=FILE` and `log:verify` will hold the log to it.\n" +
			"A file that --to finds is replaced only if the log is shown to extend the checkpoint in it; else it stays, and the exit status is 7.\n" +
			"--keys prints a policy with the logs' keys, for log:verify.",
		Args: cobra.MaximumNArgs(1),
	}
	keys := cmd.Flags().Bool("keys", false, "print a policy file that believes these logs and asks for no witness")
	to := cmd.Flags().String("to", "", "`file` to write the signed note to")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *to != "" && (len(args) == 0 || *keys) {
			return usageError("for example `eventful log:checkpoint patient --to=patient.checkpoint`", "--to takes the checkpoint of one LOG")
		}
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		found, err := c.Checkpoints(cmd.Context(), strings.Join(args, ""))
		switch {
		case err != nil:
			return err
		case *keys:
			return a.policy(found)
		case len(args) == 1:
			return a.oneCheckpoint(cmd.Context(), c, found, *to)
		}
		return a.checkpoints(found)
	}
	return cmd
}

// policy prints a policy of log:verify.
func (a *app) policy(of []client.Checkpoint) error {
	var text strings.Builder
	for _, c := range of {
		fmt.Fprintf(&text, "log %s\n", c.Key)
	}
	text.WriteString("quorum none\n")
	_, err := a.out.Write([]byte(text.String()))
	return err
}

func (a *app) oneCheckpoint(ctx context.Context, c *client.Client, found []client.Checkpoint, to string) error {
	if len(found) != 1 {
		return problem.New(problem.Internal, "%d checkpoints in the answer", len(found))
	}
	one := found[0]
	if one.Note == "" {
		return problem.New(problem.NotFound, "nothing is signed of log %s yet", one.Log).WithHint("a checkpoint comes within a second of the first event")
	}
	if one.Refused != "" {
		_, _ = fmt.Fprintf(a.errOut, "warning: no new checkpoints are signed of log %s: %s\n", one.Log, one.Refused)
	}
	if to != "" {
		return a.keepCheckpoint(ctx, c, one, to)
	}
	if a.form != "table" {
		return a.show(one)
	}
	_, err := a.out.Write([]byte(one.Note))
	return err
}

func (a *app) checkpoints(found []client.Checkpoint) error {
	p := a.printer("LOG", "SIZE", "TIME", "KEY", "REFUSED")
	for _, c := range found {
		at := "-"
		if !c.Time.IsZero() {
			at = c.Time.Format(time.RFC3339)
		}
		if err := p.add(c, c.Log, fmt.Sprint(c.Size), at, c.Key, c.Refused); err != nil {
			return err
		}
	}
	return p.close()
}

func newLogProveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log:prove HASH",
		Short: "Prove an event to somebody who has no EventfulDB",
		Long: "Write the proof that an event stands in its log under a signed checkpoint (C2SP tlog-proof). HASH is the event's hash, as the answer to a\n" +
			"command and `aggregate:history` name it, or a unique prefix of it. `eventful log:verify FILE --policy=FILE` checks it offline;\n" +
			"docs/proofs.md shows how to do so without EventfulDB. Without --content it proves who did what to which aggregate and when, not the values.",
		Args: cobra.ExactArgs(1),
	}
	content := cmd.Flags().Bool("content", false, "with the values of the event; needs a token that may read it")
	to := cmd.Flags().String("to", "", "`file` to write, readable by its owner only; standard output if not given")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		p, err := c.Prove(cmd.Context(), args[0], *content)
		if err != nil {
			return err
		}
		switch {
		case *to != "":
			if err := putAnswer(*to, []byte(p.Proof)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.errOut, "wrote %s: version %d of %s/%s, leaf %d of %d in log %s\n", filepath.Base(*to), p.Version, p.Type, p.ID, p.Index, p.Size, p.Log)
			return err
		case a.form != "table":
			return a.show(p)
		}
		_, err = a.out.Write([]byte(p.Proof))
		return err
	}
	return cmd
}

// readAll reads small files that the user names.
func readEach(files []string) (all []string, err error) {
	for _, name := range files {
		text, err := readNamed(name)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
}

// maxNamed bounds a file that is read whole.
const maxNamed = 16 << 20

func readNamed(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, problem.New(problem.NotFound, "there is no file %s", name).WithHint("give the path of a file that `eventful log:checkpoint` or `eventful log:prove` wrote")
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case !info.Mode().IsRegular() || info.Size() > maxNamed:
		return nil, problem.New(problem.Malformed, "%s is no file of at most %d bytes", name, maxNamed).WithHint("give the path of a file that `eventful log:checkpoint` or `eventful log:prove` wrote")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}
