package inbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const (
	refusalVersion = 1         // of the layout; a newer one is refused by name
	keptBody       = 256 << 10 // bytes that are kept of a body that is too large to be kept whole
	maxRefusal     = 256 << 20 // bounds what one refusal holds when it is unpacked
)

// Refusal is one command that was refused. It holds no token.
type Refusal struct {
	Version int                 `json:"version"`
	Inbox   string              `json:"inbox"`  // name of the inbox that it came from
	Letter  uint64              `json:"letter"` // its sequence there
	Sent    time.Time           `json:"sent"`
	Refused time.Time           `json:"refused"`
	Subject string              `json:"subject"`
	Header  map[string][]string `json:"header"` // without the token
	Actor   string              `json:"actor"`  // whom the token named when the command was sent; empty: nobody, or it was no valid token
	Token   string              `json:"token"`  // its id
	Issuer  string              `json:"issuer"`
	Command string              `json:"command"` // id that it was sent under
	Problem *problem.Problem    `json:"problem"`
	Body    []byte              `json:"body"`
	Size    int                 `json:"size"` // of the body as it was sent; more than there is of it: it was too large to keep
}

// binding is the associated data of the seal: a refusal opens only under its own id.
func (i *Inbox) binding(id string) string { return "refused\x00" + i.cfg.Site + "\x00" + id }

func (i *Inbox) seal(r *Refusal) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := errors.Join(json.NewEncoder(z).Encode(r), z.Close()); err != nil {
		return nil, fmt.Errorf("encode a refused command: %w", err)
	}
	return keyring.Seal(i.cfg.Key, i.binding(r.id()), packed.Bytes()), nil
}

func (i *Inbox) open(id string, sealed []byte) (*Refusal, error) {
	packed, err := keyring.Unseal(i.cfg.Key, i.binding(id), sealed)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxRefusal))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	r := &Refusal{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if r.Version != refusalVersion {
		return nil, fmt.Errorf("it has layout %d, this program knows %d", r.Version, refusalVersion)
	}
	return r, nil
}
