package inbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

// RewriteRefusal seals text as a refusal (packed: as it is, else it is packed first), opens it, and gives it as it is sealed again.
func RewriteRefusal(site string, text []byte, packed bool) ([]byte, error) {
	if !packed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(text); errors.Join(err, z.Close()) != nil {
			return nil, err
		}
		text = b.Bytes()
	}
	i := &Inbox{cfg: Config{Site: site}}
	r, err := i.open("id", keyring.Seal(i.cfg.Key, i.binding("id"), text))
	if err != nil {
		return nil, err
	}
	sealed, err := i.seal(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRewritten, err)
	}
	again, err := i.open(r.id(), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRewritten, err)
	}
	return json.Marshal(again)
}

// ErrRewritten is that what was opened cannot be opened when it is sealed again.
var ErrRewritten = errors.New("sealed again it does not open")

// CommandID is that of a letter whose sender gave none.
func CommandID(key [32]byte, inbox string, letter uint64) string {
	return commandID(key, inbox, letter)
}
