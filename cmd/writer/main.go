// Command writer runs the writer, one engine of EventfulDB, against any NATS cluster; `eventful start` runs all engines in one process instead.
package main

import (
	"os"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

func main() {
	os.Exit(run.Standalone{Name: "writer", Short: "Turn commands into events, on an outside NATS cluster", Writer: true}.Main())
}
