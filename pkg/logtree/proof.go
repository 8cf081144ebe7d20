package logtree

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	tlog "github.com/transparency-dev/formats/proof"

	"github.com/eventfuldb/eventful/pkg/event"
)

// maxProof bounds the bytes of a proof file: the payload of one event, in base64 twice, and some.
const maxProof = 16 << 20

// Proof is the proof of one event (docs/spec/proofs.md, section 4).
type Proof struct {
	Index   uint64
	Hashes  []event.Hash
	Note    []byte
	Entry   []byte
	Salt    event.ID16
	Payload []byte // nil: the proof is without the content
}

const extraVersion = 1

type extraJSON struct {
	V       int     `json:"v"`
	Entry   []byte  `json:"entry"`
	Salt    string  `json:"salt,omitempty"`
	Payload *[]byte `json:"payload,omitempty"`
}

// Encode gives the tlog-proof file.
func (p *Proof) Encode() []byte {
	x := extraJSON{V: extraVersion, Entry: p.Entry}
	if p.Payload != nil {
		x.Salt, x.Payload = p.Salt.String(), &p.Payload
	}
	extra, _ := json.Marshal(x) // bytes and strings encode
	t := tlog.TLogProof{Index: p.Index, Checkpoint: p.Note, ExtraData: extra}
	for _, h := range p.Hashes {
		t.Hashes = append(t.Hashes, h)
	}
	return t.Marshal()
}

// ParseProof reads a tlog-proof file; nothing is checked but its form. The error wraps ErrFormat.
func ParseProof(file []byte) (*Proof, error) {
	if len(file) > maxProof {
		return nil, fmt.Errorf("a proof of %d bytes, at most %d are read: %w", len(file), maxProof, ErrFormat)
	}
	t, err := parseTLog(file)
	if err != nil {
		return nil, fmt.Errorf("proof: %w: %w", err, ErrFormat)
	}
	var x extraJSON
	if err := json.Unmarshal(t.ExtraData, &x); err != nil || x.V != extraVersion || len(x.Entry) == 0 {
		return nil, fmt.Errorf("proof: its extra data are not those of version %d: %w", extraVersion, ErrFormat)
	}
	p := &Proof{Index: t.Index, Note: t.Checkpoint, Entry: x.Entry}
	for _, h := range t.Hashes {
		p.Hashes = append(p.Hashes, h)
	}
	if (x.Salt == "") != (x.Payload == nil) {
		return nil, fmt.Errorf("proof: salt and payload come together: %w", ErrFormat)
	}
	if x.Payload != nil {
		p.Payload = *x.Payload
		if p.Salt, err = event.ParseID16(x.Salt); err != nil {
			return nil, fmt.Errorf("proof: salt: %w: %w", err, ErrFormat)
		}
	}
	return p, nil
}

// parseTLog reads the lines. The library's reader gives up at lines of 64 KiB, and a payload may be longer, so the extra line is taken out first.
func parseTLog(file []byte) (t tlog.TLogProof, err error) {
	first, rest, ok := bytes.Cut(file, []byte("\n"))
	extra, rest, two := bytes.Cut(rest, []byte("\n"))
	text, has := bytes.CutPrefix(extra, []byte("extra "))
	if !ok || !two || !has {
		return t, fmt.Errorf("its second line is no extra line")
	}
	if err := t.Unmarshal(append(append(bytes.Clone(first), '\n'), rest...)); err != nil {
		return t, err
	}
	t.ExtraData, err = base64.StdEncoding.DecodeString(string(text))
	return t, err
}

// Check holds a proof against the verifier key of its log, and gives the entry and the fields, nil where the proof is without them. The error wraps
// ErrFormat, ErrSignature or ErrProof.
func (p *Proof) Check(vkey string) (*event.Entry, []event.Field, error) {
	c, err := Open(p.Note, vkey)
	if err != nil {
		return nil, nil, err
	}
	if err := CheckInclusion(c, p.Index, event.EntryLeaf(p.Entry), p.Hashes); err != nil {
		return nil, nil, err
	}
	e, err := event.ParseEntry(p.Entry)
	if err != nil {
		return nil, nil, fmt.Errorf("proof: %w: %w", err, ErrFormat)
	}
	if site, _, err := ParseOrigin(c.Origin); err != nil || site != e.Site {
		return nil, nil, fmt.Errorf("the event is of site %s, the checkpoint of %.80q: %w", e.Site, c.Origin, ErrProof)
	}
	if p.Payload == nil {
		return e, nil, nil
	}
	if event.PayloadDigest(p.Salt, p.Payload) != e.PayloadDigest {
		return nil, nil, fmt.Errorf("the content is not that of the event: %w", ErrProof)
	}
	fields, err := event.DecodePayload(p.Payload)
	if err != nil {
		return nil, nil, fmt.Errorf("proof: its content: %w: %w", err, ErrFormat)
	}
	return e, fields, nil
}
