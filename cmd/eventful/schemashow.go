package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// anyTokenFlags are those of commands that every token may give, and an auth key too.
func anyTokenFlags(cmd *cobra.Command) {
	adminFlags(cmd)
	secretFlags(cmd, settings.Token)
}

func newSchemaListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:list",
		Short: "List the aggregate types and their schemas",
		Args:  cobra.NoArgs,
	}
	anyTokenFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connectAny(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		schemas, err := c.SchemaList(cmd.Context())
		if err != nil {
			return err
		}
		p := a.printer("TYPE", "LOG", "VERSION", "EVENT TYPES", "DRAFT", "DIGEST")
		for _, s := range schemas {
			version, draft := fmt.Sprint(s.Version), "-"
			if s.Version == 0 {
				version = "-"
			}
			if isThere(s.Draft) {
				draft = "pending"
			}
			if err := p.add(s, s.Type, s.Log, version, eventCount(s), draft, short(s.Digest)); err != nil {
				return err
			}
		}
		return p.close()
	}
	return cmd
}

func isThere(text json.RawMessage) bool { return len(text) > 0 && string(text) != "null" }

// eventCount is the number of event types that take events.
func eventCount(s client.Schema) string {
	text := s.Definition
	if !isThere(text) {
		text = s.Draft
	}
	var d schema.Definition
	if json.Unmarshal(text, &d) != nil {
		return "-"
	}
	n := 0
	for _, e := range d.Events {
		if !e.Removed {
			n++
		}
	}
	return fmt.Sprint(n)
}

func newSchemaShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:show TYPE",
		Short: "Show the schema of an aggregate type as schema:apply takes it",
		Args:  cobra.ExactArgs(1),
	}
	draft := cmd.Flags().Bool("draft", false, "the draft that waits for schema:migrate")
	anyTokenFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkType(args[0]); err != nil {
			return err
		}
		c, err := a.connectAny(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.SchemaShow(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *draft && !isThere(s.Draft) {
			return problem.New(problem.NotFound, "%s has no draft", s.Type).WithHint("without --draft the schema in force is shown; `eventful schema:alter %s` drafts a change", s.Type)
		}
		if !isThere(s.Draft) && !isThere(s.Definition) {
			return noSuchType(args[0])
		}
		if a.form != "table" {
			return a.show(s)
		}
		return a.showDefinition(s, *draft || !isThere(s.Definition))
	}
	return cmd
}

// showDefinition prints YAML that schema:apply takes, with what is no part of it as comments.
func (a *app) showDefinition(s *client.Schema, draft bool) error {
	text, head := s.Definition, fmt.Sprintf("# version %d, digest %s\n", s.Version, s.Digest)
	if draft {
		text, head = s.Draft, "# a draft: `eventful schema:migrate -f` puts it into force\n"
	} else if isThere(s.Draft) {
		head += "# there is a draft too: --draft shows it\n"
	}
	body, err := yamlText(text, true)
	if err != nil {
		return fmt.Errorf("print the schema of %s: %w", s.Type, err)
	}
	_, err = fmt.Fprint(a.out, head, string(body))
	return err
}

func newSchemaMigrateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schema:migrate [TYPE]",
		Aliases: []string{"migrate"},
		Short:   "Put drafts into force; without a type all of them",
		Long: "Put drafts into force. --dry-run shows what changes and checks every stored event against the new schema: how many it would not\n" +
			"accept now, and some of them. They stay as they are, and readable.\n" +
			"The command returns once every writer decides under the new schema.",
		Args: cobra.MaximumNArgs(1),
	}
	force := cmd.Flags().BoolP("force", "f", false, "do it")
	dryRun := cmd.Flags().Bool("dry-run", false, "show what would change, and change nothing")
	discard := cmd.Flags().Bool("discard", false, "drop the drafts")
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		aggregateType := strings.Join(args, "")
		if len(args) == 1 {
			if err := checkType(aggregateType); err != nil {
				return err
			}
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			if *discard {
				return a.discard(cmd, c, aggregateType, *dryRun || *force)
			}
			return a.migrate(cmd, c, aggregateType, *force && !*dryRun, *dryRun)
		})
	}
	return cmd
}

func (a *app) migrate(cmd *cobra.Command, c *client.Client, aggregateType string, force, dryRun bool) error {
	migrations, err := c.SchemaMigrate(cmd.Context(), aggregateType, !force)
	if err != nil {
		return err
	}
	if len(migrations) == 0 {
		fmt.Fprintln(a.errOut, "there is no draft: nothing changes")
		return a.showNothing()
	}
	p := a.printer("TYPE", "CHANGE")
	for _, m := range migrations {
		if err := p.changes(m, m.Type, m.Changes); err != nil {
			return err
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	for _, m := range migrations {
		fmt.Fprintf(a.errOut, "%s: version %s%s\n", m.Type, versions(m, force), checkedText(m, force))
		for _, sample := range m.Samples {
			fmt.Fprintf(a.errOut, "  - %s\n", printable(sample))
		}
	}
	if !force && !dryRun {
		return usageError("add -f to do it, or --dry-run to only look", "nothing was changed")
	}
	return nil
}

// showNothing is an answer without rows.
func (a *app) showNothing() error {
	if a.form == "table" {
		return nil
	}
	return a.printer().close()
}

// checkedText says what a dry run counted; a migration itself counts nothing.
func checkedText(m client.Migration, done bool) string {
	if done {
		return ""
	}
	text := fmt.Sprintf("; %s checked", counted(m.Checked, "stored event"))
	if m.Failing > 0 || m.Colliding == 0 {
		text += fmt.Sprintf(", %d would not be accepted now", m.Failing)
	}
	if m.Colliding > 0 {
		text += fmt.Sprintf(", %s share values that must be unique: change them first", counted(m.Colliding, "aggregate"))
	}
	return text
}

func versions(m client.Migration, done bool) string {
	verb := "would become"
	if done {
		verb = "became"
	}
	switch m.From {
	case 0:
		return fmt.Sprintf("%d (new)", m.To)
	case m.To:
		return fmt.Sprintf("%d stays: the draft changes nothing", m.To)
	}
	return fmt.Sprintf("%d %s %d", m.From, verb, m.To)
}

func (a *app) discard(cmd *cobra.Command, c *client.Client, aggregateType string, conflicting bool) error {
	if conflicting {
		return usageError("give one of -f, --dry-run and --discard", "drafts cannot be dropped and migrated at once")
	}
	types, err := c.SchemaDiscard(cmd.Context(), aggregateType)
	if err != nil {
		return err
	}
	if len(types) == 0 {
		fmt.Fprintln(a.errOut, "there was no draft")
		return a.showNothing()
	}
	p := a.printer("DISCARDED")
	for _, t := range types {
		if err := p.add(t, t); err != nil {
			return err
		}
	}
	return p.close()
}
