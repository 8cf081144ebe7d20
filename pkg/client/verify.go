package client

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// VerdictOK is the verdict of an aggregate whose every proof holds.
const VerdictOK = "OK"

// Verdict is what the server found when it recomputed an aggregate from the log. A failed proof is a verdict, not an error.
type Verdict struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Verdict string        `json:"verdict"`
	Version event.Version `json:"version"` // the newest, or where the proof fails
	Root    string        `json:"root"`
	Detail  string        `json:"detail,omitempty"`
}

// Failed is a proof that does not hold, with where in the log.
type Failed struct {
	Log      string        `json:"log"`
	Type     string        `json:"type"`
	ID       string        `json:"id"`
	Version  event.Version `json:"version"`
	Sequence uint64        `json:"sequence"`
	Verdict  string        `json:"verdict"`
	Detail   string        `json:"detail"`
}

// Report is the outcome of verifying a type or everything.
type Report struct {
	Aggregates uint64      `json:"aggregates"`
	Events     uint64      `json:"events"`
	Blocks     uint64      `json:"blocks"`
	Logs       []LogReport `json:"logs"`
	Failed     []Failed    `json:"failed"`
}

// LogReport is the part of a report about one log. Void counts stretches of blocks that never counted: they hold no events.
type LogReport struct {
	Log        string `json:"log"`
	Aggregates uint64 `json:"aggregates"`
	Events     uint64 `json:"events"`
	Blocks     uint64 `json:"blocks"`
	Void       uint64 `json:"void"`
}

// Progress is called now and then on the goroutine that reads all answers, with what is done and how much there is; it must not block.
type Progress func(done, total uint64)

// Export is an aggregate with everything that an independent verifier needs (docs/spec/log.md, section 9). Written as JSON it is an export file.
type Export struct {
	Format  string         `json:"format"`
	Site    string         `json:"site"`
	Log     string         `json:"log"`
	Type    string         `json:"type"`
	ID      string         `json:"id"`
	Version event.Version  `json:"version"`
	Root    string         `json:"root"`
	Commits []ExportCommit `json:"commits"`
}

// ExportCommit is one commit of an export: its bytes in base64, and its leaf hashes in hexadecimal.
type ExportCommit struct {
	Position string   `json:"position"`
	Commit   string   `json:"commit"`
	Leaves   []string `json:"leaves"`
}

// ExportFormat is the format that Export writes.
const ExportFormat = "eventful.export.v1"

// Verify has the server recompute one aggregate from the log.
func (c *Client) Verify(ctx context.Context, a event.AggregateID) (*Verdict, error) {
	v := &Verdict{}
	return v, c.ask(ctx, a, "verify", read{}, struct{}{}, v)
}

// VerifyType has the server recompute all aggregates of a type. Only ctx bounds it. progress may be nil.
func (c *Client) VerifyType(ctx context.Context, aggregateType string, progress Progress) (*Report, error) {
	if aggregateType == "" {
		return nil, problem.New(problem.Malformed, "the aggregate type is empty")
	}
	return c.verifyAll(ctx, aggregateType, progress)
}

// VerifyAll has the server read every log in order, and recompute everything in it. Only ctx bounds it. progress may be nil.
func (c *Client) VerifyAll(ctx context.Context, progress Progress) (*Report, error) {
	return c.verifyAll(ctx, "", progress)
}

func (c *Client) verifyAll(ctx context.Context, aggregateType string, progress Progress) (*Report, error) {
	subject, err := streams.TypeQuerySubject(aggregateType, "verify")
	if err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	req := request{subject: subject, header: nats.Header{streams.HeaderStream: {"1"}}, data: []byte("{}"), long: true}
	req.part = func(m *nats.Msg) {
		var p struct{ Done, Total uint64 }
		if progress != nil && json.Unmarshal(m.Data, &p) == nil {
			progress(p.Done, p.Total)
		}
	}
	report := &Report{}
	m, err := c.roundTrip(ctx, req)
	return report, decodeInto(report, m, err)
}

// Export reads an aggregate with all its commits, page by page.
func (c *Client) Export(ctx context.Context, a event.AggregateID) (*Export, error) {
	export := &Export{}
	for from := event.Version(1); ; {
		body := struct {
			From event.Version `json:"from"`
		}{from}
		var page struct {
			Export
			Cursor json.RawMessage `json:"cursor"`
		}
		if err := c.ask(ctx, a, "export", read{}, body, &page); err != nil {
			return nil, err
		}
		commits := append(export.Commits, page.Commits...)
		*export = page.Export
		export.Format, export.Commits = ExportFormat, commits
		if !hasMore(page.Cursor) || len(page.Commits) == 0 {
			return export, nil
		}
		last, err := lastVersion(page.Commits[len(page.Commits)-1])
		if err != nil {
			return nil, err
		}
		from = last + 1
	}
}

func lastVersion(c ExportCommit) (event.Version, error) {
	raw, err := base64.StdEncoding.DecodeString(c.Commit)
	if err != nil {
		return 0, problem.New(problem.Internal, "the commit at %s is not base64: %v", c.Position, err)
	}
	commit, err := event.DecodeCommit(raw)
	if err != nil {
		return 0, problem.New(problem.VerificationFailed, "the commit at %s cannot be read: %v", c.Position, err)
	}
	return commit.Last(), nil
}
