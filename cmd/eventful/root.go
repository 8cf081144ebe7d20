package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// app is what every command shares. It belongs to one goroutine.
type app struct {
	in       *os.File
	out      io.Writer
	errOut   io.Writer
	colour   bool             // errOut is a terminal that may have colours
	form     string           // how answers are printed: table, json, ndjson or yaml
	settings *settings.Config // loaded before a command runs; nil for commands marked withoutSettings
	warned   []string         // warnings that were printed
	serving  atomic.Bool      // this process is the server
	running  bool             // the command's own code was reached: errors before that are usage errors
}

// withoutSettings marks, as annotations, a command that works although config.toml cannot be read.
func withoutSettings() map[string]string { return map[string]string{"settings": "none"} }

// execute runs one command line and gives its exit status. A panic becomes a message, never a stack trace.
func execute(args []string) (status int) {
	a := &app{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	a.colour = os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(os.Stderr.Fd()))
	defer func() {
		if r := recover(); r != nil {
			status = a.fail(problem.New(problem.Internal, "a fault of eventful itself: %v", r).
				WithHint("please report this with the command you gave and the output of `eventful version`"))
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	context.AfterFunc(ctx, func() {
		signal.Reset(os.Interrupt) // a second interrupt ends the process at once
		a.endAtLast(ended)
	})
	root := newRootCommand(a)
	declareOptions(root, args)
	root.SetArgs(args)
	if cmd, err := root.ExecuteContextC(ctx); err != nil {
		return a.fail(a.usage(cmd, err))
	}
	return 0
}

// interruptPatience is how long a command may go on that was interrupted. One that reads a pipe, or what somebody types, would never see it.
const interruptPatience = 3 * time.Second

// endAtLast ends the process if an interrupted command does not end. A server takes the time that it needs.
func (a *app) endAtLast(ended <-chan struct{}) {
	select {
	case <-ended:
	case <-time.After(interruptPatience):
		if !a.serving.Load() {
			os.Exit(a.fail(context.Canceled))
		}
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "eventful",
		Short: "Immutable, provable events: the write side of CQRS",
		Long: "EventfulDB turns commands into immutable, provable events in NATS JetStream.\n\n" +
			"Settings come from flags, then EVENTFUL_* in the environment, then config.toml in the data folder, then defaults;\n" +
			"`eventful config show --origin` prints them with their sources.",
		Version:           run.Version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: a.prepare,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("eventful {{.Version}}\n")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	flags := root.PersistentFlags()
	flags.String("data-dir", "./.eventful", "`folder` of the server's data and configuration")
	flags.String("server", "", "NATS `url` of the server; by default the one that runs on --data-dir")
	flags.String("tls-ca", "", "PEM `file` of the CA that the server's certificate is from; by default the system's, or on --data-dir the server's own")
	flags.StringP("output", "o", "table", "how answers are printed: table, json, ndjson or yaml")
	flags.Bool("no-color", false, "never use colours (the same as NO_COLOR=1)")
	root.AddCommand(serverCommands(a)...)
	root.AddCommand(dataCommands(a)...)
	root.AddCommand(pluginCommands(a)...)
	root.SetHelpCommand(newHelpCommand())
	a.mark(root)
	return root
}

// serverCommands are the commands that configure, run and look at a server.
func serverCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newConfigCommand(a),
		newStartCommand(a),
		newStopCommand(a),
		newRestartCommand(a),
		newStatusCommand(a),
		newLogsCommand(a),
		newDoctorCommand(a),
		newReencryptCommand(a),
		newMendCommand(a),
		newCredsCommand(a),
		newDestroyCommand(a),
		newVersionCommand(a),
	}
}

// mark makes every command note that its own code was reached.
func (a *app) mark(cmd *cobra.Command) {
	if own := cmd.RunE; own != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.running = true
			return own(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		a.mark(child)
	}
}

// prepare loads the settings; it runs before every command. Commands must not have a PersistentPreRunE of their own.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	if off, _ := cmd.Flags().GetBool("no-color"); off {
		a.colour = false
	}
	if a.form, _ = cmd.Flags().GetString("output"); cmd.Annotations["settings"] == "none" || isCobraOwn(cmd) {
		return nil
	}
	if err := a.load(cmd); err != nil {
		return err
	}
	return checkTimeout(cmd)
}

// load reads the settings.
func (a *app) load(cmd *cobra.Command) (err error) {
	if a.settings, err = settings.Load(withoutOptions(cmd.Flags())); err != nil {
		return withHint(err, "mend config.toml in the data folder: each line is NAME = VALUE, texts in quotes; or name another folder with --data-dir")
	}
	a.form = a.settings.Output
	return nil
}

// isCobraOwn is true for help and completion, which cobra adds by itself.
func isCobraOwn(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		switch cmd.Name() {
		case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}
