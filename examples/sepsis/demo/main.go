// Command demo does the main job of EventfulDB on a real log, from nothing: configure, start, schema, tokens, import, read, verify, export, tamper.
//
// It runs the real `eventful` binary, command by command, in a temporary folder, and shows each command as a user would type it there. Every number that it
// prints at the end is counted from the outputs and compared with what it counts in the CSV itself; any deviation ends it with status 1. Servers
// that it started are stopped in every case, and the user's own configuration is not touched.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// patience bounds the whole demo.
const patience = 5 * time.Minute

func main() {
	binary := flag.String("eventful", "", "the eventful binary (default: built into the temporary folder)")
	repository := flag.String("repository", ".", "root of the repository")
	keep := flag.Bool("keep", false, "keep the temporary folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *repository, *binary, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, repository, binary string, keep bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := newShell(repository)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cleanUp(keep)) }()
	if err := s.prepare(ctx, binary); err != nil {
		return err
	}
	log, err := readLog(filepath.Join(s.dir, "sepsis.csv"))
	if err != nil {
		return err
	}
	d := &demo{shell: s, log: log}
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"1. Configure a fresh EventfulDB and start it", d.start},
		{"2. An auth key, and the schema", d.schema},
		{"3. One access token for each group, with a budget and an expiry", d.tokens},
		{"4. Import", d.importLog},
		{"5. One patient, and the proof of all", d.read},
		{"6. An independent verifier", d.confirm},
		{"7. A search index that follows", d.search},
		{"8. Tampering on a stopped copy", d.tamper},
	} {
		fmt.Printf("\n== %s\n", step.title)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	fmt.Printf("\n%s\n", d.result())
	return nil
}
