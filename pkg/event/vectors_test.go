package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
)

// The vectors of docs/spec/vectors, whose README.md says what each member means.

type fieldVector struct {
	Name  string `json:"name"`
	Kind  int    `json:"kind"`
	Value string `json:"value"`
}

type eventVector struct {
	Event         string        `json:"event"`
	SchemaDigest  string        `json:"schema_digest"`
	SchemaVersion uint64        `json:"schema_version,string"`
	Salt          string        `json:"salt"`
	OccurredAt    *string       `json:"occurred_at"`
	Payload       string        `json:"payload"`
	Fields        []fieldVector `json:"fields"`
}

// originVector is what the leaves of a commit and the commit itself hold alike.
type originVector struct {
	Site             string `json:"site"`
	Branch           uint64 `json:"branch,string"`
	Type             string `json:"type"`
	ID               string `json:"id"`
	WriterTime       int64  `json:"writer_time,string"`
	Actor            string `json:"actor"`
	TokenID          string `json:"token_id"`
	Issuer           string `json:"issuer"`
	CommandID        string `json:"command_id"`
	Correlation      string `json:"correlation"`
	Causation        string `json:"causation"`
	Traceparent      string `json:"traceparent"`
	TransactionID    string `json:"transaction_id"`
	TransactionIndex uint64 `json:"transaction_index,string"`
	TransactionCount uint64 `json:"transaction_count,string"`
	KeyCommitment    string `json:"key_commitment"`
}

type payloadVector struct {
	Name   string        `json:"name"`
	Hex    string        `json:"hex"`
	OK     bool          `json:"ok"`
	Fields []fieldVector `json:"fields"`
	Salt   string        `json:"salt"`
	Digest string        `json:"digest"`
}

type leafVector struct {
	Name string `json:"name"`
	originVector
	Version       uint64  `json:"version,string"`
	Event         string  `json:"event"`
	SchemaDigest  string  `json:"schema_digest"`
	PayloadDigest string  `json:"payload_digest"`
	OccurredAt    *string `json:"occurred_at"`
	EventIndex    int     `json:"event_index"`
	EventCount    int     `json:"event_count"`
	Entry         string  `json:"entry"`
	Leaf          string  `json:"leaf"`
}

type treeVector struct {
	Name     string   `json:"name"`
	Leaves   []string `json:"leaves"`
	Root     string   `json:"root"`
	Frontier []string `json:"frontier"`
}

// commitView is everything that a commit holds, in the notation of the vectors.
type commitView struct {
	originVector
	CommitID      string        `json:"commit_id"`
	CommandDigest string        `json:"command_digest"`
	FirstVersion  uint64        `json:"first_version,string"`
	Root          string        `json:"root"`
	Events        []eventVector `json:"events"`
	Leaves        []string      `json:"leaves"`
}

type commitVector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	OK   bool   `json:"ok"`
	commitView
	Before    *[]string `json:"before"`
	RootAfter *string   `json:"root_after"`
}

type recordVector struct {
	LinkSequence uint64 `json:"link_sequence,string"`
	LinkIndex    uint32 `json:"link_index"`
	LinkBlock    string `json:"link_block"`
	Commit       string `json:"commit"`
}

// blockView is everything that a block holds, in the notation of the vectors.
type blockView struct {
	BlockID        string         `json:"block_id"`
	Previous       string         `json:"previous"`
	Epoch          uint64         `json:"epoch,string"`
	SystemSequence uint64         `json:"system_sequence,string"`
	SystemBlock    string         `json:"system_block"`
	TreeSize       uint64         `json:"tree_size,string"`
	TreeRoot       string         `json:"tree_root"`
	Time           int64          `json:"time,string"`
	Records        []recordVector `json:"records"`
	Leaves         []string       `json:"leaves"`
}

type blockVector struct {
	Name     string `json:"name"`
	Sequence uint64 `json:"sequence,string"`
	Hex      string `json:"hex"`
	OK       bool   `json:"ok"`
	blockView
}

type judgement struct {
	Sequence uint64 `json:"seq,string"`
	What     string `json:"what"`
}

type chainVector struct {
	Name     string `json:"name"`
	Messages []struct {
		Sequence uint64 `json:"seq,string"`
		Hex      string `json:"hex"`
	} `json:"messages"`
	Expect []judgement `json:"expect"`
}

type positionVector struct {
	Text     string  `json:"text"`
	OK       bool    `json:"ok"`
	Log      string  `json:"log"`
	Sequence *string `json:"sequence"`
	Index    uint32  `json:"index"`
	Block    string  `json:"block"`
}

type largeVector struct {
	Name string `json:"name"`
	Of   string `json:"of"`
	Runs []struct {
		Hex   string `json:"hex"`
		Times int    `json:"times"`
	} `json:"runs"`
	Length    int    `json:"length,string"`
	OK        bool   `json:"ok"`
	Salt      string `json:"salt"`
	Digest    string `json:"digest"`
	RootAfter string `json:"root_after"`
}

// vectors reads one file of vectors; an empty file is a failure.
func vectors[T any](t testing.TB, file string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(out) == 0 {
		t.Fatalf("%s holds no vector", file)
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hash(t testing.TB, s string) event.Hash {
	t.Helper()
	h, err := event.ParseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func id16(t testing.TB, s string) event.ID16 {
	t.Helper()
	i, err := event.ParseID16(s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func hashes(t testing.TB, in []string) []event.Hash {
	t.Helper()
	out := make([]event.Hash, len(in))
	for i, s := range in {
		out[i] = hash(t, s)
	}
	return out
}

func hexes(in []event.Hash) []string {
	out := make([]string, len(in))
	for i, h := range in {
		out[i] = h.String()
	}
	return out
}

func optionalTime(t testing.TB, s *string) *event.Time {
	t.Helper()
	if s == nil {
		return nil
	}
	n, err := strconv.ParseInt(*s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return new(event.Time(n))
}

func viewFields(fields []event.Field) []fieldVector {
	out := make([]fieldVector, len(fields))
	for i, f := range fields {
		out[i] = fieldVector{Name: f.Name, Value: f.Value}
		if f.Set {
			out[i].Kind = 1
		}
		if f.Sealed {
			out[i].Kind = 2
		}
	}
	return out
}

func viewOrigin(c *event.Commit) originVector {
	return originVector{
		Site: c.Site, Branch: c.Branch, Type: c.Aggregate.Type, ID: c.Aggregate.ID, WriterTime: int64(c.Time), Actor: c.Actor, TokenID: c.TokenID,
		Issuer: c.Issuer, CommandID: c.CommandID, Correlation: c.Correlation, Causation: c.Causation, Traceparent: c.Traceparent,
		TransactionID: c.Transaction.ID.String(), TransactionIndex: c.Transaction.Index, TransactionCount: c.Transaction.Count,
		KeyCommitment: hex.EncodeToString(c.KeyCommitment),
	}
}

func viewCommit(t testing.TB, c *event.Commit) commitView {
	t.Helper()
	v := commitView{
		originVector: viewOrigin(c), CommitID: c.ID.String(), CommandDigest: c.CommandDigest.String(), FirstVersion: uint64(c.First),
		Root: c.Root.String(), Leaves: hexes(c.Leaves()),
	}
	for _, e := range c.Events {
		fields, err := event.DecodePayload(e.Payload)
		if err != nil {
			t.Fatalf("payload of a decoded commit: %v", err)
		}
		one := eventVector{
			Event: e.Type, SchemaDigest: e.SchemaDigest.String(), SchemaVersion: e.SchemaVersion, Salt: e.Salt.String(),
			Payload: hex.EncodeToString(e.Payload), Fields: viewFields(fields),
		}
		if e.OccurredAt != nil {
			one.OccurredAt = new(strconv.FormatInt(int64(*e.OccurredAt), 10))
		}
		v.Events = append(v.Events, one)
	}
	return v
}

func viewBlock(b *event.Block, commits []*event.Commit) blockView {
	v := blockView{
		BlockID: b.ID.String(), Previous: b.Previous.String(), Epoch: b.Epoch, SystemSequence: b.System.Sequence, SystemBlock: b.System.Block.String(),
		TreeSize: b.TreeSize, TreeRoot: b.TreeRoot.String(), Time: int64(b.Time), Records: []recordVector{}, Leaves: []string{},
	}
	for i, r := range b.Records {
		v.Records = append(v.Records, recordVector{r.Prev.Sequence, r.Prev.Index, r.Prev.Block.String(), hex.EncodeToString(r.Raw)})
		v.Leaves = append(v.Leaves, hexes(commits[i].Leaves())...)
	}
	return v
}

// accepted holds that what was decoded is what the vector wants accepted or refused; it reports whether it was accepted.
func accepted(t *testing.T, want bool, err error) bool {
	t.Helper()
	switch {
	case want && err != nil:
		t.Errorf("got %v, want it accepted", err)
	case !want && err == nil:
		t.Error("got it accepted, want an error")
	}
	return want && err == nil
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(commitView{}, commitVector{}, blockVector{}, leafVector{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func replaceDigest(entry []byte, own event.Hash, want []byte) []byte {
	return bytes.Replace(entry, own[:], want, 1)
}

func leafOf(entry []byte) string {
	return event.Hash(sha256.Sum256(append([]byte{0}, entry...))).String()
}
