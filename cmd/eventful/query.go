package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// waitFlag is that of every query.
func waitFlag(cmd *cobra.Command) {
	cmd.Flags().String("wait-for", "latest", "answer when everything up to this `position` is included, as a write printed it; latest: all that is stored; none: at once")
}

// waiting reads the flag of waitFlag.
func waiting(cmd *cobra.Command) (client.ReadOption, error) {
	switch text, _ := cmd.Flags().GetString("wait-for"); text { // it is a string flag
	case "latest":
		return client.Latest(), nil
	case "none":
		return client.WaitFor(""), nil
	default:
		if _, err := event.ParsePosition(text); err != nil {
			return nil, usageError("give a position as event:add prints it, latest or none", "--wait-for=%.80q is no position", text)
		}
		return client.WaitFor(text), nil
	}
}

// pageFlags are those of a list that comes in pages.
type pageFlags struct {
	take   *int
	cursor *string
	all    *bool
}

func newPageFlags(cmd *cobra.Command, what string) pageFlags {
	f := cmd.Flags()
	return pageFlags{f.Int("take", 100, "`number` of "+what+" on a page"), f.String("cursor", "", "`cursor` of an earlier page, to go on behind it"), f.Bool("all", false, "all pages")}
}

// next is how many the next answer shall hold, behind those that were shown: an answer holds a thousand at most, and a page may take several.
func (p *pageFlags) next(shown int) int {
	if *p.all {
		return *p.take
	}
	return *p.take - shown
}

// full reports whether no more are to be shown.
func (p *pageFlags) full(shown int) bool { return !*p.all && shown >= *p.take }

func (p *pageFlags) check() error {
	if *p.take < 1 {
		return usageError("give 1 or more", "--take=%d lists nothing", *p.take)
	}
	return nil
}

// versionOf reads a version; least is 0 where that is the aggregate before its first event.
func versionOf(text string, least uint64) (event.Version, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n < least || strconv.FormatUint(n, 10) != text || n > event.MaxVersion {
		return 0, usageError("versions are 1, 2, 3 …", "%.80q is no version", text)
	}
	return event.Version(n), nil
}

// twoVersions reads the two of --diff=V1,V2.
func twoVersions(text string) (from, to event.Version, err error) {
	first, second, two := strings.Cut(text, ",")
	if !two {
		return 0, 0, usageError("for example --diff=1,3; 0 is before the first event", "--diff=%.80q is not two versions", text)
	}
	if from, err = versionOf(first, 0); err != nil {
		return 0, 0, err
	}
	to, err = versionOf(second, 0)
	return from, to, err
}

// kindOfEvents reads [TYPE/]EVENT of --type and TYPE[/ID] of --aggregate into what is asked for.
func kindOfEvents(want *client.EventsWanted, eventType, of string) error {
	if aggregateType, name, typed := strings.Cut(eventType, "/"); typed {
		want.Type, want.Event = aggregateType, name
	} else {
		want.Event = eventType
	}
	if want.Event != "" {
		if err := event.CheckEventType(want.Event); err != nil {
			return usageError("for example --type=patient/crp or --type=crp", "--type=%.80q: %v", eventType, err)
		}
	}
	aggregateType, id, one := strings.Cut(of, "/")
	switch {
	case of == "":
	case want.Type != "" && want.Type != aggregateType:
		return usageError("leave one of them out", "--type=%s and --aggregate=%.80q are of two types", eventType, of)
	default:
		want.Type, want.ID = aggregateType, id
	}
	if want.Type != "" {
		if err := checkType(want.Type); err != nil {
			return err
		}
	}
	if one {
		if err := event.CheckID(id); err != nil {
			return usageError("for example --aggregate=patient/A", "--aggregate=%.80q: %v", of, err)
		}
	}
	return nil
}

// periodFlags reads --since and --until.
func periodOf(want *client.EventsWanted, since, until string) (err error) {
	now := time.Now()
	if want.Since, err = momentOf("since", since, now); err == nil {
		want.Until, err = momentOf("until", until, now)
	}
	return err
}
