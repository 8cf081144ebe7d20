package inbox_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/inbox"
)

// FuzzRefusal holds that what lies sealed in the stream is an error or a refusal; that one is the same when it is sealed again.
func FuzzRefusal(f *testing.F) {
	f.Add([]byte(`{"version":1,"inbox":"i","letter":7,"sent":"2026-01-02T03:04:05Z","refused":"2026-01-02T03:04:05+01:00","subject":"s","header":{"A":["b",""],"C":null},"actor":"user/u","token":"t","issuer":"k","command":"c","problem":{"code":"invalid","detail":"d","problems":[null]},"body":"AAE=","size":2}`), false)
	f.Add([]byte(`{"version":1,"problem":null,"body":null,"size":-1}`), false)
	f.Add([]byte(`{"version":2}`), false)
	f.Add([]byte(`null`), false)
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, true)
	f.Fuzz(func(t *testing.T, text []byte, packed bool) {
		once, err := inbox.RewriteRefusal("here", text, packed)
		if errors.Is(err, inbox.ErrRewritten) {
			t.Errorf("%s: %v", text, err)
		}
		if err != nil {
			return
		}
		if twice, err := inbox.RewriteRefusal("here", once, false); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}
