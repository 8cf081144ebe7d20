package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxSuggestions is how many commands an unknown one may have meant.
const maxSuggestions = 4

// usageError is an error of the command line that cobra cannot see: exit status 2.
func usageError(hint, format string, args ...any) error {
	return problem.New(problem.Malformed, "%s", fmt.Sprintf(format, args...)).WithHint("%s", hint)
}

// usage turns what cobra says about a command line into a usage error (exit status 2); other errors pass.
func (a *app) usage(cmd *cobra.Command, err error) error {
	if _, ok := asProblem(err); ok || a.running {
		return err
	}
	if p := badFlagValue(err); p != nil {
		return p
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if _, given, found := strings.Cut(text, "unknown shorthand flag: "); found && given[1] >= '0' && given[1] <= '9' {
		return problem.New(problem.Malformed, "%s is below 0", given[strings.Index(given, "-"):]).WithHint("versions and numbers of events are 1, 2, 3 …")
	}
	if _, flag, found := strings.Cut(text, "unknown flag: --"); found {
		return unknownFlag(cmd, flag)
	}
	if cmd != cmd.Root() && (strings.Contains(text, " arg(s)") || strings.HasPrefix(text, "unknown command ")) {
		text, _, _ = strings.Cut(strings.Replace(text, "unknown command", "it takes no argument", 1), " for ")
		if no, _, found := strings.Cut(text, " \""); found && cmd.Flags().Lookup("master-key") != nil {
			text = no // it may be the secret of a flag that was written with a blank, and errors are kept in many places
		}
		return usageError(fmt.Sprintf("usage: %s; `eventful help %s` tells more", cmd.UseLine(), cmd.Name()), "%s: %s", cmd.Name(), text)
	}
	return problem.New(problem.Malformed, "%s", text).WithHint("`eventful help` lists the commands, `eventful help COMMAND` shows one")
}

// unknownFlag names a flag that a command does not have, and what may have been meant. Of a command that does not exist cobra says so of its first flag.
func unknownFlag(cmd *cobra.Command, flag string) error {
	if words := cmd.Flags().Args(); cmd == cmd.Root() && len(words) > 0 {
		return unknownCommand(cmd, words)
	}
	names := &cobra.Command{SuggestionsMinimumDistance: cmd.Root().SuggestionsMinimumDistance} // cobra suggests commands alone
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Hidden: f.Hidden, Run: func(*cobra.Command, []string) {}})
	})
	near := names.SuggestionsFor(flag)
	for i := range near {
		near[i] = "--" + near[i]
	}
	hint := "`eventful help` lists the commands, `eventful help COMMAND` shows one"
	if len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(near[:min(len(near), maxSuggestions)], ", "))
	}
	return usageError(hint, "unknown flag: --%s", flag)
}

// badFlagValue says what a flag takes, where its value cannot be read; nil for another error.
func badFlagValue(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return nil
	}
	wanted := map[string]string{
		"int": "a whole number", "uint64": "a whole number of 0 or more", "bool": "true or false", "duration": "a time such as 500ms, 30s or 2m",
		"stringToString": "NAME=VALUE",
	}[bad.GetFlag().Value.Type()]
	if wanted == "" {
		return nil
	}
	_, about := pflag.UnquoteUsage(bad.GetFlag())
	return usageError(fmt.Sprintf("--%s: %s", bad.GetFlag().Name, about), "--%s takes %s, not %.80q", bad.GetFlag().Name, wanted, bad.GetValue())
}

// unknownCommand refuses arguments of the root: they are commands that do not exist.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "`eventful help` lists the commands"
	if near := suggestions(root, args); len(near) > 0 {
		hint = fmt.Sprintf("did you mean `eventful %s`?", strings.Join(near, "`, `eventful "))
	}
	return usageError(hint, "there is no command %.80q", args[0])
}

// suggestions are the commands that may have been meant: `schema list` and `schema-list` mean schema:list, `schema` any of schema:….
func suggestions(root *cobra.Command, args []string) []string {
	for _, name := range []string{strings.Join(args[:min(2, len(args))], ":"), strings.Replace(args[0], "-", ":", 1)} {
		if cmd, rest, err := root.Find([]string{name}); err == nil && cmd != root && len(rest) == 0 {
			return []string{name}
		}
	}
	near := root.SuggestionsFor(args[0])
	return near[:min(len(near), maxSuggestions)]
}

// newHelpCommand is cobra's, save that a command that does not exist is an error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			found, rest, err := root.Find(args)
			if err != nil || found == nil || len(rest) > 0 {
				return unknownCommand(root, args)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
