package main

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

const pendingNote = "it takes effect with `eventful schema:migrate -f`; `eventful schema:migrate --dry-run` shows what changes"

func newSchemaCreateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:create --aggregate=TYPE --events=EVENT,EVENT…",
		Short: "Draft the schema of a new aggregate type",
		Long:  "Draft the schema of a new aggregate type; " + pendingNote + ".",
		Args:  cobra.ArbitraryArgs, // the rest of --events=a, b
	}
	flags := cmd.Flags()
	aggregateType := flags.String("aggregate", "", "`type` of the aggregates, for example patient")
	events := flags.String("events", "", "event `types`, separated by commas")
	threshold := flags.Int("snapshot-threshold", 0, "`events` between two snapshots; 0: none by number")
	log := flags.String("log", "", "`log` of the type, shared by types that change together; its own if not given. It cannot be changed later")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *aggregateType == "" || *events == "" {
			return usageError("for example `eventful schema:create --aggregate=patient --events=registered,crp`", "--aggregate and --events are required")
		}
		names, err := eventNames(*events, args)
		if err != nil {
			return err
		}
		d := schema.Definition{Aggregate: *aggregateType, Log: *log, SnapshotThreshold: *threshold, Events: map[string]schema.Event{}}
		for _, name := range names {
			d.Events[name] = schema.Event{}
		}
		if p := problem.Join(d.Check()); p != nil {
			return withHint(p, schemaHint)
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			_, err := c.SchemaShow(cmd.Context(), d.Aggregate)
			switch {
			case err == nil:
				return problem.New(problem.Conflict, "the aggregate type %s exists already", d.Aggregate).
					WithHint("change it with `eventful schema:alter %s`", d.Aggregate)
			case !errors.Is(err, client.ErrNotFound):
				return err
			}
			return a.draftOne(cmd, c, pending{}, d)
		})
	}
	return cmd
}

// eventNames splits the list; where the shell split it behind a comma, the rest stands in args.
func eventNames(list string, args []string) ([]string, error) {
	for _, more := range args {
		if !strings.HasSuffix(list, ",") {
			return nil, usageError("separate event types by commas", "%.80q is no argument of schema:create", more)
		}
		list += more
	}
	var names []string
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return nil, usageError("separate event types by one comma", "there is an event type without a name in --events=%.80q", list)
		}
		if slices.Contains(names, name) {
			return nil, usageError("name it once", "the event type %s stands twice in --events", name)
		}
		names = append(names, name)
	}
	return names, nil
}

func (a *app) withAdmin(cmd *cobra.Command, run func(*client.Client) error) error {
	c, err := a.connectAdmin(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	return run(c)
}

func newSchemaRemoveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:remove TYPE EVENT",
		Short: "Draft that an event type takes no more events; stored ones stay readable for ever",
		Args:  cobra.ExactArgs(2),
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withAdmin(cmd, func(c *client.Client) error {
			p, err := present(cmd, c, args[0])
			if err != nil {
				return err
			}
			d := p.former.Definition
			d.Events = maps.Clone(d.Events)
			e, ok := d.Events[args[1]]
			if !ok {
				return noSuchEvent(d, args[1])
			}
			e.Removed = true
			d.Events[args[1]] = e
			if !p.inForceHas(args[1]) {
				delete(d.Events, args[1])
				d.Fields = maps.Clone(d.Fields)
				for _, f := range e.Fields {
					forgetUnused(&d, f)
				}
			}
			return a.draftOne(cmd, c, p, d)
		})
	}
	return cmd
}

func noSuchEvent(d schema.Definition, name string) error {
	return problem.New(problem.NotFound, "the aggregate type %s has no event type %.80q", d.Aggregate, name).
		WithHint("`eventful schema:show %s` shows what it has", d.Aggregate)
}
