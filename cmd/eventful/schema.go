package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
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
	aggregateType := flags.String("aggregate", "", "`name` of the aggregate type")
	events := flags.String("events", "", "event types, `separated` by commas")
	threshold := flags.Int("snapshot-threshold", 0, "`events` between two snapshots; 0: none by number")
	log := flags.String("log", "", "`log` of the type, shared by types that change together; its own if not given. It cannot be changed later")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		names, err := eventNames(*events, args)
		if err != nil {
			return err
		}
		d := schema.Definition{Aggregate: *aggregateType, Log: *log, SnapshotThreshold: *threshold, Events: map[string]schema.Event{}}
		for _, name := range names {
			d.Events[name] = schema.Event{}
		}
		if p := problem.Join(d.Check()); p != nil {
			return p
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
			return a.draft(cmd, c, nil, d)
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
			continue
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

// draft checks the definition, sends it, and shows what changes from the schema in force, which is nil for a new type.
func (a *app) draft(cmd *cobra.Command, c *client.Client, now *schema.Schema, next schema.Definition) error {
	if p := problem.Join(next.Check()); p != nil {
		return p
	}
	changes := schema.Diff(now, next)
	for _, change := range changes {
		if !change.Compatible {
			return problem.New(problem.Invalid, "%s: %s", next.Aggregate, change.Text)
		}
	}
	if err := c.SchemaDraft(cmd.Context(), next.Canonical()); err != nil {
		return err
	}
	m := client.Migration{Type: next.Aggregate}
	for _, change := range changes {
		m.Changes = append(m.Changes, client.SchemaChange(change))
	}
	if err := a.showChanges([]client.Migration{m}); err != nil {
		return err
	}
	if len(changes) == 0 {
		fmt.Fprintf(a.errOut, "the draft of %s is as the schema in force\n", next.Aggregate)
		return nil
	}
	fmt.Fprintln(a.errOut, "drafted:", pendingNote)
	return nil
}

// showChanges prints what changes, one change a line.
func (a *app) showChanges(migrations []client.Migration) error {
	p := a.printer("TYPE", "CHANGE")
	for _, m := range migrations {
		if a.form != "table" {
			if err := p.add(m); err != nil {
				return err
			}
			continue
		}
		for _, change := range m.Changes {
			text := change.Text
			if !change.Compatible {
				text = "NOT POSSIBLE: " + text
			}
			if err := p.add(change, m.Type, text); err != nil {
				return err
			}
		}
	}
	return p.close()
}

// present reads what the server holds of a type: the schema in force (nil: none), and the definition to change, which is the draft if there is one.
func present(cmd *cobra.Command, c *client.Client, aggregateType string) (now *schema.Schema, d schema.Definition, err error) {
	if err := event.CheckType(aggregateType); err != nil {
		return nil, d, problem.New(problem.Malformed, "%v", err)
	}
	s, err := c.SchemaShow(cmd.Context(), aggregateType)
	if err != nil {
		return nil, d, err
	}
	if now, err = inForce(s); err != nil {
		return nil, d, err
	}
	text := s.Definition
	if isThere(s.Draft) {
		text = s.Draft
	}
	d, err = definition(text)
	return now, d, err
}

// inForce is the schema in force, nil if there is only a draft.
func inForce(s *client.Schema) (*schema.Schema, error) {
	if s.Version == 0 || !isThere(s.Definition) {
		return nil, nil
	}
	d, err := definition(s.Definition)
	if err != nil {
		return nil, err
	}
	return schema.Compile(d, s.Version)
}

func definition(text json.RawMessage) (schema.Definition, error) {
	list, err := schema.Parse(text)
	if err == nil && len(list) != 1 {
		err = problem.New(problem.Internal, "the server answered with %d definitions, want 1", len(list))
	}
	if err != nil {
		return schema.Definition{}, fmt.Errorf("read the server's definition: %w", err)
	}
	return list[0], nil
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
			now, d, err := present(cmd, c, args[0])
			if err != nil {
				return err
			}
			e, ok := d.Events[args[1]]
			if !ok {
				return noSuchEvent(d, args[1])
			}
			e.Removed = true
			d.Events[args[1]] = e
			if now == nil {
				delete(d.Events, args[1])
			} else if _, stored := now.Events[args[1]]; !stored {
				delete(d.Events, args[1])
			}
			return a.draft(cmd, c, now, d)
		})
	}
	return cmd
}

func noSuchEvent(d schema.Definition, name string) error {
	return problem.New(problem.NotFound, "the aggregate type %s has no event type %.80q", d.Aggregate, name).
		WithHint("`eventful schema:show %s` shows what it has", d.Aggregate)
}

func newSchemaApplyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:apply FILE",
		Short: "Draft the schemas of a YAML or JSON file; - is standard input",
		Long: "Draft the schemas of a file: one definition, a list, or several YAML documents, as schema:show prints them.\n" +
			"An event type in force that the file leaves out is removed; its stored events stay readable. What is the same is left alone.",
		Args: cobra.ExactArgs(1),
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.readFile(args[0])
		if err != nil {
			return err
		}
		definitions, err := definitionsOf(text)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			for _, d := range definitions {
				if err := a.apply(cmd, c, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func (a *app) readFile(path string) ([]byte, error) {
	if path == "-" {
		return readAll(a.in)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, problem.New(problem.NotFound, "read %s: %v", path, err)
	}
	defer f.Close()
	return readAll(f)
}

func (a *app) apply(cmd *cobra.Command, c *client.Client, d schema.Definition) error {
	s, err := c.SchemaShow(cmd.Context(), d.Aggregate)
	if errors.Is(err, client.ErrNotFound) {
		return a.draft(cmd, c, nil, d)
	}
	if err != nil {
		return err
	}
	now, err := inForce(s)
	if err != nil {
		return err
	}
	next := schema.CarryOver(now, d)
	if now != nil && !isThere(s.Draft) && len(schema.Diff(now, next)) == 0 {
		fmt.Fprintf(a.errOut, "%s is as the schema in force: nothing to draft\n", d.Aggregate)
		return nil
	}
	return a.draft(cmd, c, now, next)
}
