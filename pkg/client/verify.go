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

// Good verdicts of an aggregate or a log (docs/spec/proofs.md, section 3): every proof holds.
const (
	VerdictOK          = "OK"             // and a witnessed checkpoint covers it
	VerdictUnwitnessed = "OK_UNWITNESSED" // and nobody besides the site vouches for it
	VerdictShredded    = "SHREDDED"       // and a key of its encrypted fields was destroyed
)

// Good reports whether a verdict says that every proof holds.
func Good(verdict string) bool {
	return verdict == VerdictOK || verdict == VerdictUnwitnessed || verdict == VerdictShredded
}

// Verdict is what the server found when it recomputed an aggregate from the log. A failed proof is a verdict, not an error.
type Verdict struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Verdict string        `json:"verdict"`
	Version event.Version `json:"version"` // the newest, or where the proof fails
	Root    string        `json:"root"`
	Detail  string        `json:"detail,omitempty"`

	Covered   uint64 `json:"covered,omitempty"`   // events that lie under a signed checkpoint
	Witnessed bool   `json:"witnessed,omitempty"` // all of them under one that was brought along

	SnapshotsLie bool `json:"snapshots-lie,omitempty"` // the events are proven, and only snapshots say something else: Detail names them
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

	SnapshotsLie bool `json:"snapshots-lie,omitempty"` // as of Verdict
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

	Verdict string `json:"verdict"`
	Covered uint64 `json:"covered,omitempty"` // events under the largest checkpoint that the log extends

	Snapshots uint64 `json:"snapshots,omitempty"`           // aggregates whose snapshots were held against the log; of a log that was read as a whole
	Unchecked string `json:"snapshots-unchecked,omitempty"` // why those of others were not
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

// brought are checkpoints that somebody kept, which a verification is held against.
type brought struct {
	Checkpoints []string `json:"checkpoints,omitempty"`
}

// Verify has the server recompute one aggregate from the log, and hold it against the last checkpoint and those that the caller kept.
func (c *Client) Verify(ctx context.Context, a event.AggregateID, kept ...string) (*Verdict, error) {
	v := &Verdict{}
	return v, c.ask(ctx, a, "verify", read{}, brought{kept}, v)
}

// VerifyBehind is Verify, as soon as the index includes a position that an answer to a command named (WaitFor), or all that is stored (Latest).
func (c *Client) VerifyBehind(ctx context.Context, a event.AggregateID, wait ReadOption, kept ...string) (*Verdict, error) {
	v := &Verdict{}
	return v, c.ask(ctx, a, "verify", readOf([]ReadOption{wait}), brought{kept}, v)
}

// VerifyType has the server recompute all aggregates of a type. Only ctx bounds it. progress may be nil.
func (c *Client) VerifyType(ctx context.Context, aggregateType string, progress Progress, kept ...string) (*Report, error) {
	if aggregateType == "" {
		return nil, problem.New(problem.Malformed, "the aggregate type is empty")
	}
	return c.verifyAll(ctx, aggregateType, progress, kept)
}

// VerifyAll has the server read every log in order, and recompute everything in it. Only ctx bounds it. progress may be nil.
func (c *Client) VerifyAll(ctx context.Context, progress Progress, kept ...string) (*Report, error) {
	return c.verifyAll(ctx, "", progress, kept)
}

func (c *Client) verifyAll(ctx context.Context, aggregateType string, progress Progress, kept []string) (*Report, error) {
	subject, err := streams.TypeQuerySubject(aggregateType, "verify")
	if err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	body, err := json.Marshal(brought{kept})
	if err != nil {
		return nil, problem.New(problem.Malformed, "write the query as JSON: %v", err)
	}
	req := request{subject: subject, header: nats.Header{streams.HeaderStream: {"1"}}, data: body, long: true}
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

// Export reads an aggregate with all its commits, page by page. Of the options WaitFor and Latest count.
func (c *Client) Export(ctx context.Context, a event.AggregateID, options ...ReadOption) (*Export, error) {
	of := readOf(options)
	export := &Export{}
	for from := event.Version(1); ; {
		body := struct {
			From event.Version `json:"from"`
		}{from}
		var page struct {
			Export
			Cursor json.RawMessage `json:"cursor"`
		}
		if err := c.ask(ctx, a, "export", read{waitFor: of.waitFor}, body, &page); err != nil {
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
