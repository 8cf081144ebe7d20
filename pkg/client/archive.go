package client

import (
	"context"
	"time"
)

// Archived is how far a log is archived.
type Archived struct {
	Log      string  `json:"log"`
	UpTo     uint64  `json:"up-to"`    // was asked for
	Archived uint64  `json:"archived"` // the archive holds all up to here
	First    uint64  `json:"first"`    // of the stream: what is before it was purged
	Last     uint64  `json:"last"`     // of the log
	Done     bool    `json:"done"`
	Waiting  string  `json:"waiting,omitempty"` // why not all of it was purged
	Cooled   *Cooled `json:"cooled,omitempty"`  // of an aggregate that was named; nil: its events left the hot tier before, as it is archived itself
}

// Cooled says whose events leave the hot tier: indexes give them up within a minute or so, and read them from the log.
type Cooled struct {
	Version   uint64    `json:"version"` // up to here
	Aggregate string    `json:"aggregate"`
	Position  string    `json:"position"` // of the record
	Hash      string    `json:"hash"`
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor"`
	Repeated  bool      `json:"repeated"` // it was so before
}

// ToArchive says what is to be archived: a log; or an aggregate, whose log is archived up to its newest event, and whose events leave the hot tier.
type ToArchive struct {
	Log  string `json:"log,omitempty"`
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
	UpTo uint64 `json:"up-to,omitempty"` // 0: all that the log has now
}

// Archive moves the oldest events of a log to the archive and purges them from its stream, step by step; progress (nil: none) hears how far it is. It takes a token that may administer every
// type. Ended early, it goes on where it was.
func (c *Client) Archive(ctx context.Context, what ToArchive, progress func(Archived)) (Archived, error) {
	for {
		var out Archived
		if err := c.act(ctx, "archive", "run", what, &out); err != nil || out.Done {
			return out, err
		}
		if progress != nil {
			progress(out)
		}
		if what.Type == "" {
			what = ToArchive{Log: out.Log, UpTo: out.UpTo}
		}
	}
}

// ArchiveLogs lists the logs that can be archived.
func (c *Client) ArchiveLogs(ctx context.Context) ([]string, error) {
	var out struct {
		Logs []string `json:"logs"`
	}
	return out.Logs, c.act(ctx, "archive", "run", ToArchive{}, &out)
}
