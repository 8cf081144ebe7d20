package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// drainTimeout is how long a command waits that lets what is under way come to its end.
const drainTimeout = time.Minute

func newPluginListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plugin:list", Short: "List the plugins, and how far each is behind", Args: cobra.NoArgs}
	adminFlags(cmd)
	active := cmd.Flags().Bool("active", false, "only those that are enabled")
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		list, err := c.Plugins(cmd.Context())
		if err != nil {
			return err
		}
		p := a.printer("NAME", "TYPE", "STATE", "LAG EVENTS", "LAG", "PARKED", "POSITION", "LAST ERROR")
		for _, one := range list {
			if *active && !one.Enabled {
				continue
			}
			err := p.add(one, one.Name, one.Type, one.State, fmt.Sprint(one.LagEvents), seconds(one.LagSeconds), fmt.Sprint(one.Parked), placesOf(one.Positions), orDash(one.Error))
			if err != nil {
				return err
			}
		}
		return p.close()
	})
	return cmd
}

// shownPlaces is how many logs a plugin's row names; plugin:show has all.
const shownPlaces = 3

// placesOf words up to which sequence of which log everything is settled, as `plugin:replay --from-seq` takes it.
func placesOf(positions []string) string {
	var places []string
	for i, text := range positions {
		at, err := event.ParsePosition(text)
		switch {
		case i == shownPlaces:
			return strings.Join(append(places, fmt.Sprintf("%d more", len(positions)-i)), ", ")
		case err != nil:
			places = append(places, text)
		default:
			places = append(places, fmt.Sprintf("%s:%d", at.Log, at.Sequence))
		}
	}
	return orDash(strings.Join(places, ", "))
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// asPluginAdmin runs a command with a connection as the holder of an auth key.
func (a *app) asPluginAdmin(do func(*cobra.Command, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd, c, args)
	}
}

// pluginCommand is a command about one plugin, which shows it afterwards.
func (a *app) pluginCommand(use, short string, do func(context.Context, *client.Client, string) (*client.Plugin, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1)}
	adminFlags(cmd)
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		p, err := do(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		return a.showPlugin(p)
	})
	return cmd
}

func newPluginShowCommand(a *app) *cobra.Command {
	return a.pluginCommand("plugin:show", "Show a plugin, its options and how it stands", func(ctx context.Context, c *client.Client, name string) (*client.Plugin, error) {
		return c.Plugin(ctx, name)
	})
}

func newPluginEnableCommand(a *app) *cobra.Command {
	return a.pluginCommand("plugin:enable", "Let a plugin run", func(ctx context.Context, c *client.Client, name string) (*client.Plugin, error) {
		return c.EnablePlugin(ctx, name)
	})
}

func newPluginDisableCommand(a *app) *cobra.Command {
	cmd := a.pluginCommand("plugin:disable", "Stop a plugin, when what is under way has come to its end", func(ctx context.Context, c *client.Client, name string) (*client.Plugin, error) {
		return c.DisablePlugin(ctx, name)
	})
	patient(cmd)
	return cmd
}

// patient gives a command the time that draining takes.
func patient(cmd *cobra.Command) {
	f := cmd.Flags().Lookup("timeout")
	f.DefValue = drainTimeout.String()
	_ = f.Value.Set(f.DefValue) // a duration as it prints itself
}

func newPluginRemoveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plugin:remove NAME", Short: "Remove a plugin; what it brought to its target stays there, what is parked is dropped", Args: cobra.ExactArgs(1)}
	adminFlags(cmd)
	patient(cmd)
	disable := cmd.Flags().Bool("disable", false, "disable it first; an enabled one is refused otherwise")
	force := cmd.Flags().Bool("force", false, "remove it although some plugin-runner does not say that nothing is under way: it is gone for good")
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		purged, err := c.RemovePlugin(cmd.Context(), args[0], client.PluginRemoval{Disable: *disable, Force: *force})
		if err != nil {
			return err
		}
		return a.show(map[string]any{"removed": args[0], "purged": purged}, "removed", args[0], "purged", fmt.Sprint(purged))
	})
	return cmd
}

func newPluginTestCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plugin:test NAME", Short: "Bring a dummy change to the target of a plugin, and take it away again", Args: cobra.ExactArgs(1)}
	adminFlags(cmd)
	patient(cmd)
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.TestPlugin(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.show(map[string]any{"plugin": args[0], "reached": true}, "plugin", args[0], "test", "a dummy change reached the target")
	})
	return cmd
}

// showPlugin shows everything of one plugin.
func (a *app) showPlugin(p *client.Plugin) error {
	pairs := []string{"name", p.Name, "type", p.Type, "state", p.State, "lag", fmt.Sprintf("%d events, %s", p.LagEvents, seconds(p.LagSeconds)),
		"parked", strconv.FormatUint(p.Parked, 10), "last error", orDash(p.Error)}
	if p.Generation > 0 {
		text := strconv.FormatUint(p.Generation, 10)
		if p.Rebuilding {
			text += ", which is being filled; readers use the one before"
		}
		pairs = append(pairs, "generation", text)
	}
	for _, at := range p.Positions {
		pairs = append(pairs, "position", at)
	}
	for _, one := range p.Partitions {
		pairs = append(pairs, fmt.Sprintf("partition %d", one.Partition), strings.TrimSpace(fmt.Sprintf("%s %s %s", one.State, one.Owner, one.Error)))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Options)) {
		for i, line := range strings.Split(strings.TrimSuffix(p.Options[name], "\n"), "\n") {
			if label := "--" + name; i == 0 {
				pairs = append(pairs, label, line)
			} else {
				pairs = append(pairs, "", line)
			}
		}
	}
	return a.show(p, pairs...)
}

func newPluginReplayCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin:replay NAME [TYPE/ID | TYPE | --all] | TYPE",
		Short: "Deliver changes again: of one aggregate, of a type, from a place or a time on, or all",
		Long: "Deliver changes again: of one aggregate, of a type, from a place or a time on, or all. A type alone, without a plugin, goes to every enabled\n" +
			"plugin. The target gets the changes of each aggregate in their order, and nothing new before what is replayed. --all wants -f.\n\n" +
			"--rebuild fills the target anew with everything, beside what its readers use; these have the new one as soon as it holds all. It is for plugin\n" +
			"types that can do that, as opensearch.",
		Args: cobra.RangeArgs(1, 2),
	}
	adminFlags(cmd)
	flags := cmd.Flags()
	all := flags.Bool("all", false, "everything, from the start of every log")
	force := flags.BoolP("force", "f", false, "do not ask for more than this flag")
	sequence := flags.String("from-seq", "", "from this `sequence` of a log on, as LOG:SEQ")
	rebuild := flags.Bool("rebuild", false, "fill the target anew, beside what its readers use")
	since := flags.String("from-time", "", "what was stored from a `time` on: RFC 3339, a date, or how long ago, for example 24h")
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		r, err := replayOf(args, *sequence, *since)
		r.Rebuild = *rebuild
		if err == nil && len(args) == 1 && !*all && !r.Rebuild {
			err = everyPlugin(cmd.Context(), c, &r)
		}
		if err == nil {
			err = checkReplay(r, *all, *force)
		}
		if err != nil {
			return err
		}
		names, err := c.ReplayPlugin(cmd.Context(), r)
		if err != nil {
			return err
		}
		return a.show(map[string][]string{"plugins": names}, "replayed by", orDash(strings.Join(names, ", ")))
	})
	return cmd
}

// checkReplay wants it said what is replayed, once.
func checkReplay(r client.PluginReplay, all, force bool) error {
	some := r.Scope != "" || r.Log != "" || r.Time != nil
	switch {
	case some && r.Rebuild:
		return usageError("leave out what says what", "--rebuild is of everything")
	case some && all:
		return usageError("give one of them", "--all goes with nothing else that says what")
	case !some && (!all || !force) && !r.Rebuild:
		return usageError("give --all -f, or say what: TYPE/ID, TYPE, --from-seq or --from-time", "everything would be delivered again")
	}
	return nil
}

// everyPlugin takes a name that no plugin has for a type, which every enabled plugin delivers again.
func everyPlugin(ctx context.Context, c *client.Client, r *client.PluginReplay) error {
	list, err := c.Plugins(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(p client.Plugin) bool { return p.Name == r.Name }) && r.Log == "" {
		r.Name, r.Scope = "", r.Name
	}
	return nil
}

// replayOf reads what is to be replayed.
func replayOf(args []string, sequence, since string) (r client.PluginReplay, err error) {
	r.Name = args[0]
	if len(args) == 2 {
		r.Scope = args[1]
	}
	if log, number, ok := strings.Cut(sequence, ":"); sequence != "" {
		n, err := strconv.ParseUint(number, 10, 63)
		if !ok || err != nil || n == 0 || log == "" {
			return r, usageError("for example --from-seq=patient:1000", "--from-seq=%.80q is not LOG:SEQ", sequence)
		}
		r.Log, r.Sequence = log, n
	}
	at, err := momentOf("from-time", since, time.Now())
	if err == nil && since != "" {
		r.Time = &at
	}
	return r, err
}
