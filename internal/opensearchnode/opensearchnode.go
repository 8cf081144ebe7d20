// Package opensearchnode runs a real OpenSearch node on loopback, as `make opensearch` installed it: for tests, and for the demo.
//
// A node keeps its data in a folder of whoever starts it, and ends with the process that started it, even if that is killed.
package opensearchnode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Patience is how long a node may take to start.
const Patience = 2 * time.Minute

// Find gives the folder of the installation: EVENTFUL_OPENSEARCH_DIR, else bin/opensearch of the repository that the process runs in; or why there is none.
func Find() (dir, why string) {
	if dir = os.Getenv("EVENTFUL_OPENSEARCH_DIR"); dir == "" {
		root, err := os.Getwd()
		for err == nil && root != filepath.Dir(root) {
			if _, missing := os.Stat(filepath.Join(root, "go.mod")); missing == nil {
				break
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "bin", "opensearch")
	}
	if _, err := os.Stat(filepath.Join(dir, "node.jsa")); err != nil {
		return "", "OpenSearch is not installed: make opensearch does it (it needs Java 17 and Maven)"
	}
	if first, ok := firstOf(filepath.Join(dir, "classpath")); !ok { // the paths in it are absolute
		return "", "OpenSearch was installed for another folder (" + first + " is missing): remove " + dir + ", then make opensearch installs it anew"
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", "there is no java"
	}
	return dir, ""
}

// firstOf gives the first path of a class path, and whether it is there.
func firstOf(classpath string) (first string, there bool) {
	text, err := os.ReadFile(classpath)
	if err != nil {
		return classpath, false
	}
	first, _, _ = strings.Cut(string(text), string(filepath.ListSeparator))
	_, err = os.Stat(first)
	return first, err == nil
}

// Node is a running node, or one that was stopped and may be started again on the same data and port.
type Node struct {
	Addr string // host:port
	Home string // its folder
	Dir  string // of the installation

	command *exec.Cmd
	stdin   io.Closer
	ended   chan error // gets one value when the process is gone
}

// Start starts the node, again on the port that it had; settings are `name=value`.
func (n *Node) Start(settings ...string) error {
	if n.Addr != "" {
		settings = append(settings, "http.port="+n.Addr[strings.LastIndexByte(n.Addr, ':')+1:])
	}
	if err := n.start(settings); err != nil {
		return fmt.Errorf("start OpenSearch: %w", err)
	}
	return nil
}

func (n *Node) start(settings []string) error {
	classpath, err := os.ReadFile(filepath.Join(n.Dir, "classpath"))
	if err != nil {
		return err
	}
	args := []string{"-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:SharedArchiveFile=" + filepath.Join(n.Dir, "node.jsa"), "-cp", string(classpath), "OpenSearchNode", n.Home}
	n.command = exec.Command("java", append(args, settings...)...)
	n.ended = make(chan error, 1)
	log, err := os.OpenFile(filepath.Join(n.Home, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n.command.Stderr = log
	if n.stdin, err = n.command.StdinPipe(); err != nil {
		return errors.Join(err, log.Close())
	}
	out, err := n.command.StdoutPipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := n.command.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	ready := make(chan string, 1)
	go n.follow(out, log, ready)
	return n.await(ready)
}

// follow copies what the node prints into its log until it ends.
func (n *Node) follow(out io.Reader, log *os.File, ready chan<- string) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintln(log, lines.Text())
		if addr, ok := strings.CutPrefix(lines.Text(), "READY "); ok {
			ready <- addr
		}
	}
	err := n.command.Wait()
	n.ended <- errors.Join(err, log.Close())
}

func (n *Node) await(ready <-chan string) error {
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case n.Addr = <-ready:
		return nil
	case err := <-n.ended:
		n.command = nil
		return fmt.Errorf("it ended before it was ready (%w): %s", err, n.tail())
	case <-timeout.C:
		n.Kill()
		return fmt.Errorf("it was not ready in %s: %s", Patience, n.tail())
	}
}

// tail is the end of the node's log.
func (n *Node) tail() string {
	log, err := os.ReadFile(filepath.Join(n.Home, "node.log"))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

// Stop ends the node in order; its folder stays.
func (n *Node) Stop() error {
	if n.command == nil {
		return nil
	}
	err := errors.Join(n.stdin.Close(), <-n.ended)
	n.command = nil
	return err
}

// Kill ends the node by SIGKILL. It may be repeated.
func (n *Node) Kill() {
	if n.command == nil {
		return
	}
	if n.command.Process.Kill() == nil {
		<-n.ended
	}
	n.command = nil
}

// Pause stops the node's process where it stands: connections stay open and nobody answers. Resume goes on.
func (n *Node) Pause() error { return n.command.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (n *Node) Resume() error { return n.command.Process.Signal(syscall.SIGCONT) }
