package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/reencrypt"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// reencrypted is what `store:reencrypt` prints.
type reencrypted struct {
	DataDir string `json:"data-dir"`
	Old     string `json:"old"`
	DEKFile string `json:"dek-file,omitempty"`
}

func newReencryptCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store:reencrypt",
		Short: "Copy the store into a new, verified data folder under fresh keys",
		Long: "Copy the store into a new data folder, encrypted under fresh keys, compare every message, and verify every log of the copy. Only then is the old folder\n" +
			"given up: nothing starts on it any more, and it stays until you delete it. The server must be stopped. Cut short, run the same again.\n" +
			"DEK and master key stay; `eventful config --rotate-dek` replaces the DEK.",
		Args: cobra.NoArgs,
	}
	secretFlags(cmd, settings.DEK)
	cmd.Flags().String("to", "", "the new data `folder`; made, or one of a copy that was cut short")
	cmd.Flags().String("min-free", "1GiB", "`bytes` of the disk that must stay free")
	cmd.Flags().Int("min-free-percent", 5, "the same as a part of the disk; the larger counts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.reencrypt(cmd) }
	return cmd
}

// mendedStore is what `store:mend` prints.
type mendedStore struct {
	Store   string   `json:"store"`
	Removed []string `json:"removed"`
}

func newMendCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "store:mend STORE-DIR",
		Short: "Remove what a killed nats-server had begun in its store, and would stumble over",
		Long: "Remove empty blocks without a key and half made, empty streams from the store_dir of a nats-server that was killed. nats-server 2.15 takes them for damage, and\n" +
			"removes the whole stream. Run it before each start of a nats-server of your own, never while that runs; `eventful start` does it by itself.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.mendStore(args[0]) },
	}
}

func (a *app) mendStore(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return problem.New(problem.NotFound, "%s is no folder that can be read", dir).WithHint("name the store_dir of the nats-server")
	}
	removed, err := node.Mend(dir)
	if err != nil {
		return err
	}
	return a.show(mendedStore{Store: dir, Removed: append([]string{}, removed...)}, "store", dir, "removed", strconv.Itoa(len(removed)))
}

func (a *app) reencrypt(cmd *cobra.Command) error {
	to, err := cmd.Flags().GetString("to")
	if err != nil {
		return err
	}
	if to == "" {
		return usageError("name a folder that does not exist yet, on a disk with room for the whole store", "--to is missing")
	}
	dek, err := a.dek()
	if err != nil {
		return err
	}
	if to, err = filepath.Abs(to); err != nil {
		return fmt.Errorf("find the new folder: %w", err)
	}
	logger, err := run.Logger(a.errOut, zerolog.WarnLevel.String())
	if err != nil {
		return err
	}
	answer := reencrypted{DataDir: to, Old: a.settings.DataDir}
	err = reencrypt.Run(cmd.Context(), reencrypt.Config{
		From: a.settings.DataDir, To: to, DEK: dek, Limits: a.settings.Space, Look: space.Look, Log: logger, Archive: run.ArchiveOf(a.settings),
		Keep: func() (err error) {
			if a.settings.KeepsDEK() {
				answer.DEKFile, err = a.settings.For(to).StoreDEK(dek)
			}
			return err
		},
		Progress: func(format string, args ...any) {
			fmt.Fprintln(a.errOut, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
		},
	})
	if err != nil {
		return err
	}
	a.warn("start the server with --data-dir %s. %s is given up: delete it when you no longer want to go back", to, a.settings.DataDir)
	pairs := []string{"data folder", answer.DataDir, "old one", answer.Old}
	if answer.DEKFile != "" {
		pairs = append(pairs, "DEK kept in", answer.DEKFile)
	}
	return a.show(answer, pairs...)
}
