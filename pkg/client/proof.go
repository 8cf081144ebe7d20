package client

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Checkpoint is what is signed of a log (docs/spec/proofs.md). Note is a C2SP checkpoint, Key the verifier key of the log.
type Checkpoint struct {
	Log     string    `json:"log"`
	Size    uint64    `json:"size"`
	Note    string    `json:"note"`
	Key     string    `json:"key"`
	Time    time.Time `json:"time,omitzero"`
	Refused string    `json:"refused,omitempty"` // why no new ones are signed

	Consistency [][]byte `json:"consistency,omitempty"` // the proof that it extends an older one, where that was asked for
}

// Proof is a C2SP tlog-proof of one event, with what it is about.
type Proof struct {
	Proof   string        `json:"proof"`
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Version event.Version `json:"version"`
	Hash    string        `json:"hash"`
	Log     string        `json:"log"`
	Index   uint64        `json:"index"`
	Size    uint64        `json:"size"`
}

// Checkpoints gives the last checkpoint of a log, or of every log that the token may verify if it is empty.
func (c *Client) Checkpoints(ctx context.Context, log string) ([]Checkpoint, error) {
	body := struct {
		Log string `json:"log,omitempty"`
	}{log}
	var answer struct {
		Checkpoints []Checkpoint `json:"checkpoints"`
	}
	err := c.askType(ctx, "", "checkpoint", read{}, body, &answer)
	return answer.Checkpoints, err
}

// CheckpointSince gives the last checkpoint of a log, with the proof that its tree begins with that of an older checkpoint with this size, from 1: logtree.CheckConsistency
// holds it. It waits some seconds for one of that size; a smaller one comes without a proof.
func (c *Client) CheckpointSince(ctx context.Context, log string, size uint64) (*Checkpoint, error) {
	body := struct {
		Log   string `json:"log"`
		Since uint64 `json:"since"`
	}{log, size}
	var answer struct {
		Checkpoints []Checkpoint `json:"checkpoints"`
	}
	if err := c.askType(ctx, "", "checkpoint", read{}, body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Checkpoints) != 1 {
		return nil, problem.New(problem.Internal, "%d checkpoints in the answer, asked was for one", len(answer.Checkpoints))
	}
	return &answer.Checkpoints[0], nil
}

// Prove gives the proof of an event, named by its leaf hash or a unique prefix of it; with content, the values are in it too. It waits some seconds for a checkpoint
// that covers the event.
func (c *Client) Prove(ctx context.Context, hashPrefix string, content bool) (*Proof, error) {
	body := struct {
		Hash    string `json:"hash"`
		Content bool   `json:"content,omitempty"`
	}{hashPrefix, content}
	p := &Proof{}
	return p, c.askType(ctx, "", "prove", read{waitFor: "latest"}, body, p)
}

// Entries reads leaves of a log's tree as they are hashed, from an index on and up to another that is not included: as many as one answer holds.
func (c *Client) Entries(ctx context.Context, log string, from, to uint64) ([][]byte, error) {
	body := struct {
		Log  string `json:"log"`
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}{log, from, to}
	var answer struct {
		From    uint64   `json:"from"`
		Entries [][]byte `json:"entries"`
	}
	if err := c.askType(ctx, "", "entries", read{}, body, &answer); err != nil {
		return nil, err
	}
	if answer.From != from {
		return nil, problem.New(problem.Internal, "the answer holds entries from %d on, asked were those from %d on", answer.From, from)
	}
	return answer.Entries, nil
}
