package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// shortHash is how many digits of a hash a table shows; event:get takes them.
const shortHash = 12

// aggregate reads TYPE/ID. What has no slash, or no type name before the first one, is a bare id: the server says which types have it.
func aggregate(cmd *cobra.Command, c *client.Client, text string) (event.AggregateID, error) {
	if aggregateType, _, ok := strings.Cut(text, "/"); ok && event.CheckType(aggregateType) == nil {
		a, err := streams.ParseAggregate(text)
		if err != nil {
			return a, problem.New(problem.Malformed, "%v", err).WithHint("an aggregate is named TYPE/ID, for example patient/A")
		}
		return a, nil
	}
	if err := event.CheckID(text); err != nil {
		return event.AggregateID{}, problem.New(problem.Malformed, "%v", err).WithHint("an aggregate is named TYPE/ID, for example patient/A")
	}
	found, err := c.Resolve(cmd.Context(), text)
	switch {
	case errors.Is(err, client.ErrNotFound), err == nil && len(found) == 0:
		return event.AggregateID{}, problem.New(problem.NotFound, "there is no aggregate with the id %.140q", text).
			WithHint("an aggregate is named TYPE/ID; `eventful aggregate:list` lists them")
	case err != nil:
		return event.AggregateID{}, err
	case len(found) == 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, a := range found {
		names[i] = a.String()
	}
	return event.AggregateID{}, usageError("name one of them: "+strings.Join(names, ", "), "%d aggregates have the id %.140q", len(found), text)
}

// onAggregate makes a command that works on one aggregate, its first argument.
func (a *app) onAggregate(cmd *cobra.Command, run func(*cobra.Command, *client.Client, event.AggregateID, []string) error) *cobra.Command {
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		id, err := aggregate(cmd, c, args[0])
		if err != nil {
			return err
		}
		return run(cmd, c, id, args[1:])
	}
	return cmd
}

func newAggregateGetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:get [TYPE/]ID [VERSION]",
		Short: "Show the state of an aggregate, now or at a version",
		Args:  cobra.RangeArgs(1, 2),
	}
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, rest []string) error {
		options := []client.ReadOption{client.Latest()}
		if len(rest) == 1 {
			n, err := strconv.ParseUint(rest[0], 10, 63)
			if err != nil || n == 0 {
				return usageError("versions are 1, 2, 3 …", "%.80q is no version", rest[0])
			}
			options = append(options, client.AtVersion(event.Version(n)))
		}
		state, err := c.Get(cmd.Context(), id, options...)
		if err != nil {
			return err
		}
		return a.showState(state)
	})
}

func (a *app) showState(s *client.State) error {
	pairs := []string{"aggregate", s.Type + "/" + s.ID, "version", fmt.Sprint(s.Version)}
	if s.Deleted {
		pairs = append(pairs, "deleted", "yes: its newest event ended it")
	}
	if s.RolledBack != "" {
		pairs = append(pairs, "rolled back", "by rollback "+s.RolledBack)
	}
	if s.Archived {
		pairs = append(pairs, "archived", "yes: `eventful aggregate:restore` brings it back")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
		pairs = append(pairs, "  "+name, s.Fields[name])
	}
	for _, name := range s.Shredded {
		pairs = append(pairs, "  "+name, shreddedText)
	}
	pairs = append(pairs, "actor", s.Actor, "occurred at", timeOrDash(s.OccurredAt), "written at", timeText(s.Time), "hash", s.Hash, "root", s.Root)
	return a.show(s, pairs...)
}

func newAggregateHistoryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:history [TYPE/]ID",
		Short: "List the events of an aggregate, with actors, times and hashes",
		Args:  cobra.ExactArgs(1),
	}
	from := cmd.Flags().Uint64("from", 1, "first `version` to list")
	take := cmd.Flags().Uint64("take", 0, "`number` of events to list; 0: all")
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, _ []string) error {
		p := a.printer("VERSION", "EVENT", "FIELDS", "ACTOR", "OCCURRED AT", "WRITTEN AT", "HASH")
		n := uint64(0)
		for e, err := range c.History(cmd.Context(), id, client.From(event.Version(*from)), client.Latest()) {
			if err != nil {
				return err
			}
			err = p.add(e, fmt.Sprint(e.Version), e.Event, recordedFields(&e), e.Actor, timeOrDash(e.OccurredAt), timeText(e.Time), short(e.Hash))
			if err != nil {
				return err
			}
			if n++; n == *take {
				break
			}
		}
		return p.close()
	})
}

// shreddedText stands for a value whose key is gone.
const shreddedText = "(shredded)"

func recordedFields(e *client.Recorded) string {
	text := fieldList(e.Fields)
	for _, name := range e.Shredded {
		if text != "" {
			text += " "
		}
		text += name + "=" + shreddedText
	}
	return text
}

func fieldList(fields map[string]*string) string {
	parts := make([]string, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+"="+fieldText(fields[name]))
	}
	return strings.Join(parts, " ")
}

func short(hash string) string { return hash[:min(len(hash), shortHash)] }

func newAggregateListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:list [TYPE]",
		Short: "List aggregates, page by page",
		Long: "List aggregates, page by page. In JSON and YAML a page is an object: the list `aggregates`, and the `cursor` of the next page, which is empty\n" +
			"on the last one. In a table, and in NDJSON, where each line is an aggregate, standard error says that there is more.",
		Args: cobra.MaximumNArgs(1),
	}
	take := cmd.Flags().Int("take", 100, "`number` of aggregates on a page")
	cursor := cmd.Flags().String("cursor", "", "`cursor` of an earlier page, to go on behind it")
	all := cmd.Flags().Bool("all", false, "all pages")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *take < 1 {
			return usageError("give 1 or more", "--take=%d lists nothing", *take)
		}
		aggregateType := strings.Join(args, "")
		if len(args) == 1 {
			if err := checkType(aggregateType); err != nil {
				return err
			}
		}
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		p := a.page("aggregates", "AGGREGATE", "VERSION", "STATE", "WRITTEN AT", "ROOT")
		for {
			page, err := c.ListPage(cmd.Context(), aggregateType, client.PageSize(*take), client.Cursor(*cursor))
			if err != nil {
				return err
			}
			if len(page.Aggregates) == 0 && aggregateType != "" {
				if err := typeExists(cmd, c, aggregateType); err != nil {
					return err
				}
			}
			for _, s := range page.Aggregates {
				if err := p.add(s, s.Type+"/"+s.ID, fmt.Sprint(s.Version), lifeText(s.Deleted), timeText(s.Time), short(s.Root)); err != nil {
					return err
				}
			}
			if *cursor = page.Cursor; *cursor == "" || !*all {
				break
			}
		}
		if err := p.endPage(*cursor); err != nil || *cursor == "" {
			return err
		}
		fmt.Fprintf(a.errOut, "there is more: --cursor=%s, or --all\n", printable(*cursor))
		return nil
	}
	return cmd
}

// typeExists is an error for a type that has no schema, not even a draft. Those of EventfulDB itself are built in.
func typeExists(cmd *cobra.Command, c *client.Client, aggregateType string) error {
	if event.IsReserved(aggregateType) {
		return nil
	}
	schemas, err := c.SchemaList(cmd.Context())
	if err != nil {
		return fmt.Errorf("find the aggregate type %s: %w", aggregateType, err)
	}
	if slices.ContainsFunc(schemas, func(s client.Schema) bool { return s.Type == aggregateType }) {
		return nil
	}
	return noSuchType(aggregateType)
}

func lifeText(deleted bool) string {
	if deleted {
		return "deleted"
	}
	return "alive"
}
