package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

const auditHelp = `List administrative acts, oldest first: what was done with schemas, auth keys, tokens, imports and the configuration, by whom and when. Each is an event of the
system log, and has a hash: ` + "`eventful event:get HASH`" + ` shows it, aggregate:verify proves it,
both with a token that names its type: eventful-schema and so on, as ON shows (an auth key shows no single events, and a token for * does not cover EventfulDB's own types).

With an auth key that administers every type, everything is shown. Without one the access token asks, and so it does where EVENTFUL_TOKEN is set and the auth
key is the session's: it sees the types that it names with the
action read, for example --aggregates=eventful-schema,eventful-key,eventful-token; an auth key that names these types makes it (docs/using.md).

  eventful audit:list --since=24h
  eventful audit:list --actor=auth-key:NAME --since=2026-01-01
  eventful audit:list --aggregate=patient             acts on the schema of patient
  eventful audit:list --aggregate=eventful-token/ID   what became of one token`

func newAuditListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "audit:list", Short: "List administrative acts: who did what, and when", Long: auditHelp, Args: cobra.NoArgs}
	var want client.ActsWanted
	flags := cmd.Flags()
	flags.StringVar(&want.Actor, "actor", "", "only acts of this `actor`, as the list shows it: by the name of an auth key, an id, or the beginning of one and …")
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
		if !want.Until.IsZero() && !want.Since.Before(want.Until) {
			return usageError("give a --since before --until", "nothing lies between --since=%.80s and --until=%.80s", *since, *until)
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
	administers, err := a.auditsAsKey()
	if err != nil {
		return err
	}
	connect := a.connect
	if administers {
		connect = a.connectAdmin
	}
	c, err := connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	names := keyNames{}
	if administers {
		names = a.keyNames(cmd, c)
	}
	if want.Actor, err = a.shownActor(cmd, c, names, want.Actor); err != nil {
		return err
	}
	p := a.page("acts", "TIME", "ACTOR", "ACT", "ON", "WHAT", "HASH")
	shown, take := 0, want.Take
	for {
		if !all {
			want.Take = take - shown
		}
		page, err := c.Audit(cmd.Context(), administers, want, cursor)
		if err != nil {
			return err
		}
		for _, e := range page.Acts {
			if err := p.add(e, e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), names.in(e.Actor), e.Event, names.in(e.Type+"/"+e.ID), actText(e, names), short(e.Hash)); err != nil {
				return err
			}
		}
		shown += len(page.Acts)
		if cursor = page.Cursor; cursor == "" || !all && shown >= take {
			break
		}
	}
	if shown == 0 {
		fmt.Fprintln(a.errOut, "no act matches"+unknownAbout(cmd, c, administers, want.About))
	}
	return a.endPages(p, cursor)
}

// unknownAbout adds that there is no such aggregate type, where who asks may know.
func unknownAbout(cmd *cobra.Command, c *client.Client, administers bool, about string) string {
	aggregateType, _, _ := strings.Cut(about, "/")
	if !administers || about == "" || event.IsReserved(aggregateType) {
		return ""
	}
	if _, err := c.SchemaShow(cmd.Context(), aggregateType); errors.Is(err, client.ErrNotFound) {
		return fmt.Sprintf(": there is no aggregate type %.80q", aggregateType)
	}
	return ""
}

// shownActor is the actor that is meant by one as the list shows it.
func (a *app) shownActor(cmd *cobra.Command, c *client.Client, names keyNames, shown string) (string, error) {
	if len(names) == 0 && strings.HasPrefix(shown, keyActor) {
		names = allKeyNames(cmd, c)
	}
	return names.actor(shown)
}

// auditsAsKey reports whether the auth key asks, not the access token: what is given goes before the session.
func (a *app) auditsAsKey() (bool, error) {
	key, err := a.settings.Secret(settings.AuthKey)
	if err != nil || key.Bytes != nil {
		return key.Bytes != nil, err
	}
	given, err := a.settings.Secret(settings.Token)
	if err != nil || given.Bytes != nil {
		return false, err
	}
	seed, err := a.authKey()
	return seed != nil, err
}

// actText shows the fields of an act on one line; long ones, as the definition of a schema, are left to event:get.
func actText(e client.Recorded, names keyNames) string {
	const longest, line = 40, 60
	first, rest := actFields(e)
	words := first
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		text := momentText(name, rest[name])
		if len(text) > longest && !longID.MatchString(text) {
			text = "…"
		}
		words = append(words, name+"="+text)
	}
	text := names.in(strings.Join(words, " "))
	if all := []rune(text); len(all) > line {
		text = string(all[:line-1]) + "…"
	}
	return text
}

// actFields sorts the fields of an act: what tells most, as text; the others by name. What another column says, and what is no text for people, is left out.
func actFields(e client.Recorded) (first []string, rest map[string]string) {
	rest = map[string]string{}
	for name, value := range e.Fields {
		text := fieldText(value)
		ceiling := name == "maxlimit" || name == "maxexpiration"
		if name != "proof" && name != "issuer" && name != "issued" && !(ceiling && text == "0") {
			rest[name] = text
		}
	}
	var made map[string]string
	if json.Unmarshal([]byte(rest["settings"]), &made) == nil {
		delete(rest, "settings")
		delete(made, "users") // public keys
		for _, name := range slices.Sorted(maps.Keys(made)) {
			first = append(first, name+"="+made[name])
		}
	}
	for _, name := range []string{"action", "role"} {
		if text, there := rest[name]; there {
			first = append(first, name+"="+text)
			delete(rest, name)
		}
	}
	if id, there := rest["identifierid"]; there {
		first = append(first, "for="+rest["identifiertype"]+":"+id)
		for _, name := range []string{"identifierid", "identifiertype", "user"} {
			delete(rest, name)
		}
	}
	if at, there := rest["expires"]; there {
		first = append(first, "expires="+momentText("expires", at))
		delete(rest, "expires")
	}
	return first, rest
}

// momentText is a field as a time, where it is one in seconds since 1970.
func momentText(name, text string) string {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || name != "expires" && name != "issued" || seconds == 0 {
		return text
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}
