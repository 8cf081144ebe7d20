// Command server is what the benchmark measures EventfulDB against, and looks into: the bare pipeline, and the engines without the program around them.
//
// It listens on a free port of the loopback address, says `ready URL` on standard output, and ends when its standard input does, so that none
// outlives the benchmark that started it.
//
//	server bare    --dir=D                  raw streams, the bare pipeline and an echo
//	server engines --dir=D                  writer, and projector if it is asked for, on a data folder that eventful prepared
//	server node    --dir=D --peers=… …      one NATS server of a cluster, for the two above with --url
//	server target  --dir=D                  a NATS server with JetStream as anybody has one, which plugins deliver to
//	server child ADDRESS                    no server: the program of a plugin of type process
package main

import (
	"context"
	"errors"
	"expvar"
	"flag"
	"fmt"
	"io"
	"net/http"
	_ "net/http/pprof" // profiles of the benchmark's own servers; the product has no such door
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/internal/heap"
)

// config is all flags; each part says which it heeds.
type config struct {
	dir       string
	url       string // of servers that run elsewhere; empty: one in this process
	replicas  int
	projector bool
	encrypt   bool
	noSync    bool
	node      int    // which of the peers this one is, from 0
	peers     string // ports of the cluster, separated by commas
	port      int
	log       zerolog.Logger
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "child" {
		return runChild(os.Stdin, out, args[1])
	}
	parts := map[string]func(context.Context, config, func(url string)) error{"bare": runBare, "engines": runEngines, "node": runNode, "target": runTarget}
	if len(args) == 0 || parts[args[0]] == nil {
		return errors.New("the first argument must be bare, engines, node, target or child")
	}
	c := config{log: zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr}).Level(zerolog.WarnLevel)}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&c.dir, "dir", "", "`folder` of the store, or a prepared data folder")
	flags.StringVar(&c.url, "url", "", "`url` of NATS servers that run elsewhere")
	flags.IntVar(&c.replicas, "replicas", 1, "replicas of a stream")
	flags.BoolVar(&c.projector, "projector", false, "run the projector too")
	flags.BoolVar(&c.encrypt, "encrypt", false, "bare: encrypt the store, as EventfulDB does")
	flags.BoolVar(&c.noSync, "no-sync", false, "do not flush each write: shows what a flush costs")
	flags.IntVar(&c.node, "node", 0, "node: which of the peers this is, from 0")
	flags.StringVar(&c.peers, "peers", "", "node: ports of the cluster, separated by commas")
	flags.IntVar(&c.port, "port", -1, "TCP port for clients; -1: any free one")
	profiles := flags.String("pprof", "", "serve net/http/pprof on this `address`")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *profiles != "" {
		expvar.Publish("processor", expvar.Func(processorTime))
		expvar.Publish("switches", expvar.Func(switches))
		go func() { _ = http.ListenAndServe(*profiles, nil) }() // ends with the process; a taken port only costs the profile
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { defer stop(); _, _ = io.Copy(io.Discard, os.Stdin) }() // whoever started it has gone, or wants it to end
	go heap.Pace(ctx, heap.WholeHeadroom)                              // as in `eventful start`
	return parts[args[0]](ctx, c, func(url string) { fmt.Fprintln(out, "ready", url) })
}

// processorTime is what this process has taken so far, in seconds.
func processorTime() any {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0.0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// switches is how often a thread of this process gave up its processor by itself, so far: to wait for another goroutine, the network or the disk.
func switches() any {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return used.Nvcsw
}
