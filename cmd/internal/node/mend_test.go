package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const mended = "EVT_ward_patient"

// filled is a stopped site with a stream of three messages; it gives the stream's folder.
func filled(t *testing.T) (*site, string) {
	t.Helper()
	s := newSite(t)
	n := s.start(t)
	makeStream(t, n, mended)
	js, err := jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := js.Publish(deadline(t), "evt."+mended, []byte("message")); err != nil {
			t.Fatal(err)
		}
	}
	n.Shutdown()
	found, err := filepath.Glob(filepath.Join(s.config.StoreDir, "jetstream", "*", "streams", mended))
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v, want the folder of the stream", found, err)
	}
	return s, found[0]
}

// mustServe starts the site, and holds that the stream has its messages and that nothing is held any more.
func (s *site) mustServe(t *testing.T) {
	t.Helper()
	n := s.start(t)
	js, err := jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(deadline(t), mended)
	if err != nil {
		t.Fatal(err)
	}
	if state := stream.CachedInfo().State; state.Msgs != 3 || state.LastSeq != 3 {
		t.Errorf("got %d messages, the last at %d, want 3", state.Msgs, state.LastSeq)
	}
	if _, err := js.Publish(deadline(t), "evt."+mended, []byte("message")); err != nil {
		t.Errorf("one more message: %v", err)
	}
	n.Shutdown()
	for _, name := range []string{"held", "held.new"} {
		if _, err := os.Stat(filepath.Join(s.config.StoreDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func put(t *testing.T, path string, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// nats-server was killed between making a block's file and its key.
func TestKilledWhileABlockWasMade(t *testing.T) {
	s, stream := filled(t)
	block := filepath.Join(stream, "msgs", "2.blk")
	put(t, block, "")
	put(t, filepath.Join(stream, "msgs", "2.key.tmp"), "half a key")
	removed, err := node.Mend(s.config.StoreDir)
	if err != nil || !slices.Equal(removed, []string{block}) {
		t.Errorf("got %v, %v, want the empty block removed", removed, err)
	}
	put(t, block, "")
	s.mustServe(t)
}

// nats-server was killed between the two files that make a stream.
func TestKilledWhileAStreamWasMade(t *testing.T) {
	s, stream := filled(t)
	half := filepath.Join(filepath.Dir(stream), "EVT_ward_half")
	if err := os.MkdirAll(filepath.Join(half, "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(half, "meta.inf"), "of a stream that nobody was told of")
	s.mustServe(t)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

// nats-server removes the folder of a stream that it cannot open. Ours is there behind it.
func TestAStreamThatCannotBeOpenedStays(t *testing.T) {
	s, stream := filled(t)
	block := filepath.Join(stream, "msgs", "2.blk")
	put(t, block, "a block without a key, which the server says it cannot open")
	for range 2 {
		_, err := node.Start(t.Context(), s.config)
		isProblem(t, err, problem.Damaged)
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one error", err)
		}
		for _, name := range []string{"meta.inf", "meta.key", "meta.sum", "msgs/1.blk", "msgs/1.key", "msgs/2.blk"} {
			if _, err := os.Stat(filepath.Join(stream, name)); err != nil {
				t.Errorf("behind the start: %v", err)
			}
		}
	}
	for _, path := range []string{block, filepath.Join(stream, "msgs", "2.key")} { // the server had made a key for it
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	s.mustServe(t)
}

// The process was killed when the server had removed a stream that it could not open, before that was put back.
func TestKilledBeforeAStreamWasPutBack(t *testing.T) {
	s, stream := filled(t)
	relative, err := filepath.Rel(filepath.Join(s.config.StoreDir, "jetstream"), stream)
	if err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(s.config.StoreDir, "held", relative)
	if err := os.MkdirAll(filepath.Dir(held), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(stream, held); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(s.config.StoreDir, "held.new"), "of a start before")
	s.mustServe(t)
}

// What can be rebuilt is given up where it cannot be opened, as behind a power cut: it is not flushed.
func TestAStreamThatCanBeRebuiltIsGivenUp(t *testing.T) {
	s, stream := filled(t)
	n := s.start(t)
	const name = "KV_SNAP_ward"
	makeStream(t, n, name)
	n.Shutdown()
	snapshots := filepath.Join(filepath.Dir(stream), name)
	put(t, filepath.Join(snapshots, "meta.inf"), "what a power cut left of it")
	s.mustServe(t)
	if _, err := os.Stat(snapshots); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}
