package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

const getHelp = `Show the state of an aggregate: now, at a version, as it was stored at a time, or what changed between two versions.

  eventful aggregate:get patient/A
  eventful aggregate:get patient/A 3
  eventful aggregate:get patient/A --at=2026-01-31T08:00:00Z
  eventful aggregate:get patient/A --diff=1,3`

func newAggregateGetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:get [TYPE/]ID [VERSION]",
		Short: "Show the state of an aggregate, now, at a version or time, or what changed",
		Long:  getHelp,
		Args:  cobra.RangeArgs(1, 2),
	}
	at := cmd.Flags().String("at", "", "as it was stored at this `time`: RFC 3339, a date, or how long ago, for example 24h")
	diff := cmd.Flags().String("diff", "", "what changed between two `versions`, for example 1,3; 0 is before the first event")
	waitFlag(cmd)
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, rest []string) error {
		if len(rest) == 1 && (*at != "" || *diff != "") || *at != "" && *diff != "" {
			return usageError("give one of them", "a version, --at and --diff say different states")
		}
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		if *diff != "" {
			return a.diff(cmd, c, id, *diff, wait)
		}
		options := []client.ReadOption{wait}
		if len(rest) == 1 {
			v, err := versionOf(rest[0], 1)
			if err != nil {
				return err
			}
			options = append(options, client.AtVersion(v))
		}
		when, err := momentOf("at", *at, time.Now())
		if err != nil {
			return err
		}
		state, err := c.Get(cmd.Context(), id, append(options, client.AtTime(when))...)
		if err != nil {
			return err
		}
		return a.showState(state)
	})
}

func (a *app) diff(cmd *cobra.Command, c *client.Client, id event.AggregateID, versions string, wait client.ReadOption) error {
	from, to, err := twoVersions(versions)
	if err != nil {
		return err
	}
	d, err := c.Diff(cmd.Context(), id, from, to, wait)
	if err != nil {
		return err
	}
	if a.form != "table" {
		return a.show(d)
	}
	p := a.printer("FIELD", fmt.Sprintf("VERSION %d", from), fmt.Sprintf("VERSION %d", to))
	for _, change := range d.Changes {
		if err := p.add(change, change.Field, changeText(change.Before, change.ShreddedBefore), changeText(change.After, change.ShreddedAfter)); err != nil {
			return err
		}
	}
	if d.DeletedBefore != d.DeletedAfter {
		if err := p.add(nil, "(state)", lifeText(d.DeletedBefore), lifeText(d.DeletedAfter)); err != nil {
			return err
		}
	}
	return p.close()
}

func changeText(value *string, shredded bool) string {
	if shredded {
		return shreddedText
	}
	return fieldText(value)
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
	skip := cmd.Flags().Uint64("skip", 0, "`number` of events to leave out at the beginning of the list")
	take := cmd.Flags().Uint64("take", 0, "`number` of events to list; 0: all")
	newest := cmd.Flags().Bool("newest-first", false, "begin with the newest event")
	waitFlag(cmd)
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, _ []string) error {
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		options := []client.ReadOption{client.From(event.Version(*from)), client.Skip(*skip), wait}
		if *newest {
			if cmd.Flags().Changed("from") {
				return usageError("use --skip", "--from counts from the oldest event, and --newest-first begins at the other end")
			}
			options = []client.ReadOption{client.NewestFirst(), client.Skip(*skip), wait}
		}
		if *take > 0 && *take < 100 {
			options = append(options, client.PageSize(int(*take)))
		}
		p := a.printer("VERSION", "EVENT", "FIELDS", "ACTOR", "OCCURRED AT", "WRITTEN AT", "HASH")
		n := uint64(0)
		for e, err := range c.History(cmd.Context(), id, options...) {
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

const listHelp = `List aggregates, page by page. In JSON and YAML a page is an object: the list "aggregates", and the "cursor" of the next page, which is empty
on the last one. In a table, and in NDJSON, where each line is an aggregate, standard error says that there is more.

  eventful aggregate:list patient --filter='status = deceased and age >= 80' --sort=-age
  eventful aggregate:list patient --filter='ward in [A1, A2] and name startsWith "M"'

Filters and orders are about the fields of one type, as they are now, and compare by the type that the schema says (docs/queries.md).`

func newAggregateListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "aggregate:list [TYPE]", Short: "List aggregates, filtered and sorted, page by page", Long: listHelp, Args: cobra.MaximumNArgs(1)}
	filter := cmd.Flags().String("filter", "", "only aggregates that fulfil this `condition` over their fields")
	sort := cmd.Flags().String("sort", "", "`fields` to sort by, separated by commas; - before one turns it round")
	archived := cmd.Flags().Bool("archived", false, "only aggregates that are archived (aggregate:archive)")
	pages := newPageFlags(cmd, "aggregates")
	waitFlag(cmd)
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := pages.check(); err != nil {
			return err
		}
		want := wantedList{aggregateType: strings.Join(args, ""), fields: *filter != "" || *sort != "", archived: *archived}
		if len(args) == 1 {
			if err := checkType(want.aggregateType); err != nil {
				return err
			}
		}
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		want.options = []client.ReadOption{client.Filter(*filter), client.Sort(*sort), wait}
		if *archived {
			want.options = append(want.options, client.OnlyArchived())
		}
		return a.listAggregates(cmd, want, pages)
	}
	return cmd
}

// wantedList is what a list of aggregates is about.
type wantedList struct {
	aggregateType string // empty: all
	fields        bool   // it is about the fields of one type
	archived      bool
	options       []client.ReadOption
}

func (a *app) listAggregates(cmd *cobra.Command, want wantedList, pages pageFlags) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if want.fields && want.aggregateType == "" {
		if want.aggregateType, err = onlyType(cmd, c); err != nil {
			return err
		}
	}
	columns := []string{"AGGREGATE", "VERSION", "STATE", "WRITTEN AT", "ROOT"}
	if want.archived {
		columns = append(columns, "ARCHIVED AT", "COMMENT")
	}
	p := a.page("aggregates", columns...)
	cursor := *pages.cursor
	for shown := 0; ; {
		page, err := c.ListPage(cmd.Context(), want.aggregateType, append(want.options, client.PageSize(pages.next(shown)), client.Cursor(cursor))...)
		if err != nil {
			return err
		}
		if len(page.Aggregates) == 0 && page.Cursor == "" && shown == 0 && want.aggregateType != "" {
			if err := typeExists(cmd, c, want.aggregateType); err != nil {
				return err
			}
		}
		for _, s := range page.Aggregates {
			row := []string{s.Type + "/" + s.ID, fmt.Sprint(s.Version), lifeText(s.Deleted), timeText(s.Time), short(s.Root)}
			if want.archived && s.Archived != nil {
				row = append(row, timeText(*s.Archived), s.Comment)
			}
			if err := p.add(s, row...); err != nil {
				return err
			}
		}
		shown += len(page.Aggregates)
		if cursor = page.Cursor; cursor == "" || pages.full(shown) {
			break
		}
	}
	return a.endPages(p, cursor)
}

// onlyType is the one type that there is; several are candidates.
func onlyType(cmd *cobra.Command, c *client.Client) (string, error) {
	schemas, err := c.SchemaList(cmd.Context())
	if err != nil {
		return "", fmt.Errorf("find the aggregate type: %w", err)
	}
	var types []string
	for _, s := range schemas {
		types = append(types, s.Type)
	}
	if len(types) == 1 {
		return types[0], nil
	}
	return "", usageError("name the TYPE; there are: "+strings.Join(types, ", "), "--filter and --sort are about the fields of one aggregate type")
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
