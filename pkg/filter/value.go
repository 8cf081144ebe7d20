package filter

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/schema"
)

// comparing gives how two texts of a type are compared; fits is false where one of them is not of the type.
func comparing(kind schema.FieldType) func(a, b string) (order int, fits bool) {
	switch kind {
	case schema.Integer, schema.Decimal:
		return ordered(parseNumber, number.compare)
	case schema.DateTime:
		return ordered(parseInstant, instant.compare)
	case schema.Date:
		return ordered(func(s string) (string, bool) { return s, schema.IsDate(s) }, strings.Compare)
	case schema.Bool:
		return ordered(func(s string) (string, bool) { return s, s == "true" || s == "false" }, strings.Compare)
	case schema.UUID:
		return ordered(func(s string) (string, bool) { return strings.ToLower(s), schema.IsUUID(s) }, strings.Compare)
	}
	return func(a, b string) (int, bool) { return strings.Compare(a, b), true }
}

func ordered[T any](parse func(string) (T, bool), compare func(a, b T) int) func(a, b string) (int, bool) {
	return func(a, b string) (int, bool) {
		x, ok := parse(a)
		if !ok {
			return 0, false
		}
		y, ok := parse(b)
		if !ok {
			return 0, false
		}
		return compare(x, y), true
	}
}

// Canonical is a form that all texts share which are equal as values of some type: of numbers 80 for 080 and 8e1, of instants the one in UTC, of UUIDs the one with small
// letters. Texts that are different as strings may share it too.
func Canonical(text string) string {
	if text == "" {
		return text
	}
	if c := text[0]; c == '-' || c >= '0' && c <= '9' {
		if n, ok := parseNumber(text); ok {
			return n.String()
		}
		if i, ok := parseInstant(text); ok {
			return i.String()
		}
	}
	if schema.IsUUID(text) {
		return strings.ToLower(text)
	}
	return text
}

// number is a decimal number of any size and precision: 0.digits times ten to the power of exponent.
type number struct {
	negative bool
	digits   string // without zeros at both ends; empty: zero
	exponent int64
}

// parseNumber reads what schema takes as integer or decimal.
func parseNumber(s string) (n number, ok bool) {
	if !schema.IsInteger(s) && !schema.IsDecimal(s) {
		return n, false
	}
	s, n.negative = strings.CutPrefix(s, "-")
	mantissa, power := s, int64(0)
	if e := strings.IndexAny(s, "eE"); e >= 0 {
		mantissa, power = s[:e], bounded(s[e+1:])
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	trimmed := strings.TrimLeft(digits, "0")
	n.exponent = power + int64(len(whole)-(len(digits)-len(trimmed)))
	if n.digits = strings.TrimRight(trimmed, "0"); n.digits == "" {
		return number{}, true
	}
	return n, true
}

// bounded reads an exponent; one that is out of every reason is the largest, or smallest.
func bounded(s string) int64 {
	const far = math.MaxInt64 / 4
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && strings.HasPrefix(s, "-"):
		return -far
	case err != nil:
		return far
	}
	return max(min(n, far), -far)
}

// String is the canonical form.
func (n number) String() string {
	sign := ""
	if n.negative {
		sign = "-"
	}
	return sign + n.digits + "e" + strconv.FormatInt(n.exponent, 10)
}

func (n number) sign() int {
	switch {
	case n.digits == "":
		return 0
	case n.negative:
		return -1
	}
	return 1
}

func (n number) compare(o number) int {
	if a, b := n.sign(), o.sign(); a != b || a == 0 {
		return a - b
	}
	c := 0
	switch {
	case n.exponent < o.exponent:
		c = -1
	case n.exponent > o.exponent:
		c = 1
	default:
		c = strings.Compare(n.digits, o.digits)
	}
	return c * n.sign()
}

// instant is a moment of any precision.
type instant struct {
	second   int64
	fraction string // digits behind the point, without zeros at the end
}

// parseInstant reads what schema takes as datetime. A leap second is the second behind it.
func parseInstant(s string) (i instant, ok bool) {
	if !schema.IsDateTime(s) {
		return i, false
	}
	digits := func(from, to int) int {
		n, _ := strconv.Atoi(s[from:to]) // the grammar says that these are digits
		return n
	}
	rest := s[19:]
	if rest[0] == '.' {
		end := 1 + strings.IndexFunc(rest[1:], func(r rune) bool { return r < '0' || r > '9' })
		i.fraction, rest = strings.TrimRight(rest[1:end], "0"), rest[end:]
	}
	zone := 0
	if rest[0] == '+' || rest[0] == '-' {
		h, _ := strconv.Atoi(rest[1:3])
		m, _ := strconv.Atoi(rest[4:6])
		if zone = 60 * (60*h + m); rest[0] == '-' {
			zone = -zone
		}
	}
	at := time.Date(digits(0, 4), time.Month(digits(5, 7)), digits(8, 10), digits(11, 13), digits(14, 16), digits(17, 19), 0, time.UTC)
	i.second = at.Unix() - int64(zone)
	return i, true
}

// String is the canonical form.
func (i instant) String() string { return "@" + strconv.FormatInt(i.second, 10) + "." + i.fraction }

func (i instant) compare(o instant) int {
	switch {
	case i.second < o.second:
		return -1
	case i.second > o.second:
		return 1
	}
	return strings.Compare(i.fraction, o.fraction)
}
