// Package streams holds every name, subject and setting of EventfulDB on NATS, as values: the only place that forms or parses them.
//
// The authority is docs/spec/subjects.md. Functions that form a subject take names that were checked by package event and refuse others with
// an error, so no wildcard, space or control byte can reach a subject. The package is pure and safe for concurrent use.
package streams

import (
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// SystemLog is the name of the log that holds schemas, keys, tokens, budgets and imports.
const SystemLog = event.Reserved

// NoType stands in a query subject where no aggregate type is meant.
const NoType = "_"

// Headers of requests and answers (docs/spec/commands.md, section 1).
const (
	HeaderToken       = "Eventful-Token"
	HeaderCommandID   = "Eventful-Command-Id"
	HeaderExpected    = "Eventful-Expected-Version"
	HeaderOccurredAt  = "Eventful-Occurred-At"
	HeaderCorrelation = "Eventful-Correlation-Id"
	HeaderCausation   = "Eventful-Causation-Id"
	HeaderTraceparent = "traceparent"
	HeaderDryRun      = "Eventful-Dry-Run"
	HeaderWaitFor     = "Eventful-Wait-For"
	HeaderStream      = "Eventful-Stream"
	HeaderMore        = "Eventful-More"
	HeaderAct         = "Eventful-Act" // the position of an act that a query is asked for
)

// Stream is the name of a log's stream.
func Stream(site, log string) (string, error) {
	if err := checkLog(site, log); err != nil {
		return "", err
	}
	return "EVT_" + site + "_" + log, nil
}

// LogOf is the inverse of Stream; ok is false for a stream of another site or kind.
func LogOf(site, stream string) (log string, ok bool) {
	log, ok = strings.CutPrefix(stream, "EVT_"+site+"_")
	return log, ok && checkLog(site, log) == nil
}

// Subject is the one subject of a log's stream.
func Subject(site, log string) (string, error) {
	if err := checkLog(site, log); err != nil {
		return "", err
	}
	return "evt." + site + "." + log, nil
}

func checkLog(site, log string) error {
	if err := event.CheckSite(site); err != nil {
		return err
	}
	return event.CheckLog(log)
}

// CommandSubject is `cmd.<type>.<id>.<event>`.
func CommandSubject(a event.AggregateID, eventType string) (string, error) {
	if err := a.Check(); err != nil {
		return "", err
	}
	if err := event.CheckEventType(eventType); err != nil {
		return "", err
	}
	return "cmd." + a.Type + "." + Escape(a.ID) + "." + eventType, nil
}

// ParseCommandSubject is the inverse of CommandSubject.
func ParseCommandSubject(subject string) (a event.AggregateID, eventType string, err error) {
	first, rest, _ := strings.Cut(subject, ".")
	aggregateType, rest, _ := strings.Cut(rest, ".")
	id, eventType, four := strings.Cut(rest, ".")
	if first != "cmd" || !four || strings.Contains(eventType, ".") {
		return a, "", fmt.Errorf("subject %.80q is not cmd. and 3 more tokens", subject)
	}
	if a, err = aggregateOf(aggregateType, id); err != nil {
		return a, "", err
	}
	return a, eventType, event.CheckEventType(eventType)
}

// TransactionSubject is `cmd.<type>`.
func TransactionSubject(aggregateType string) (string, error) {
	if err := event.CheckType(aggregateType); err != nil {
		return "", err
	}
	return "cmd." + aggregateType, nil
}

// ParseTransactionSubject is the inverse of TransactionSubject.
func ParseTransactionSubject(subject string) (aggregateType string, err error) {
	parts, err := split(subject, "cmd", 2)
	if err != nil {
		return "", err
	}
	return parts[1], event.CheckType(parts[1])
}

// QuerySubject is `qry.<type>.<id>.<verb>` for one aggregate.
func QuerySubject(a event.AggregateID, verb string) (string, error) {
	if err := a.Check(); err != nil {
		return "", err
	}
	return "qry." + a.Type + "." + Escape(a.ID) + "." + verb, nil
}

// TypeQuerySubject is `qry.<type>.<verb>`; an empty type, or NoType, gives `qry._.<verb>`.
func TypeQuerySubject(aggregateType, verb string) (string, error) {
	if aggregateType == "" || aggregateType == NoType {
		return "qry." + NoType + "." + verb, nil
	}
	if err := event.CheckType(aggregateType); err != nil {
		return "", err
	}
	return "qry." + aggregateType + "." + verb, nil
}

// ParseQuerySubject is the inverse of both: id is empty for a query about a type, the type is empty for `_`.
func ParseQuerySubject(subject string) (a event.AggregateID, verb string, err error) {
	if parts := strings.Split(subject, "."); len(parts) == 3 && parts[0] == "qry" {
		if parts[1] == NoType {
			return a, parts[2], nil
		}
		return event.AggregateID{Type: parts[1]}, parts[2], event.CheckType(parts[1])
	}
	parts, err := split(subject, "qry", 4)
	if err != nil {
		return a, "", err
	}
	a, err = aggregateOf(parts[1], parts[2])
	return a, parts[3], err
}

// AdminSubject is `adm.<noun>.<verb>`.
func AdminSubject(noun, verb string) string { return "adm." + noun + "." + verb }

// InboxPrefix is the only inbox prefix that a user may subscribe to.
func InboxPrefix(userPublicKey string) string { return "_INBOX." + userPublicKey }

// TokenInboxPrefix is the only inbox prefix that the holder of a token may subscribe to: its tag `inbox` says it, which nobody else knows (docs/spec/tokens.md, section 4).
// A user without such a tag is no token, and has that of its public key.
func TokenInboxPrefix(userPublicKey string, tags []string) string {
	for _, tag := range tags {
		if name, ok := strings.CutPrefix(tag, "inbox:"); ok {
			return InboxPrefix("U" + name)
		}
	}
	return InboxPrefix(userPublicKey)
}

func split(subject, first string, n int) ([]string, error) {
	parts := strings.Split(subject, ".")
	if len(parts) != n || parts[0] != first {
		return nil, fmt.Errorf("subject %.80q is not %s. and %d more tokens", subject, first, n-1)
	}
	return parts, nil
}

func aggregateOf(aggregateType, escapedID string) (event.AggregateID, error) {
	id, err := Unescape(escapedID)
	if err != nil {
		return event.AggregateID{}, err
	}
	a := event.AggregateID{Type: aggregateType, ID: id}
	return a, a.Check()
}

// ParseAggregate reads `type/id`; only the first slash separates.
func ParseAggregate(s string) (event.AggregateID, error) {
	aggregateType, id, ok := strings.Cut(s, "/")
	if !ok {
		return event.AggregateID{}, fmt.Errorf("aggregate %.80q is not type/id", s)
	}
	a := event.AggregateID{Type: aggregateType, ID: id}
	return a, a.Check()
}

// Escape writes every byte outside A-Z a-z 0-9 _ - as =XX.
func Escape(id string) string {
	const hexDigits = "0123456789ABCDEF"
	done := plainPart(id)
	if done == len(id) {
		return id
	}
	var b strings.Builder
	b.Grow(3 * len(id))
	b.WriteString(id[:done])
	for i := done; i < len(id); i++ {
		if c := id[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// Unescape is the exact inverse of Escape; any other spelling is an error.
func Unescape(s string) (string, error) {
	done := plainPart(s)
	if done == len(s) {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:done])
	for i := done; i < len(s); i++ {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		if s[i] != '=' || i+2 >= len(s) {
			return "", fmt.Errorf("escaped id %.80q: byte %d is neither plain nor =XX", s, i)
		}
		hi, lo := hexValue(s[i+1]), hexValue(s[i+2])
		if hi > 15 || lo > 15 || plain(hi<<4|lo) {
			return "", fmt.Errorf("escaped id %.80q: %q is no escape that Escape writes", s, s[i:i+3])
		}
		b.WriteByte(hi<<4 | lo)
		i += 2
	}
	return b.String(), nil
}

// plainPart is the number of bytes up to the first that an escaped id does not hold as it is.
func plainPart(s string) int {
	for i := range len(s) {
		if !plain(s[i]) {
			return i
		}
	}
	return len(s)
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
