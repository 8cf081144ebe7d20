package node_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
)

// TestServerMessagesAreLimited: whoever connects again and again with a wrong token does not fill the disk with log lines, and hides no broken store.
func TestServerMessagesAreLimited(t *testing.T) {
	var out bytes.Buffer
	broken := 0
	b := node.NewBridge(zerolog.New(&out), func(string) { broken++ })
	for range 100_000 {
		b.Errorf("%s - cid:%d", "authentication error", 1)
	}
	lines := strings.Count(out.String(), "authentication error")
	if lines < 20 || lines > 20*60 {
		t.Errorf("got %d lines of 100,000 messages, want 20 a second", lines)
	}
	b.Warnf("critical write error: %s", "disk")
	if broken != 1 || !strings.Contains(out.String(), "critical write error: disk") {
		t.Errorf("got %d notices of a broken store, want 1, and its message", broken)
	}
}
