package logtree

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Record is the last checkpoint of a log as its signer keeps it (docs/spec/proofs.md, section 2): with what signing the next one takes.
type Record struct {
	Note     []byte
	Position event.Position // of the block that the tree ends with
	Epoch    uint64
	Time     event.Time
	Tree     event.Tree
}

const recordVersion = 1

type recordJSON struct {
	V        int        `json:"v"`
	Note     string     `json:"note"`
	Position string     `json:"position"`
	Epoch    uint64     `json:"epoch"`
	Time     event.Time `json:"time"`
	Frontier []string   `json:"frontier"`
}

// Encode gives the stored form.
func (r *Record) Encode() []byte {
	j := recordJSON{V: recordVersion, Note: string(r.Note), Position: r.Position.String(), Epoch: r.Epoch, Time: r.Time, Frontier: []string{}}
	for _, h := range r.Tree.Frontier() {
		j.Frontier = append(j.Frontier, h.String())
	}
	text, _ := json.Marshal(j) // strings and numbers encode
	return text
}

// DecodeRecord reads a stored checkpoint of a log and holds its parts against each other: signature, frontier, root. The error wraps ErrFormat or ErrSignature.
func DecodeRecord(value []byte, vkey string) (*Record, error) {
	var j recordJSON
	d := json.NewDecoder(bytes.NewReader(value))
	if err := d.Decode(&j); err != nil {
		return nil, fmt.Errorf("stored checkpoint: %w: %w", err, ErrNoRecord)
	}
	if j.V == 0 {
		return nil, fmt.Errorf("stored checkpoint: %w", ErrNoRecord)
	}
	if j.V != recordVersion {
		return nil, fmt.Errorf("stored checkpoint: version %d, this program knows %d: %w", j.V, recordVersion, ErrFormat)
	}
	c, err := Open([]byte(j.Note), vkey)
	if err != nil {
		return nil, fmt.Errorf("stored checkpoint: %w", err)
	}
	r := &Record{Note: []byte(j.Note), Epoch: j.Epoch, Time: j.Time}
	if r.Position, err = event.ParsePosition(j.Position); err != nil {
		return nil, fmt.Errorf("stored checkpoint: %w: %w", err, ErrFormat)
	}
	frontier := make([]event.Hash, len(j.Frontier))
	for i, text := range j.Frontier {
		if frontier[i], err = event.ParseHash(text); err != nil {
			return nil, fmt.Errorf("stored checkpoint: frontier: %w: %w", err, ErrFormat)
		}
	}
	if r.Tree, err = event.NewTree(c.Size, frontier); err != nil {
		return nil, fmt.Errorf("stored checkpoint: %w: %w", err, ErrFormat)
	}
	if r.Tree.Root() != c.Root {
		return nil, fmt.Errorf("stored checkpoint: its frontier gives another root than its note states: %w", ErrFormat)
	}
	return r, nil
}
