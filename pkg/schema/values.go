package schema

import (
	"strings"
	"unicode/utf8"
)

// accepts says for each type which texts are of it. String and Enum are missing: the one takes any text, the other has its list.
var accepts = map[FieldType]func(string) bool{
	Integer: isInteger, Decimal: isDecimal, Date: isDate, DateTime: isDateTime, Bool: isBool, Email: isEmail, UUID: isUUID,
}

// grammar says for people what accepts demands.
var grammar = map[FieldType]string{
	Integer:  "an optional -, then digits: -42",
	Decimal:  "a JSON number: 1.10, -3, 6.02e23",
	Date:     "RFC 3339: 2014-10-22",
	DateTime: "RFC 3339 with a time zone: 2014-10-22T11:27:00Z",
	Bool:     "true or false",
	Email:    "an address alone: name@example.org",
	UUID:     "RFC 9562: 8-4-4-4-12 hexadecimal digits",
}

func isBool(s string) bool { return s == "true" || s == "false" }

func isInteger(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && digits(s) == len(s)
}

// digits counts the decimal digits at the start of s.
func digits(s string) (n int) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// isDecimal holds the grammar of number in RFC 8259, section 6.
func isDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	n := digits(s)
	if n == 0 || n > 1 && s[0] == '0' {
		return false
	}
	if s = s[n:]; strings.HasPrefix(s, ".") {
		if n = digits(s[1:]); n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// isDate holds full-date of RFC 3339, section 5.6, with the days that each month has.
func isDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' || digits(s[:4]) != 4 || digits(s[5:7]) != 2 || digits(s[8:]) != 2 {
		return false
	}
	year, month, day := number(s[:4]), number(s[5:7]), number(s[8:])
	return month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month)
}

func number(digits string) (n int) {
	for i := range len(digits) {
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// isDateTime holds date-time of RFC 3339, section 5.6. The second 60 is accepted where a leap second can be: at 23:59 UTC.
func isDateTime(s string) bool {
	if len(s) < len("2006-01-02T15:04:05Z") || !isDate(s[:10]) || s[10] != 'T' && s[10] != 't' {
		return false
	}
	minute, ok := clock(s[11:16])
	if !ok || s[16] != ':' || digits(s[17:19]) != 2 {
		return false
	}
	second, rest := number(s[17:19]), s[19:]
	if rest[0] == '.' {
		n := digits(rest[1:])
		if n == 0 {
			return false
		}
		rest = rest[1+n:]
	}
	offset, ok := zone(rest)
	leap := second == 60 && (minute-offset+2*24*60)%(24*60) == 23*60+59
	return ok && (second < 60 || leap)
}

// clock reads hh:mm as minutes.
func clock(s string) (minutes int, ok bool) {
	if len(s) != 5 || digits(s[:2]) != 2 || s[2] != ':' || digits(s[3:]) != 2 {
		return 0, false
	}
	h, m := number(s[:2]), number(s[3:])
	return 60*h + m, h < 24 && m < 60
}

// zone reads a time-offset as minutes east of UTC.
func zone(s string) (minutes int, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	minutes, ok = clock(s[1:])
	if s[0] == '-' {
		minutes = -minutes
	}
	return minutes, ok
}

// isEmail holds a dot-atom, an @ and a domain name (RFC 5321, section 4.1.2 and its limits), characters beyond ASCII allowed as
// RFC 6531 does. Quoted local parts and address literals are left out on purpose.
func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 || !utf8.ValidString(s) {
		return false
	}
	for atom := range strings.SplitSeq(s[:at], ".") {
		if atom == "" || strings.IndexFunc(atom, notAtext) >= 0 {
			return false
		}
	}
	for label := range strings.SplitSeq(s[at+1:], ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.IndexFunc(label, notLabel) >= 0 {
			return false
		}
	}
	return true
}

func notAtext(r rune) bool {
	return !alphanumeric(r) && !(r < utf8.RuneSelf && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r))
}

func notLabel(r rune) bool { return !alphanumeric(r) && r != '-' }

// alphanumeric takes every character behind U+00A0, so neither a C1 control character nor a no-break space.
func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r > 0xa0
}

// isUUID holds the text form of RFC 9562, section 4; both cases of a digit are accepted.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'):
			return false
		}
	}
	return true
}
