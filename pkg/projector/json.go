package projector

import (
	"strconv"
	"unicode/utf8"
)

// MarshalJSON implements json.Marshaler.
func (f Fields) MarshalJSON() ([]byte, error) { return f.appendJSON(nil), nil }

func (f Fields) appendJSON(b []byte) []byte {
	b = append(b, '{')
	for i := range f {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, f[i].Name), ':')
		if f[i].Set {
			b = appendString(b, f[i].Value)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// AppendJSON appends the page as encoding/json would write it, at a fifth of the cost.
func (h History) AppendJSON(b []byte) []byte {
	b = append(b, `{"events":[`...)
	for i := range h.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.Events[i].appendJSON(b)
	}
	b = appendString(append(b, `],"cursor":`...), h.Cursor)
	return append(b, '}')
}

// AppendJSON appends the state as encoding/json would write it.
func (s State) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":`...), s.Type)
	b = appendString(append(b, `,"id":`...), s.ID)
	b = strconv.AppendUint(append(b, `,"version":`...), s.Version, 10)
	b = appendMap(append(b, `,"fields":`...), s.Fields)
	b = strconv.AppendBool(append(b, `,"deleted":`...), s.Deleted)
	if s.Archived {
		b = append(b, `,"archived":true`...)
	}
	b = appendString(append(b, `,"root":`...), s.Root)
	b = appendString(append(b, `,"hash":`...), s.Hash)
	b = appendString(append(b, `,"time":`...), s.Time)
	if s.OccurredAt != "" {
		b = appendString(append(b, `,"occurred-at":`...), s.OccurredAt)
	}
	b = appendString(append(b, `,"actor":`...), s.Actor)
	if s.RolledBack != "" {
		b = appendString(append(b, `,"rolled-back":`...), s.RolledBack)
	}
	return append(appendShredded(b, s.Shredded), '}')
}

func appendMap(b []byte, fields map[string]string) []byte {
	if fields == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	for i, name := range sortedKeys(fields) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, name), ':'), fields[name])
	}
	return append(b, '}')
}

func appendShredded(b []byte, names []string) []byte {
	for i, name := range names {
		if i == 0 {
			b = append(b, `,"shredded":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	if len(names) > 0 {
		b = append(b, ']')
	}
	return b
}

func (e *Event) appendJSON(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"version":`...), e.Version, 10)
	b = appendString(append(b, `,"event":`...), e.Event)
	b = e.Fields.appendJSON(append(b, `,"fields":`...))
	b = appendString(append(b, `,"actor":`...), e.Actor)
	b = appendString(append(b, `,"token":`...), e.Token)
	b = appendString(append(b, `,"issuer":`...), e.Issuer)
	if e.OccurredAt != "" {
		b = appendString(append(b, `,"occurred-at":`...), e.OccurredAt)
	}
	b = appendString(append(b, `,"time":`...), e.Time)
	b = appendString(append(b, `,"hash":`...), e.Hash)
	b = appendString(append(b, `,"position":`...), e.Position)
	b = appendString(append(b, `,"commit":`...), e.Commit)
	b = appendString(append(b, `,"command":`...), e.Command)
	b = strconv.AppendUint(append(b, `,"schema-version":`...), e.SchemaVersion, 10)
	return append(appendShredded(b, e.Shredded), '}')
}

// plain reports whether a byte stands for itself in a JSON string; encoding/json also escapes what means something in HTML.
func plain(c byte) bool {
	return c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// appendString appends a JSON string as encoding/json writes it.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		if plain(s[i]) {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= utf8.RuneSelf && r != utf8.RuneError && r != 0x2028 && r != 0x2029 || r == utf8.RuneError && size > 1 {
			i += size
			continue
		}
		b = appendEscaped(append(b, s[start:i]...), r)
		i += size
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscaped(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
