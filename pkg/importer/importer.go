// Package importer turns the rows of a CSV or NDJSON file into commands and sends them, many at once, so that each row is stored exactly once.
//
// The way of a row: file -> row reader -> mapping -> window -> Server -> set of rows done. Run reads ahead until Config.Window rows, or Config.WindowBytes
// bytes, are read and not answered. Rows of different aggregates are under way at the same time; rows of one aggregate go one by one in file order, the
// next when the former was stored or rejected.
//
// Exactly once: the command id of a row derives from the file's SHA-256 digest and the row's number, so the server takes a row once within its window
// (24 hours or a million commands). For ever after, the ranges of rows done stand in the server's system log: Run loads them first, skips those rows,
// and records new ones about every 4,096 rows or every second, and at its end. What a crash leaves behind is rows that are stored and
// not yet recorded; the next run sends them again and the server gives their first answer.
//
// A rejected row is reported and is not done: another run, with a mended schema or mapping, tries it again. What is about the token or the server, and
// not about the row, ends the run: then nothing more is sent, answers still under way are waited for, and what is stored is recorded.
package importer

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Server is what an import needs of EventfulDB. It must be safe for concurrent use. Errors are *problem.Problem, or wrap one.
type Server interface {
	// Send sends a command without waiting for its outcome. answered is called exactly once, on any goroutine, also when ctx ends. Send repeats a command
	// whose outcome is unavailable or unknown with the same id, as long as it has patience.
	Send(ctx context.Context, c *Command, answered func(Answer, error))
	// RecordRows stores which rows of a file are done, for ever: ranges is the whole set so far.
	RecordRows(ctx context.Context, done RowsDone) error
	// RowsDone gives the ranges that were recorded for a file and an aggregate type; "" if none were.
	RowsDone(ctx context.Context, file, aggregate string) (ranges string, err error)
}

// Answer is what the server says of a stored row.
type Answer struct {
	Repeated bool // an earlier run had stored it already
}

// RowsDone is the record of an import.
type RowsDone struct {
	File      string `json:"file"` // digest
	Aggregate string `json:"aggregate"`
	Ranges    string `json:"ranges"`
	Rows      uint64 `json:"rows"` // in the ranges
}

// Config of one run. File, Mapping, Aggregate and Server are required.
type Config struct {
	Server    Server
	File      *File
	Mapping   *Mapping // checked with Mapping.Check
	Aggregate string   // type
	// Tokens maps the values of the mapping's token column to access tokens. Required if the mapping has one.
	Tokens map[string]string
	// DryRun checks every row on the server and stores nothing, neither events nor rows done. Rows done already are checked too.
	DryRun bool
	// Window is how many rows may be read and not answered. Default 4096.
	Window int
	// WindowBytes bounds the same in bytes, about. Default 16 MiB.
	WindowBytes int
	// Grace is how long answers are waited for once the run was told to stop. Default 10 s.
	Grace time.Duration
	// RecordEvery is how many rows, and RecordAfter how much time, pass between two records of rows done. Default 4096 and 1 s.
	RecordEvery uint64
	RecordAfter time.Duration
	// Rejected is called for each rejected row, on one goroutine; its error ends the run. Required.
	Rejected func(Reject) error
	// Report, if given, is called about five times a second and at the end, on one goroutine.
	Report func(Summary)
}

// Summary counts rows. Total = Skipped + Stored + Repeated + Rejected + Left once the run has ended.
type Summary struct {
	File       string  `json:"file"` // digest
	Aggregate  string  `json:"aggregate"`
	Total      uint64  `json:"rows"`     // in the file
	Skipped    uint64  `json:"skipped"`  // recorded as done by an earlier run
	Stored     uint64  `json:"stored"`   // by this run; in a dry run: would be stored
	Repeated   uint64  `json:"repeated"` // an earlier run had stored them and not recorded it
	Rejected   uint64  `json:"rejected"`
	Left       uint64  `json:"left"`       // neither stored nor rejected: the run ended before
	Unrecorded uint64  `json:"unrecorded"` // stored, and the record of it failed: the next run sends them again, harmless within the server's window
	DryRun     bool    `json:"dry-run"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"events-per-second"` // stored by this run
}

// Reject is a row that cannot be stored as it is.
type Reject struct {
	Line   uint64       `json:"line"`
	Row    uint64       `json:"row"`
	Code   problem.Code `json:"code"`
	Reason string       `json:"reason"`
	Hint   string       `json:"hint,omitempty"`
	Checks []string     `json:"checks,omitempty"` // every failing check, where there are several
}

// Run imports the file. It returns when every row is answered, when ctx ends (then with ctx's error), or at the first failure that is not one row's own,
// which names the row. The summary is right in each case. Rejected rows alone are no error.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	e := newEngine(cfg.withDefaults())
	if err := e.load(ctx); err != nil {
		return e.summary, err
	}
	return e.run(ctx)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Window, 4096)
	setDefault(&c.WindowBytes, 16<<20)
	setDefault(&c.Grace, 10*time.Second)
	setDefault(&c.RecordEvery, 4096)
	setDefault(&c.RecordAfter, time.Second)
	if c.Report == nil {
		c.Report = func(Summary) {}
	}
	return c
}

func setDefault[T int | uint64 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}
