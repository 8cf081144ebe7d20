package importer

import (
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Layouts with a name of their own, beside those of package time.
const (
	layoutRFC3339   = "rfc3339" // up to nine fractional digits
	layoutUnix      = "unix"    // whole seconds since 1970
	layoutUnixMilli = "unix-ms" // milliseconds since 1970
)

// checkLayout says why a layout cannot be used, or "". A layout is tried on a known instant: what it writes, it must read as that instant again.
func checkLayout(layout string, zoned bool) string {
	switch layout {
	case layoutRFC3339, layoutUnix, layoutUnixMilli:
		return ""
	}
	elsewhere := time.FixedZone("", 5*3600+1800)
	want := time.Date(2021, time.November, 23, 0, 0, 0, 0, elsewhere)
	text := want.Format(layout)
	got, err := time.Parse(layout, text)
	switch {
	case err != nil:
		return "does not read what it writes (" + text + ")"
	case got.Year() != 2021 || got.Month() != time.November || got.Day() != 23:
		return "does not hold year, month and day; 2006-01-02 15:04:05 shows how a layout is written"
	case !got.Equal(want) && !zoned:
		return "holds no offset such as -07:00; say with zone which time zone is meant"
	}
	return ""
}

// at reads a cell. nil without a problem: the cell is empty, the event has no time of its own.
func (t *TimeMapping) at(text string) (*event.Time, *problem.Problem) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	when, err := t.parse(text)
	if err != nil {
		return nil, problem.New(problem.Malformed, "column %q: the cell is no time of the layout %s", t.Column, t.Layout).
			WithHint("mend the cell, or the layout in the mapping")
	}
	if when.Before(minTime) || when.After(maxTime) {
		return nil, problem.New(problem.Malformed, "column %q: the time is out of range", t.Column).
			WithHint("times go from 1677-09-22 to 2262-04-11")
	}
	ns := event.Time(when.UnixNano())
	return &ns, nil
}

var (
	minTime = time.Unix(0, -1<<63)
	maxTime = time.Unix(0, 1<<63-1)
)

func (t *TimeMapping) parse(text string) (time.Time, error) {
	switch t.Layout {
	case layoutRFC3339:
		return time.Parse(time.RFC3339Nano, text)
	case layoutUnix:
		n, err := strconv.ParseInt(text, 10, 64)
		return time.Unix(n, 0), err
	case layoutUnixMilli:
		n, err := strconv.ParseInt(text, 10, 64)
		return time.UnixMilli(n), err
	}
	return time.ParseInLocation(t.Layout, text, t.Zone)
}
