package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
)

const auditHelp = `List administrative acts, oldest first: what was done with schemas, auth keys, tokens, imports and the configuration, by whom and when. Each is an event of the
system log, and has a hash: ` + "`eventful event:get HASH`" + ` shows it, aggregate:verify proves it.

With an auth key that administers every type, everything is shown. Without an auth key the access token is asked: it sees the types that it names with the
action read, for example --aggregates=eventful-schema,eventful-key,eventful-token; an auth key that names these types makes it (docs/using.md).

  eventful audit:list --since=24h
  eventful audit:list --actor=auth-key:ABC… --since=2026-01-01
  eventful audit:list --aggregate=patient             acts on the schema of patient
  eventful audit:list --aggregate=eventful-token/ID   what became of one token`

func newAuditListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "audit:list", Short: "List administrative acts: who did what, and when", Long: auditHelp, Args: cobra.NoArgs}
	var want client.ActsWanted
	flags := cmd.Flags()
	flags.StringVar(&want.Actor, "actor", "", "only acts of this `actor`, as the list names it")
	flags.StringVar(&want.About, "aggregate", "", "only acts about this `aggregate` (TYPE or TYPE/ID)")
	since := flags.String("since", "", "not before: an RFC 3339 `time`, a date, or how long ago, for example 24h")
	until := flags.String("until", "", "before: a `time` as with --since")
	flags.BoolVar(&want.Units, "units", false, "what writers record of write budgets too")
	flags.IntVar(&want.Take, "take", 100, "`number` of acts on a page")
	cursor := flags.String("cursor", "", "`cursor` of an earlier page, to go on behind it")
	all := flags.Bool("all", false, "all pages")
	inboxFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if want.Take < 1 {
			return usageError("give 1 or more", "--take=%d lists nothing", want.Take)
		}
		if want.Since, err = momentOf("since", *since, time.Now()); err != nil {
			return err
		}
		if want.Until, err = momentOf("until", *until, time.Now()); err != nil {
			return err
		}
		return a.listActs(cmd, want, *cursor, *all)
	}
	return cmd
}

// momentOf reads a time, a date (its beginning in UTC), or how long ago.
func momentOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, usageError("for example 2026-01-31T08:00:00Z, 2026-01-31 or 24h", "--%s=%.80q is no time", flag, text)
}

func (a *app) listActs(cmd *cobra.Command, want client.ActsWanted, cursor string, all bool) error {
	seed, err := a.authKey()
	if err != nil {
		return err
	}
	administers, connect := seed != nil, a.connect
	if administers {
		connect = a.connectAdmin
	}
	c, err := connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	p := a.page("acts", "TIME", "ACTOR", "ACT", "ON", "WHAT", "HASH")
	for shown := 0; ; {
		page, err := c.Audit(cmd.Context(), administers, want, cursor)
		if err != nil {
			return err
		}
		for _, e := range page.Acts {
			if err := p.add(e, timeText(e.Time), e.Actor, e.Event, e.Type+"/"+e.ID, actText(e), short(e.Hash)); err != nil {
				return err
			}
		}
		shown += len(page.Acts)
		if cursor = page.Cursor; cursor == "" || shown > 0 && !all {
			break
		}
	}
	if err := p.endPage(cursor); err != nil || cursor == "" {
		return err
	}
	fmt.Fprintf(a.errOut, "there is more: --cursor=%s, or --all\n", printable(cursor))
	return nil
}

// actText shows the fields of an act on one line; long ones, as the definition of a schema, are left to event:get.
func actText(e client.Recorded) string {
	const longest = 40
	var words []string
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		text := fieldText(e.Fields[name])
		if len(text) > longest {
			text = "…"
		}
		words = append(words, name+"="+text)
	}
	return strings.Join(words, " ")
}
