package event

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of docs/spec/log.md, section 2. Lengths are in bytes.
const (
	MaxIDLen        = 128
	MaxCommandIDLen = 128
	MaxActorLen     = 256
	MaxTokenIDLen   = 64
	MaxContextLen   = 128
	MaxValueLen     = 1 << 20
	MaxFields       = 1024
	MaxCommitEvents = 4096
	MaxVersion      = 1<<63 - 1
)

// Reserved is the name of the system log; it and every name that begins with ReservedPrefix belong to EventfulDB itself.
const (
	Reserved       = "eventful"
	ReservedPrefix = "eventful-"
)

var (
	siteName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)
	typeName  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)
	eventName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
	fieldName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
)

// IsReserved reports whether a type or log name belongs to EventfulDB itself.
func IsReserved(name string) bool { return name == Reserved || strings.HasPrefix(name, ReservedPrefix) }

// CheckSite says why s is no site name, or nil.
func CheckSite(s string) error {
	return match(siteName, "site", s, "a lower-case letter, then up to 19 of a-z 0-9 -")
}

// CheckType says why s is no aggregate type, or nil. Reserved names pass.
func CheckType(s string) error {
	return match(typeName, "aggregate type", s, "a lower-case letter, then up to 39 of a-z 0-9 _ -")
}

// CheckLog says why s is no log name, or nil. Reserved names pass.
func CheckLog(s string) error {
	return match(typeName, "log", s, "a lower-case letter, then up to 39 of a-z 0-9 _ -")
}

// CheckEventType says why s is no event type, or nil.
func CheckEventType(s string) error {
	return match(eventName, "event type", s, "a lower-case letter, then up to 63 of a-z 0-9 _ -")
}

// CheckField says why s is no field name, or nil.
func CheckField(s string) error {
	return match(fieldName, "field", s, "a letter, then up to 63 of a-z A-Z 0-9 _")
}

// CheckID says why s is no aggregate id, or nil: 1 to 128 bytes of UTF-8 in NFC without control characters.
func CheckID(s string) error {
	if err := text("aggregate id", s, 1, MaxIDLen); err != nil {
		return err
	}
	if !norm.NFC.IsNormalString(s) {
		return fmt.Errorf("aggregate id %q is not in Unicode normalisation form C", clip(s))
	}
	return nil
}

// CheckCommandID says why s is no command id, or nil.
func CheckCommandID(s string) error { return visible("command id", s, 1, MaxCommandIDLen) }

func match(re *regexp.Regexp, what, s, rule string) error {
	if len(s) > 64 || !re.MatchString(s) {
		return fmt.Errorf("%s %q does not fit: %s", what, clip(s), rule)
	}
	return nil
}

func text(what, s string, lo, hi int) error {
	if len(s) < lo || len(s) > hi {
		return fmt.Errorf("%s has %d bytes, it must have %d to %d", what, len(s), lo, hi)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is not valid UTF-8", what, clip(s))
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%s %q has the control character %U", what, clip(s), r)
		}
	}
	return nil
}

func visible(what, s string, lo, hi int) error {
	if len(s) < lo || len(s) > hi {
		return fmt.Errorf("%s has %d bytes, it must have %d to %d", what, len(s), lo, hi)
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return fmt.Errorf("%s %q has a byte outside 0x21 to 0x7e", what, clip(s))
		}
	}
	return nil
}

// clip keeps error texts short however long the input was.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return s[:80] + "…"
}
