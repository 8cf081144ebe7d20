package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newDestroyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Remove the data folder's contents and the kept DEK, for ever",
		Long: "Remove everything that EventfulDB keeps in the data folder, and the DEK that `config` kept for it. Nothing brings it back.\n" +
			"Files that are not EventfulDB's stay where they are. A running server must be stopped first.",
		Args:        cobra.NoArgs,
		Annotations: withoutSettings(), // the data folder alone decides: a config.toml that cannot be read must not keep it from being removed
	}
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if a.settings, err = settings.Folder(cmd.Flags()); err != nil {
			return err
		}
		return a.destroy(*yes)
	}
	return cmd
}

// destroy removes the key file last but one, the lock last: after a crash it can be run again.
func (a *app) destroy(yes bool) error {
	dir := a.settings.DataDir
	if !run.Configured(dir) && !a.settings.HasFile() && !run.Started(dir) {
		return problem.New(problem.NotFound, "%s is no data folder of EventfulDB", dir).WithHint("name the right folder with --data-dir")
	}
	lock, err := run.Acquire(dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := a.confirm(yes, dir); err != nil {
		return err
	}
	if err := a.settings.RemoveDEK(); err != nil {
		return err
	}
	for _, name := range append([]string{settings.File}, run.Contents()...) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return problem.New(problem.Invalid, "%s was removed in part: %v", dir, err).WithHint("run it again as the owner of the folder")
		}
	}
	switch err := os.Remove(dir); {
	case err == nil:
		fmt.Fprintf(a.errOut, "removed %s\n", dir)
	case isNotEmpty(dir, err):
		fmt.Fprintf(a.errOut, "removed what is EventfulDB's from %s; other files stay\n", dir)
	default:
		return fmt.Errorf("remove the data folder: %w", err)
	}
	return nil
}

func (a *app) confirm(yes bool, dir string) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(a.in.Fd())) {
		return usageError("say so with --yes", "destroy removes %s for ever and nobody can be asked", dir)
	}
	fmt.Fprintf(a.errOut, "Every event in %s will be lost. Type yes to go on: ", printable(dir))
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return problem.New(problem.Invalid, "nothing was removed").WithHint("type yes, or give --yes")
	}
	return nil
}

func isNotEmpty(dir string, err error) bool {
	rest, readErr := os.ReadDir(dir)
	return !errors.Is(err, fs.ErrNotExist) && readErr == nil && len(rest) > 0
}
