// Command bench measures how fast EventfulDB keeps its promises, beside the limits of what it is built on, in one run.
//
// Servers and clients are separate processes over TCP, and every write is flushed. A product and its baseline take turns in short rounds, and the median
// of each counts, since machines are noisy: the ratio says more than the figure. README.md says what each row is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// config is how large the benchmark is.
type config struct {
	programs
	dir         string
	round       time.Duration
	rounds      int
	connections int
	clients     string
	aggregates  int
	payload     int
	small, big  int // events in the log when histories are read
	wide        int // aggregates when memory is measured
	imported    int // of one bulk import
	delivered   int // events that plugins bring to their targets in one turn
	encrypt     bool
	profiles    string
	clustered   bool
	only        string
	json        bool
	strict      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func flags(out io.Writer, c *config) *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&c.dir, "dir", "", "`folder` for all data, on the disk to be measured (default: a temporary one)")
	f.DurationVar(&c.round, "round", 1500*time.Millisecond, "length of one round of one side, of which the first fifth does not count")
	f.IntVar(&c.rounds, "rounds", 5, "rounds of each side; the median counts")
	f.IntVar(&c.connections, "connections", 16, "connections that the clients of a fleet share at most")
	f.StringVar(&c.clients, "clients", "1,16,64,256,1024", "numbers of clients in the scene throughput")
	f.IntVar(&c.aggregates, "aggregates", 10_000, "aggregates that commands are about")
	f.IntVar(&c.payload, "payload", 256, "bytes of a command's JSON body")
	f.IntVar(&c.small, "small", 20_000, "events in the small log, for history (the issue says 100000)")
	f.IntVar(&c.big, "big", 400_000, "events in the big log, for history, start, rebuild and disk (the issue says 2000000)")
	f.IntVar(&c.wide, "wide", 200_000, "aggregates in the log whose writer's memory is measured (the issue says 1000000)")
	f.IntVar(&c.imported, "rows", 30_000, "rows of one bulk import")
	f.IntVar(&c.delivered, "delivered", 100_000, "events that a plugin brings to its target in one turn; five times as many to OpenSearch")
	f.BoolVar(&c.encrypt, "encrypt-baselines", false, "encrypt the baselines' store as EventfulDB's is")
	f.BoolVar(&c.clustered, "r3", false, "measure on three NATS servers with replicated streams too")
	f.StringVar(&c.profiles, "profiles", "", "`folder` to keep processor and allocation profiles of the scene costs in")
	f.StringVar(&c.only, "only", "", "scenes to run, separated by commas: "+strings.Join(sceneNames(), ", ")+" (default: all)")
	f.BoolVar(&c.json, "json", false, "one JSON object a line instead of a table")
	f.BoolVar(&c.strict, "strict", false, "exit status 1 if a required ratio is not reached")
	f.StringVar(&c.eventful, "eventful", "", "the eventful `binary` to measure (default: built from this module)")
	f.StringVar(&c.writer, "writer", "", "the writer `binary` to measure (default: built from this module)")
	f.StringVar(&c.server, "server", "", "the `binary` of bench/server (default: built from this module)")
	return f
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	c := config{}
	f := flags(progress, &c)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no flag", f.Arg(0))
	}
	chosen, err := c.scenes()
	if err != nil {
		return err
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "eventful-bench-"); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	}
	if err := c.build(ctx); err != nil {
		return err
	}
	r := &report{tell: func(one row) { fmt.Fprintf(progress, "  %s: %s %s\n", one.Name, number(one.Value), one.Unit) }}
	if c.json {
		r.tell = jsonLines(out)
	}
	if err := c.measure(ctx, chosen, r, progress); err != nil {
		return err
	}
	if !c.json {
		if err := r.table(out); err != nil {
			return err
		}
	}
	if missed := r.failing(); c.strict && len(missed) > 0 {
		return fmt.Errorf("not reached: %s", strings.Join(missed, "; "))
	}
	return nil
}

// build makes the binaries that were not given.
func (c *config) build(ctx context.Context) error {
	for path, to := range map[string]*string{"cmd/eventful": &c.eventful, "cmd/writer": &c.writer, "bench/server": &c.server} {
		if *to != "" {
			continue
		}
		*to = filepath.Join(c.dir, strings.ReplaceAll(path, "/", "-"))
		build := exec.CommandContext(ctx, "go", "build", "-o", *to, "github.com/eventfuldb/eventful/"+path)
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", path, err, text)
		}
	}
	return nil
}

// scene is one part of the benchmark.
type scene struct {
	name   string
	play   func(context.Context, *stage) error
	wanted func(*config) bool // without --only; nil: always
}

func allScenes() []scene {
	never := func(*config) bool { return false }
	return []scene{
		{"throughput", throughput, nil}, {"ten", tenEvents, nil}, {"import", bulkImport, nil}, {"history", history, nil}, {"snapshots", snapshots, nil}, {"queries", queries, nil},
		{"start", starts, nil}, {"memory", memory, nil}, {"costs", costs, nil}, {"r3", cluster, func(c *config) bool { return c.clustered }},
		{"to-process", toProcess, never}, {"to-nats", toNATS, never}, {"to-opensearch", toOpenSearch, never}, {"to-nobody", toNobody, never}, {"one-event", oneEvent, never},
		{"token-check", tokenCheck, never},
	}
}

func sceneNames() []string {
	var names []string
	for _, s := range allScenes() {
		names = append(names, s.name)
	}
	return names
}

func (c *config) scenes() ([]scene, error) {
	var chosen []scene
	for _, s := range allScenes() {
		if c.only == "" && (s.wanted == nil || s.wanted(c)) {
			chosen = append(chosen, s)
		}
	}
	for name := range strings.SplitSeq(c.only, ",") {
		found := name == ""
		for _, s := range allScenes() {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("--only: there is no scene %q; there are %s", name, strings.Join(sceneNames(), ", "))
		}
	}
	return chosen, nil
}
