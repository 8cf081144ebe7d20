// Command plugin-runner delivers every change to the targets of plugins, on any NATS cluster; `eventful start` runs all engines in one process instead.
package main

import (
	"os"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

func main() {
	os.Exit(run.Standalone{Name: "plugin-runner", Short: "Deliver every change to the targets of plugins, on an outside NATS cluster", Runner: true}.Main())
}
