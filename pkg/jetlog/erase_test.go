package jetlog_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

// holding are the files below a folder that hold some bytes.
func holding(t *testing.T, dir string, content []byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it went away while we looked
		}
		if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, content) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// erased puts two values into a bucket and erases the first.
func erased(t *testing.T, b *jetlog.Bucket, written func(value []byte)) (gone, kept []byte) {
	t.Helper()
	gone, kept = make([]byte, 61), make([]byte, 61)
	_, _ = rand.Read(gone)
	_, _ = rand.Read(kept)
	for key, value := range map[string][]byte{"gone": gone, "kept": kept} {
		if err := fieldkeytest.Put(t, b, key, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	written(gone)
	_, revision, err := b.Get(t.Context(), "gone")
	if err != nil || revision == 0 {
		t.Fatalf("got revision %d, %v", revision, err)
	}
	if err := b.Erase(t.Context(), "gone", revision); err != nil {
		t.Fatal(err)
	}
	if value, revision, err := b.Get(t.Context(), "gone"); value != nil || revision != 0 || err != nil {
		t.Errorf("behind the erasure: got %d bytes at %d, %v", len(value), revision, err)
	}
	return gone, kept
}

// TestErasedKeysAreNotOnDisk looks for the bytes of a key in the files of a server that does not encrypt its store.
func TestErasedKeysAreNotOnDisk(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	b, err := s.Store().Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone, kept := erased(t, b, func(value []byte) {
		if len(holding(t, s.Dir(), value)) == 0 {
			t.Fatal("the value is in no file: the test looks in the wrong place")
		}
	})
	for range 2 {
		if found := holding(t, s.Dir(), gone); len(found) > 0 {
			t.Errorf("the erased key is still in %v", found)
		}
		if len(holding(t, s.Dir(), kept)) == 0 {
			t.Error("the other key is gone too")
		}
		s.Stop()
	}
}

// TestErasedKeysOnThreeServers holds that an erased key is in no server's stream any more. The servers' own Raft logs keep what was proposed until they compact them.
func TestErasedKeysOnThreeServers(t *testing.T) {
	c := natstest.Start(t, 3, clusterConfig)
	open := func(t *testing.T) *jetlog.Bucket {
		t.Helper()
		b, err := clusterStore(t, c, "test", jetlog.Options{}).Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	inStreams := func(value []byte) (servers int) {
		for i := range c.Size() {
			for _, path := range holding(t, c.Dir(i), value) {
				if strings.Contains(path, filepath.Join("streams", "KV_KEYS_test")) {
					servers++
				}
			}
		}
		return servers
	}
	gone, kept := erased(t, open(t), func(value []byte) {
		until(t, "the key is on three servers", func() bool { return inStreams(value) == 3 })
	})
	until(t, "the erased key is on no server", func() bool { return inStreams(gone) == 0 })
	if n := inStreams(kept); n != 3 {
		t.Errorf("the other key is on %d servers, want 3", n)
	}
	nc, err := jetlog.Connect(c.URLs("log", "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	notReplaced(t, nc, open(t))
	fieldkeytest.TestBucket(t, func(t *testing.T) fieldkey.Bucket { return open(t) })
}

// answerAt has the server store its answer to an API request under a key of the bucket, as anybody in the account can who may ask anything.
func answerAt(t *testing.T, nc *nats.Conn, key string) {
	t.Helper()
	if err := nc.PublishRequest("$JS.API.STREAM.INFO.KV_KEYS_test", "$KV.KEYS_test."+key, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// notReplaced: what JetStream answers where a key lies is not stored; where none lies it is, and can be erased.
func notReplaced(t *testing.T, nc *nats.Conn, b *jetlog.Bucket) {
	t.Helper()
	if err := fieldkeytest.Put(t, b, "real", []byte("key"), 0); err != nil {
		t.Fatal(err)
	}
	answerAt(t, nc, "real")
	answerAt(t, nc, "empty")
	var junk uint64
	until(t, "the later answer is stored", func() bool {
		_, revision, err := b.Get(t.Context(), "empty")
		junk = revision
		return err == nil && revision > 0
	})
	if value, _, err := b.Get(t.Context(), "real"); err != nil || string(value) != "key" {
		t.Errorf("behind an answer of the server: got %.40q, %v, want the key", value, err)
	}
	if err := fieldkeytest.Put(t, b, "real", []byte("other"), 0); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("put where a key is: got %v, want ErrTaken", err)
	}
	if err := b.Erase(t.Context(), "empty", junk); err != nil {
		t.Fatal(err)
	}
	if err := fieldkeytest.Put(t, b, "empty", []byte("mine"), 0); err != nil {
		t.Errorf("put where an answer was erased: %v", err)
	}
}

func TestKeysAreNotReplaced(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	b, err := s.Store().Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	notReplaced(t, s.Conn(), b)
}

// TestKeysOfOlderStreams: a stream that was made without a later setting is used as it is, and doctor's check names it.
func TestKeysOfOlderStreams(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	if _, err := s.Store().Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KV_KEYS_test")
	if err != nil {
		t.Fatal(err)
	}
	older := stream.CachedInfo().Config
	older.DiscardNewPerSubject = false
	if _, err := js.UpdateStream(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	b, err := s.Store().Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := fieldkeytest.Put(t, b, "key", []byte("value"), 0); err != nil {
		t.Error(err)
	}
	settings, err := streams.KeysSettings("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store().Check(t.Context(), settings); !errors.Is(err, jetlog.ErrSettings) || !strings.Contains(err.Error(), "discard_new_per_subject") {
		t.Errorf("got %v, want ErrSettings that names discard_new_per_subject", err)
	}
}
