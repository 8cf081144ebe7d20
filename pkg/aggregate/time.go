package aggregate

import (
	"math"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

var earliest, latest = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

// ParseOccurredAt reads an RFC 3339 time with up to nine fractional digits, from 1677-09-21 to 2262-04-11. Leap seconds have no place in an
// event.Time and are refused. The error is a *problem.Problem.
func ParseOccurredAt(s string) (event.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil || lax(s) {
		return 0, problem.New(problem.Malformed, "the occurred-at time %q cannot be read", clip(s)).
			WithHint("RFC 3339 with a time zone and at most nine fractional digits: 2014-10-22T11:27:00Z")
	}
	if t.Before(earliest) || t.After(latest) {
		return 0, problem.New(problem.Malformed, "the occurred-at time %q is out of range", clip(s)).
			WithHint("from %s to %s", earliest.UTC().Format(time.DateOnly), latest.UTC().Format(time.DateOnly))
	}
	return event.Time(t.UnixNano()), nil
}

// lax reports what package time reads and RFC 3339 or the log does not: an hour of one digit, a comma before the fraction, more than nine
// fractional digits, and a zone of 24 hours or 60 minutes.
func lax(s string) bool {
	_, fraction, _ := strings.Cut(s, ".")
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	return s[len("2006-01-02T15")] != ':' || strings.Contains(s, ",") || strings.IndexFunc(fraction, notDigit) > 9 || laxZone(s)
}

// laxZone looks at the end of a time that package time has read: Z, or a sign, hours and minutes (RFC 3339, section 5.6: 00 to 23, 00 to 59).
func laxZone(s string) bool {
	if strings.HasSuffix(s, "Z") {
		return false
	}
	hours, minutes, _ := strings.Cut(s[len(s)-len("07:00"):], ":")
	return hours > "23" || minutes > "59"
}
