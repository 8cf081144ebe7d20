package event

import (
	"fmt"
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
	MaxVersion      = 1<<63 - 2
)

// Reserved is the name of the system log; it and every name that begins with ReservedPrefix belong to EventfulDB itself.
const (
	Reserved       = "eventful"
	ReservedPrefix = "eventful-"
)

// IsReserved reports whether a type or log name belongs to EventfulDB itself.
func IsReserved(name string) bool { return name == Reserved || strings.HasPrefix(name, ReservedPrefix) }

// CheckSite says why s is no site name, or nil.
func CheckSite(s string) error {
	if isName(s, 20, "-") {
		return nil
	}
	return fmt.Errorf("site %q does not fit: a lower-case letter, then up to 19 of a-z 0-9 -", clip(s))
}

// CheckType says why s is no aggregate type, or nil. Reserved names pass.
func CheckType(s string) error {
	if isName(s, 40, "-_") {
		return nil
	}
	return fmt.Errorf("aggregate type %q does not fit: a lower-case letter, then up to 39 of a-z 0-9 _ -", clip(s))
}

// CheckLog says why s is no log name, or nil. Reserved names pass.
func CheckLog(s string) error {
	if isName(s, 40, "-_") {
		return nil
	}
	return fmt.Errorf("log %q does not fit: a lower-case letter, then up to 39 of a-z 0-9 _ -", clip(s))
}

// CheckEventType says why s is no event type, or nil.
func CheckEventType(s string) error {
	if isName(s, 64, "-_") {
		return nil
	}
	return fmt.Errorf("event type %q does not fit: a lower-case letter, then up to 63 of a-z 0-9 _ -", clip(s))
}

const fieldNameRule = "does not fit: a letter, then up to 63 of a-z A-Z 0-9 _"

// CheckField says why s is no field name, or nil.
func CheckField(s string) error {
	if isFieldName(s) {
		return nil
	}
	return fmt.Errorf("field %q %s", clip(s), fieldNameRule)
}

// CheckID says why s is no aggregate id, or nil: 1 to 128 bytes of UTF-8 in NFC without control characters.
func CheckID(s string) error {
	if err := text("aggregate id", s, 1, MaxIDLen); err != nil {
		return err
	}
	if !isPlain(s) && !norm.NFC.IsNormalString(s) {
		return fmt.Errorf("aggregate id %q is not in Unicode normalisation form C", clip(s))
	}
	return nil
}

// CheckCommandID says why s is no command id, or nil.
func CheckCommandID(s string) error { return visible("command id", s, 1, MaxCommandIDLen) }

// CheckActor says why s is no actor, or nil: an identifier type without a colon, a colon, an identifier id.
func CheckActor(s string) error {
	if err := text("actor", s, 1, MaxActorLen); err != nil {
		return err
	}
	if kind, id, _ := strings.Cut(s, ":"); kind == "" || id == "" {
		return fmt.Errorf("actor %q is not of the form <identifier type>:<identifier id>", clip(s))
	}
	return nil
}

// isName reports whether s is ^[a-z][a-z0-9<more>]*$ and at most limit bytes long. The names of every commit pass here: no regexp.
func isName(s string, limit int, more string) bool {
	if s == "" || len(s) > limit || !isLower(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isLower(s[i]) && !isDigit(s[i]) && strings.IndexByte(more, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isFieldName reports whether s is ^[A-Za-z][A-Za-z0-9_]{0,63}$.
func isFieldName(s string) bool {
	if s == "" || len(s) > 64 || isDigit(s[0]) || s[0] == '_' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c|0x20) && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isPlain reports whether s is nothing but printable ASCII: valid UTF-8 without control characters, in every normalisation form.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func text(what, s string, lo, hi int) error {
	if len(s) < lo || len(s) > hi {
		return fmt.Errorf("%s has %d bytes, it must have %d to %d", what, len(s), lo, hi)
	}
	if isPlain(s) {
		return nil
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
