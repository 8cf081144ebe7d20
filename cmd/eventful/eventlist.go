package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
)

const eventListHelp = `List events in the order in which they were stored, page by page: those of one log in its order, those of several by time.

  eventful event:list --actor=user:House --since=24h
  eventful event:list --type=patient/crp --aggregate=patient/A
  eventful event:list --correlation=order-17 --all -o ndjson

The events of EventfulDB itself are listed where a type of them is named, for example --aggregate=eventful-schema.`

func newEventListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "event:list", Short: "List events by actor, correlation, type and time", Long: eventListHelp, Args: cobra.NoArgs}
	var want client.EventsWanted
	flags := cmd.Flags()
	flags.StringVar(&want.Actor, "actor", "", "only events of this `actor`, for example user:House")
	flags.StringVar(&want.Correlation, "correlation", "", "only events with this correlation `id`")
	eventType := flags.String("type", "", "only events of this `type` ([TYPE/]EVENT)")
	of := flags.String("aggregate", "", "only events of this `aggregate` (TYPE or TYPE/ID)")
	since := flags.String("since", "", "stored not before: an RFC 3339 `time`, a date, or how long ago, for example 24h")
	until := flags.String("until", "", "stored before: a `time` as with --since")
	pages := newPageFlags(cmd, "events")
	waitFlag(cmd)
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := pages.check(); err != nil {
			return err
		}
		if err := kindOfEvents(&want, *eventType, *of); err != nil {
			return err
		}
		if err := periodOf(&want, *since, *until); err != nil {
			return err
		}
		return a.listEvents(cmd, want, pages)
	}
	return cmd
}

func (a *app) listEvents(cmd *cobra.Command, want client.EventsWanted, pages pageFlags) error {
	wait, err := waiting(cmd)
	if err != nil {
		return err
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	p := a.page("events", "TIME", "ACTOR", "EVENT", "ON", "VERSION", "FIELDS", "HASH")
	cursor := *pages.cursor
	for shown := 0; ; {
		want.Take = pages.next(shown)
		page, err := c.EventsPage(cmd.Context(), want, cursor, wait)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := p.add(e, eventCells(&e)...); err != nil {
				return err
			}
		}
		shown += len(page.Events)
		if shown == 0 && page.Cursor == "" && want.Type != "" { // a list of nothing may be one of a type that is misspelt
			if err := typeExists(cmd, c, want.Type); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == "" || pages.full(shown) {
			break
		}
	}
	return a.endPages(p, cursor)
}

func eventCells(e *client.Recorded) []string {
	return []string{timeText(e.Time), e.Actor, e.Event, e.Type + "/" + e.ID, fmt.Sprint(e.Version), recordedFields(e), short(e.Hash)}
}

// endPages ends a list that came in pages, and says where it goes on.
func (a *app) endPages(p *printer, cursor string) error {
	if err := p.endPage(cursor); err != nil || cursor == "" {
		return err
	}
	fmt.Fprintf(a.errOut, "there is more: --cursor=%s, or --all\n", printable(cursor))
	return nil
}

const eventTailHelp = `Follow events as they are stored, until you stop it (Ctrl-C). Each event is shown once, those of a log in their order, also when the connection or the server is lost meanwhile.

  eventful event:tail --type=patient/crp
  eventful event:tail --from=start -o ndjson     from the first event on

Where it ended it says a cursor on standard error, with which --from goes on behind the last event that was shown.`

func newEventTailCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "event:tail", Short: "Follow events live", Long: eventTailHelp, Args: cobra.NoArgs}
	var want client.EventsWanted
	flags := cmd.Flags()
	flags.StringVar(&want.Actor, "actor", "", "only events of this `actor`")
	eventType := flags.String("type", "", "only events of this `type` ([TYPE/]EVENT)")
	of := flags.String("aggregate", "", "only events of this `aggregate` (TYPE or TYPE/ID)")
	from := flags.String("from", "now", "where to begin: now, start, or the `cursor` that an earlier event:tail ended with")
	take := flags.Int("take", 0, "`number` of events after which it ends; 0: it goes on")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *take < 0 {
			return usageError("give 1 or more", "--take=%d shows nothing", *take)
		}
		if err := kindOfEvents(&want, *eventType, *of); err != nil {
			return err
		}
		return a.tailEvents(cmd, want, *from, *take)
	}
	return cmd
}

func (a *app) tailEvents(cmd *cobra.Command, want client.EventsWanted, from string, take int) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if want.Type != "" {
		if err := typeExists(cmd, c, want.Type); err != nil {
			return err
		}
	}
	cursor, now := from, from == "now"
	if now || from == "start" {
		cursor = ""
	}
	if take > 0 {
		want.Take = min(take, 1000) // so that a page ends where it is to end
	}
	p := a.printer("TIME", "ACTOR", "EVENT", "ON", "VERSION", "FIELDS", "HASH")
	shown := 0
	for e, err := range c.Tail(cmd.Context(), want, cursor, now, client.Latest()) {
		if err != nil {
			return err
		}
		if err := p.live(e, eventCells(&e.Recorded)...); err != nil {
			return err
		}
		if e.Cursor != "" {
			cursor = e.Cursor
		}
		if shown++; shown == take {
			break
		}
	}
	if cursor != "" && cursor != from {
		fmt.Fprintf(a.errOut, "to go on: --from=%s\n", printable(cursor))
	}
	return p.close()
}
