package staging

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

// Rewrite seals text as what an actor has staged (packed: as it is, else it is packed first), opens it, and gives it as it is sealed again.
func (s *Staging) Rewrite(actor string, text []byte, packed bool) ([]byte, error) {
	if !packed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(text); errors.Join(err, z.Close()) != nil {
			return nil, err
		}
		text = b.Bytes()
	}
	r := &record{}
	if err := s.open(actor, keyring.Seal(s.cfg.Key, s.binding(actor), text), r); err != nil {
		return nil, err
	}
	sealed, err := s.seal(r)
	if err != nil {
		return nil, err
	}
	again := &record{}
	if err := s.open(actor, sealed, again); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRewritten, err)
	}
	return json.Marshal(again)
}

// ErrRewritten is that what was opened cannot be opened when it is sealed again.
var ErrRewritten = errors.New("sealed again it does not open")
