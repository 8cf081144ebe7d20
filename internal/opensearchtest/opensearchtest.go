// Package opensearchtest gives tests a real OpenSearch node (package opensearchnode).
//
// Where it is not installed a test is skipped and says why; with REQUIRE_OPENSEARCH=1 it fails.
package opensearchtest

import (
	"errors"
	"os"
	"testing"

	"github.com/eventfuldb/eventful/internal/opensearchnode"
)

// Dir gives the folder of the installation. Without one it skips the test, or fails it.
func Dir(t testing.TB) string {
	t.Helper()
	dir, why := opensearchnode.Find()
	if why == "" {
		return dir
	}
	if os.Getenv("REQUIRE_OPENSEARCH") == "1" {
		t.Fatalf("REQUIRE_OPENSEARCH=1, and %s", why)
	}
	t.Skipf("left out: %s", why)
	return ""
}

// Node is a node of tests.
type Node struct{ *opensearchnode.Node }

// Start starts a node on a new folder; settings are `name=value`. It ends with the test.
func Start(t testing.TB, settings ...string) *Node {
	t.Helper()
	n := &Node{&opensearchnode.Node{Dir: Dir(t), Home: t.TempDir()}}
	n.Begin(t, settings...)
	t.Cleanup(n.Kill)
	return n
}

// Launch starts a node that outlives the test: who calls it, calls Remove at the end.
func Launch(t testing.TB, settings ...string) *Node {
	t.Helper()
	dir := Dir(t)
	home, err := os.MkdirTemp("", "opensearch-")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{&opensearchnode.Node{Dir: dir, Home: home}}
	n.Begin(t, settings...)
	return n
}

// Begin starts the node again where it was, on the port that it had.
func (n *Node) Begin(t testing.TB, settings ...string) {
	t.Helper()
	if err := n.Node.Start(settings...); err != nil {
		t.Fatal(err)
	}
}

// Remove stops the node and removes its folder.
func (n *Node) Remove() error { return errors.Join(n.Stop(), os.RemoveAll(n.Home)) }
