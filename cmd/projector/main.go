// Command projector runs the projector, one engine of EventfulDB, against any NATS cluster; `eventful start` runs all engines in one process instead.
package main

import (
	"os"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

func main() {
	os.Exit(run.Standalone{Name: "projector", Short: "Index the logs and answer queries, on an outside NATS cluster", Projector: true}.Main())
}
