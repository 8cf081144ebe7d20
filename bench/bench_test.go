package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A run with tiny counts: the scenes come to figures, and what it wrote is verified. How large the figures are is nobody's business here.
func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	const module = "github.com/eventfuldb/eventful/"
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), module+"bench", module+"bench/server", module+"cmd/eventful", module+"cmd/writer")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	binary := func(name string) string { return filepath.Join(dir, name) }
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary("bench"), "-json", "-dir="+data, "-eventful="+binary("eventful"), "-writer="+binary("writer"),
		"-server="+binary("server"), "-only=throughput,import,history,snapshots,queries,start,memory,to-process,to-nats,to-nobody,one-event", "-round=100ms", "-rounds=1", "-aggregates=64", "-small=400",
		"-big=800", "-wide=200", "-rows=100", "-delivered=400")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bench: %v\n%s", err, stderr.String())
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		for _, name := range []string{"name", "value", "unit", "baseline", "baseline_value", "ratio", "required", "ok"} {
			if _, there := row[name]; !there {
				t.Errorf("%v: %s is missing", row["name"], name)
			}
		}
		if v, _ := row["value"].(float64); v == 0 {
			t.Errorf("%v: got no figure", row["name"])
		}
		found[fmt.Sprint(row["name"])] = true
	}
	for _, name := range []string{
		"full path, 1 client", "full path, 16 clients", "full path, 64 clients, p99", "full path without projector, 64 clients",
		"bulk import, pipelined", "history of 20 events, slower log", "disk: log", "full path with snapshots, 64 clients", "start of 800 events after kill -9",
		"rebuild of the index, start of the process included", "raw ordered consumer of the same blocks", "verify --all, start of the command included", "rebuild of the writer's state, start of the process included", "writer's resident memory beyond its caches",
		"process plugin", "nats plugin", "full path with a plugin that is down, 64 clients", "one event through the nats plugin, from its command on, p50", "one event through the process plugin, from its command on, p50",
	} {
		if !found[name] {
			t.Errorf("no row %q", name)
		}
	}
	if n := strings.Count(stderr.String(), "verified "); n < 12 {
		t.Errorf("%d sites were verified, want at least 12:\n%s", n, stderr.String())
	}
}
