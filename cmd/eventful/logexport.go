package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/tiles"
)

func newLogExportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log:export LOG DIR",
		Short: "Write the tree of a log as tiles that any web server can serve",
		Long: "Write the tiles, the entries and the last checkpoint of a log into a folder (C2SP tlog-tiles), or add what has come since. What was exported\n" +
			"before is held against the log. Entries name aggregates, actors and times, and hold the digests of values only.\n" +
			"`eventful log:verify --tiles=DIR --policy=FILE` checks the folder offline. It needs a token that may verify everything.",
		Args: cobra.ExactArgs(2),
	}
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		return a.exportLog(cmd.Context(), c, args[0], args[1])
	}
	return cmd
}

func (a *app) exportLog(ctx context.Context, c *client.Client, log, dir string) error {
	found, err := c.Checkpoints(ctx, log)
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0].Note == "" {
		return problem.New(problem.NotFound, "nothing is signed of log %s yet", log).WithHint("a checkpoint comes within a second of the first event")
	}
	signed, err := logtree.Open([]byte(found[0].Note), found[0].Key)
	if err != nil {
		return refuted("the checkpoint of log %s: %v", log, err)
	}
	progress, finish := a.progress("exporting", "events")
	e := tiles.Export{Dir: dir, Note: []byte(found[0].Note), Checkpoint: signed, Progress: progress}
	e.Entries = func(ctx context.Context, from, to uint64) ([][]byte, error) { return c.Entries(ctx, log, from, to) }
	e.Entries = ahead(e.Entries, signed.Size)
	before, err := e.Run(ctx)
	finish()
	if err != nil {
		return tilesProblem(dir, err)
	}
	type exported struct {
		Log   string `json:"log"`
		Dir   string `json:"dir"`
		Size  uint64 `json:"size"`
		Added uint64 `json:"added"`
	}
	out := exported{log, dir, signed.Size, signed.Size - before}
	if a.form != "table" {
		return a.show(out)
	}
	_, err = fmt.Fprintf(a.out, "exported log %s: %s, %d of them new\n", log, counted(out.Size, "event"), out.Added)
	return err
}

// ahead asks for as much as an answer holds, and keeps what was not wanted yet.
func ahead(source tiles.Source, size uint64) tiles.Source {
	var kept [][]byte
	var at uint64
	return func(ctx context.Context, from, to uint64) ([][]byte, error) {
		if from < at || from >= at+uint64(len(kept)) {
			got, err := source(ctx, from, size)
			if err != nil {
				return nil, err
			}
			kept, at = got, from
		}
		have := kept[from-at:]
		return have[:min(uint64(len(have)), to-from)], nil
	}
}

// tilesProblem turns an error of package tiles or logtree into one for people; other errors pass.
func tilesProblem(what string, err error) error {
	for _, refutes := range []error{tiles.ErrForked, tiles.ErrTruncated, tiles.ErrTampered, tiles.ErrUnreadable, logtree.ErrProof} {
		if errors.Is(err, refutes) {
			return refuted("%s: %v", what, err)
		}
	}
	switch {
	case errors.Is(err, logtree.ErrSignature):
		return refuted("%s: %v", what, err).WithHint("the file was altered, it is of another log, or the policy is not that of its site: `eventful log:checkpoint --keys` prints one. Of the log itself it says nothing")
	case errors.Is(err, logtree.ErrFormat):
		return problem.New(problem.Malformed, "%s: %v", what, err).WithHint("proofs come from `eventful log:prove`, checkpoints from `eventful log:checkpoint LOG`, policies from `eventful log:checkpoint --keys`")
	case errors.Is(err, fs.ErrExist):
		return problem.New(problem.Conflict, "%v", err).WithHint("give every log a folder of its own")
	case errors.Is(err, fs.ErrNotExist):
		return problem.New(problem.NotFound, "%v", err).WithHint("`eventful log:export LOG DIR` writes such a folder")
	}
	return err
}
