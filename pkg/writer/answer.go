package writer

import (
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
	Time     time.Time      `json:"time"`
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

func commitAnswer(c *event.Commit, leaves []event.Hash, p event.Position) CommitAnswer {
	hashes := make([]string, len(leaves))
	for i := range leaves {
		hashes[i] = leaves[i].String()
	}
	return CommitAnswer{
		Type: c.Aggregate.Type, ID: c.Aggregate.ID, FirstVersion: c.First, Version: c.Last(),
		Position: p.String(), Hashes: hashes, Root: c.Root.String(),
	}
}
