package statestore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/statestore"
)

// FuzzFiles holds that files of any content are sound or doubted: they end no process.
func FuzzFiles(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add([]byte("Bdgr\x00\x00\x00\x08"))
	f.Add([]byte("Bdgr\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("Bdgr\x00\x00\x00\x08\x7f\xff\xff\xff\x00\x00\x00\x00"))
	f.Add(append(make([]byte, 22), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1))
	f.Add(append(make([]byte, 22), 1, 1, 0, 'k', 'v', 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "MANIFEST")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"manifest": statestore.ReadManifest(path), "older log": statestore.CheckWAL(data, false), "newest log": statestore.CheckWAL(data, true),
			"footer": statestore.CheckFooter(data),
		} {
			if err != nil && !errors.Is(err, statestore.ErrDoubted) {
				t.Errorf("%s: got %v, want ErrDoubted", what, err)
			}
		}
	})
}
