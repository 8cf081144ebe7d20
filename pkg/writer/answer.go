package writer

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Request is a command with the token that names its actor.
type Request struct {
	Token   string
	Command aggregate.Command
}

// Answer is what a command led to (docs/spec/commands.md, section 5). It is sent only after the block is on disk.
type Answer struct {
	Command  string         `json:"command"`
	Repeated bool           `json:"repeated"`
	DryRun   bool           `json:"dry-run,omitempty"`
	Commits  []CommitAnswer `json:"commits"`
	Time     time.Time      `json:"time,omitzero"`
}

// CommitAnswer is what a command did to one aggregate. A dry run has no position, hashes or root.
type CommitAnswer struct {
	Type         string        `json:"type"`
	ID           string        `json:"id"`
	FirstVersion event.Version `json:"first-version"`
	Version      event.Version `json:"version"`
	Position     string        `json:"position,omitempty"`
	Hashes       []string      `json:"hashes,omitempty"`
	Root         string        `json:"root,omitempty"`
}

// reply takes the outcome of a command, once, on any goroutine; exactly one of the two is given.
type reply func(*Answer, *problem.Problem)

func answerOf(commandID string, at event.Time, commits []CommitAnswer) *Answer {
	return &Answer{Command: commandID, Commits: commits, Time: time.Unix(0, int64(at)).UTC()}
}

// commitAnswer words what a commit led to; its texts share one piece of memory.
func commitAnswer(c *event.Commit, leaves []event.Hash, p event.Position) CommitAnswer {
	const hashLen = 2 * len(event.Hash{})
	var short [5 * hashLen]byte
	b := c.Root.AppendTo(short[:0])
	for i := range leaves {
		b = leaves[i].AppendTo(b)
	}
	text := string(p.AppendTo(b))
	a := CommitAnswer{
		Type: c.Aggregate.Type, ID: c.Aggregate.ID, FirstVersion: c.First, Version: c.Last(),
		Root: text[:hashLen], Hashes: make([]string, len(leaves)), Position: text[len(b):],
	}
	for i := range leaves {
		a.Hashes[i] = text[(1+i)*hashLen : (2+i)*hashLen]
	}
	return a
}

// AppendJSON appends the answer as encoding/json would write it.
func (a *Answer) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"command":`...), a.Command)
	b = strconv.AppendBool(append(b, `,"repeated":`...), a.Repeated)
	if a.DryRun {
		b = append(b, `,"dry-run":true`...)
	}
	b = append(b, `,"commits":`...)
	if a.Commits == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range a.Commits {
			if i > 0 {
				b = append(b, ',')
			}
			b = a.Commits[i].appendJSON(b)
		}
		b = append(b, ']')
	}
	if a.Time.IsZero() { // of a dry run
		return append(b, '}')
	}
	b = append(b, `,"time":"`...)
	return append(a.Time.AppendFormat(b, time.RFC3339Nano), `"}`...)
}

func (c *CommitAnswer) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":`...), c.Type)
	b = appendString(append(b, `,"id":`...), c.ID)
	b = strconv.AppendUint(append(b, `,"first-version":`...), uint64(c.FirstVersion), 10)
	b = strconv.AppendUint(append(b, `,"version":`...), uint64(c.Version), 10)
	if c.Position != "" {
		b = appendString(append(b, `,"position":`...), c.Position)
	}
	for i, h := range c.Hashes {
		if i == 0 {
			b = append(b, `,"hashes":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, h)
	}
	if len(c.Hashes) > 0 {
		b = append(b, ']')
	}
	if c.Root != "" {
		b = appendString(append(b, `,"root":`...), c.Root)
	}
	return append(b, '}')
}

// appendString appends a JSON string; what needs more than quotes is left to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
