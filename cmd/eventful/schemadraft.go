package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// pending is what the server holds of a type before a command changes it.
type pending struct {
	now     *schema.Schema // the schema in force; nil: none
	former  *schema.Schema // the draft if there is one, else the schema in force; nil: the type is new
	drafted bool           // former is a draft
}

// drafted is what one command changed of one type.
type drafted struct {
	Type    string                `json:"type"`
	Changes []client.SchemaChange `json:"changes"`
}

// present reads what the server holds of a type, which must be there.
func present(cmd *cobra.Command, c *client.Client, aggregateType string) (pending, error) {
	if err := checkType(aggregateType); err != nil {
		return pending{}, err
	}
	s, err := c.SchemaShow(cmd.Context(), aggregateType)
	if err != nil {
		return pending{}, err
	}
	p, err := pendingOf(s)
	if err == nil && p.former == nil {
		err = noSuchType(aggregateType)
	}
	return p, err
}

func noSuchType(aggregateType string) error {
	return problem.New(problem.NotFound, "there is no aggregate type %s", aggregateType).
		WithHint("`eventful schema:list` lists the types, `eventful schema:create` drafts a new one")
}

func pendingOf(s *client.Schema) (p pending, err error) {
	if s.Version > 0 && isThere(s.Definition) {
		if p.now, err = compiled(s.Definition, s.Version); err != nil {
			return p, err
		}
	}
	p.former = p.now
	if isThere(s.Draft) {
		p.drafted = true
		p.former, err = compiled(s.Draft, s.Version+1)
	}
	return p, err
}

func (p pending) inForceHas(eventType string) bool {
	if p.now == nil {
		return false
	}
	_, ok := p.now.Events[eventType]
	return ok
}

func compiled(text json.RawMessage, version uint64) (*schema.Schema, error) {
	list, err := schema.Parse(text)
	if err == nil && len(list) != 1 {
		err = problem.New(problem.Internal, "the server answered with %d definitions, want 1", len(list))
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's definition: %w", err)
	}
	return schema.Compile(list[0], version)
}

// draftOne drafts one definition and shows what changed.
func (a *app) draftOne(cmd *cobra.Command, c *client.Client, p pending, next schema.Definition) error {
	d, err := a.draft(cmd, c, p, next)
	if err != nil {
		return err
	}
	return a.showDrafted(d)
}

// draft checks the definition, sends it, and says what it changes of what was there before.
func (a *app) draft(cmd *cobra.Command, c *client.Client, p pending, next schema.Definition) (drafted, error) {
	d := drafted{Type: next.Aggregate, Changes: []client.SchemaChange{}}
	if wrong := problem.Join(next.Check()); wrong != nil {
		return d, withHint(wrong, schemaHint)
	}
	fromNow := schema.Diff(p.now, next)
	for _, change := range fromNow {
		if !change.Compatible {
			return d, problem.New(problem.Invalid, "%s: %s", next.Aggregate, change.Text).
				WithHint("`eventful schema:show %s` shows the schema in force, docs/schema.md what can change", next.Aggregate)
		}
	}
	changes := fromNow
	if p.drafted {
		changes = schema.Diff(p.former, next)
	}
	for _, change := range changes { // what is not possible for a schema in force is possible for a draft
		if !change.Compatible {
			change.Text, _, _ = strings.Cut(change.Text, ": ")
		}
		d.Changes = append(d.Changes, client.SchemaChange{Text: change.Text, Compatible: true})
	}
	switch {
	case len(changes) == 0 && p.drafted:
		fmt.Fprintf(a.errOut, "the draft of %s is so already: nothing to draft\n", next.Aggregate)
		return d, nil
	case len(changes) == 0:
		fmt.Fprintf(a.errOut, "%s is as the schema in force: nothing to draft\n", next.Aggregate)
		return d, nil
	case len(fromNow) == 0:
		fmt.Fprintf(a.errOut, "the draft of %s is now as the schema in force; `eventful schema:migrate --discard` drops it\n", next.Aggregate)
	}
	return d, c.SchemaDraft(cmd.Context(), next.Canonical())
}

// showDrafted prints what a command changed: an array of the types that it changed, which may be empty.
func (a *app) showDrafted(all ...drafted) error {
	all = slices.DeleteFunc(all, func(d drafted) bool { return len(d.Changes) == 0 })
	if len(all) == 0 {
		return a.showNothing()
	}
	p := a.printer("TYPE", "CHANGE")
	for _, d := range all {
		if err := p.changes(d, d.Type, d.Changes); err != nil {
			return err
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	fmt.Fprintln(a.errOut, "drafted:", pendingNote)
	return nil
}

// changes prints one type: as one value, or in a table one change a line.
func (p *printer) changes(value any, aggregateType string, changes []client.SchemaChange) error {
	if p.form != "table" {
		return p.add(value)
	}
	for _, change := range changes {
		text := change.Text
		if !change.Compatible {
			text = "NOT POSSIBLE: " + text
		}
		if err := p.add(change, aggregateType, text); err != nil {
			return err
		}
	}
	return nil
}

func newSchemaApplyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:apply FILE",
		Short: "Draft the schemas of a YAML or JSON file; - is standard input",
		Long: "Draft the schemas of a file: one definition, a list, or several YAML documents, as schema:show prints them (docs/schema.md).\n" +
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
			return fmt.Errorf("%s: %w", args[0], withHint(err, schemaHint))
		}
		return a.withAdmin(cmd, func(c *client.Client) error {
			all := make([]drafted, 0, len(definitions))
			for _, d := range definitions {
				one, err := a.apply(cmd, c, d)
				if err != nil {
					return errors.Join(a.showDrafted(all...), err) // those before it are drafted
				}
				all = append(all, one)
			}
			return a.showDrafted(all...)
		})
	}
	return cmd
}

func (a *app) apply(cmd *cobra.Command, c *client.Client, d schema.Definition) (drafted, error) {
	s, err := c.SchemaShow(cmd.Context(), d.Aggregate)
	if errors.Is(err, client.ErrNotFound) {
		return a.draft(cmd, c, pending{}, d)
	}
	if err != nil {
		return drafted{}, err
	}
	p, err := pendingOf(s)
	if err != nil {
		return drafted{}, err
	}
	return a.draft(cmd, c, p, schema.CarryOver(p.now, d))
}
